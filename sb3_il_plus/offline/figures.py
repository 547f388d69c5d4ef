"""Figures of the updates: kept on the device, and read only when they are logged.

Reading a number from a GPU waits until all work before it is done. So losses are kept as they are,
as tensors, and their means are read once for each line of the log.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch as th


class Figures:
    """Means over updates of named scalars."""

    def __init__(self) -> None:
        self._values: dict[str, list[th.Tensor]] = {}

    def add(self, figures: Mapping[str, th.Tensor]) -> None:
        """Take note of the figures of one update: name -> scalar."""
        for name, value in figures.items():
            self._values.setdefault(name, []).append(value.detach())

    def pop(self) -> dict[str, float]:
        """The mean of each figure since the last call."""
        names = list(self._values)
        if not names:
            return {}
        means = th.stack([th.stack(self._values[name]).mean() for name in names]).tolist()
        self._values.clear()
        return dict(zip(names, means, strict=True))
