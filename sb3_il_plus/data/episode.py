"""`Episode`: one episode of demonstrations, as views into their columns."""

from __future__ import annotations

import dataclasses

import numpy as np

from sb3_il_plus.data.columns import Columns


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode (or a fragment of one) as views into the columns."""

    observations: Columns
    """Shape (T + 1, *observation shape): the last one is where the episode ended."""
    actions: np.ndarray
    """Shape (T, *action shape)."""
    rewards: np.ndarray | None
    """Shape (T,), or None where the data has none."""
    terminated: bool
    """Whether the last state is terminal (its value is zero)."""
    truncated: bool
    """Whether a time limit or the like cut the episode (its last state still has a value)."""

    def __len__(self) -> int:
        return len(self.actions)
