"""Thin adapters: one file per trainer of the `imitation` package."""
