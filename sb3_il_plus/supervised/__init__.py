"""Supervised learning of policies: what cloning shares, with `imitation` and without it."""
