"""Randomness is passed, never global: child generators of one seed, by purpose.

Sampling, environments, evaluation and demonstrators each get their own stream, so that drawing
more from one never shifts another, and evaluation never repeats the training seeds. Where SB3
itself draws from the global generators, their states are at least saved and put back.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch as th


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


def global_states(device: th.device) -> dict[str, Any]:
    """States of the global generators that SB3 draws from: NumPy's, torch's, and the device's.

    :return: tensors and numbers, for `set_global_states`
    """
    import torch as th

    name, key, position, has_gauss, cached_gaussian = np.random.get_state()
    states: dict[str, Any] = {
        "numpy": [name, th.from_numpy(np.array(key, dtype=np.int64)), position],
        "numpy_gaussian": [has_gauss, cached_gaussian],
        "torch": th.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = th.cuda.get_rng_state(device)
    return states


def set_global_states(states: dict[str, Any], device: th.device) -> None:
    """Put back what `global_states` returned, as far as `device` has such a generator."""
    import torch as th

    name, key, position = states["numpy"]
    np.random.set_state((name, key.numpy(), position, *states["numpy_gaussian"]))
    th.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        th.cuda.set_rng_state(states["cuda"], device)
