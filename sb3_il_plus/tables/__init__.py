"""Baseline tables: specification -> jobs -> runs -> report."""
