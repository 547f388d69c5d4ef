"""Randomness is passed, never global: child generators of one seed, by purpose.

Sampling, environments, evaluation and demonstrators each get their own stream, so that drawing
more from one never shifts another, and evaluation never repeats the training seeds.
"""

from __future__ import annotations

import zlib

import numpy as np


def child_sequence(seed: int, purpose: str) -> np.random.SeedSequence:
    """The seed sequence of `seed` that belongs to `purpose` (any fixed word)."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),))


def child_generator(seed: int, purpose: str) -> np.random.Generator:
    """A NumPy generator for `purpose`."""
    return np.random.default_rng(child_sequence(seed, purpose))


def child_seed(seed: int, purpose: str) -> int:
    """A 31-bit seed for `purpose`, for interfaces that take an integer (environments, torch)."""
    return int(child_sequence(seed, purpose).generate_state(1)[0] & 0x7FFFFFFF)


def fresh_seed() -> int:
    """A seed from the operating system's entropy, for when the user gave none."""
    return int(np.random.SeedSequence().generate_state(1)[0] & 0x7FFFFFFF)
