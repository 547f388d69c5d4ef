"""Parts of an episode: which steps of all episodes a diagnostic looks at together."""

from __future__ import annotations

import numpy as np

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import UserError


def step_in_episode(demonstrations: Demonstrations) -> np.ndarray:
    """The number of each transition's step within its episode, from 0; shape (N,)."""
    starts = demonstrations.offsets[:-1]
    return np.arange(len(demonstrations)) - np.repeat(starts, demonstrations.episode_lengths)


def windows(length: int, n_windows: int) -> np.ndarray:
    """Bounds of equal parts of `length` steps, shape (parts + 1,); fewer where steps are few.

    :raises UserError: `n_windows` is no positive number
    """
    if n_windows < 1:
        raise UserError(f"n_windows={n_windows} must be at least 1")
    return np.unique(np.linspace(0, length, min(n_windows, length) + 1).astype(np.int64))


def centres(bounds: np.ndarray) -> np.ndarray:
    """The middle of each part, shape (parts,)."""
    middle: np.ndarray = (bounds[:-1] + bounds[1:] - 1) / 2
    return middle
