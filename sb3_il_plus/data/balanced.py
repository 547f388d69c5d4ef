"""Batches in which every group has as many members, however rare it is in the data.

Codevilla et al. 2018 draw batches balanced over commands: most of driving is following the lane,
and a network that hardly ever sees a turn does not learn it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_il_plus.errors import DataError


class BalancedSampler:
    """Endless batches of indices with equal shares of every group; a stand-in for `EpochSampler`.

    Within a group, every member is drawn once before any is drawn again. Where `batch_size` is no
    multiple of the number of groups, they take turns to have one more.

    :param groups: the group of each transition, shape (n,); any values that can be compared
    :param batch_size: indices in each batch
    :param rng: source of the shuffling
    :raises DataError: a batch has no place for every group
    """

    def __init__(self, groups: np.ndarray, batch_size: int, rng: np.random.Generator) -> None:
        names, member_of = np.unique(np.asarray(groups), return_inverse=True)
        if batch_size < len(names):
            raise DataError(
                f"batch_size={batch_size} is too small for batches that are balanced over "
                f"{len(names)} groups: {names.tolist()}"
            )
        self.n, self.batch_size = len(member_of), batch_size
        # An epoch is as long as the data, so that balancing changes no number of updates.
        self.batches_per_epoch = max(1, self.n // batch_size)
        self._n_drawn = 0
        self._streams = [
            _Stream(np.flatnonzero(member_of == number), child)
            for number, child in enumerate(rng.spawn(len(names)))
        ]

    @property
    def at_end_of_epoch(self) -> bool:
        """Whether as many batches were drawn as the data holds."""
        return self._n_drawn > 0 and self._n_drawn % self.batches_per_epoch == 0

    def next(self) -> np.ndarray:
        """The next batch of indices, shape (batch_size,), group after group."""
        n_groups = len(self._streams)
        share, left_over = divmod(self.batch_size, n_groups)
        turn = self._n_drawn * left_over
        self._n_drawn += 1
        return np.concatenate(
            [
                stream.take(share + ((number - turn) % n_groups < left_over))
                for number, stream in enumerate(self._streams)
            ]
        )

    def state(self) -> dict[str, Any]:
        """Where the sampler is, as plain JSON."""
        streams = [stream.state() for stream in self._streams]
        return {"n": self.n, "n_drawn": self._n_drawn, "streams": streams}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; with other data, begin anew."""
        sizes = [stream["n"] for stream in state["streams"]]
        if sizes != [len(stream.members) for stream in self._streams]:
            return
        self._n_drawn = state["n_drawn"]
        for stream, own in zip(self._streams, state["streams"], strict=True):
            stream.load_state(own)


class _Stream:
    """The members of a group in an endless shuffled order."""

    def __init__(self, members: np.ndarray, rng: np.random.Generator) -> None:
        self.members, self._rng = members, rng
        self._shuffle()

    def _shuffle(self) -> None:
        self._state_before = self._rng.bit_generator.state
        self._order = self._rng.permutation(self.members)
        self._position = 0

    def take(self, n: int) -> np.ndarray:
        parts: list[np.ndarray] = []
        while n > 0:
            if self._position == len(self._order):
                self._shuffle()
            part = self._order[self._position : self._position + n]
            self._position += len(part)
            n -= len(part)
            parts.append(part)
        return np.concatenate(parts) if parts else self._order[:0]

    def state(self) -> dict[str, Any]:
        return {"n": len(self.members), "rng": self._state_before, "position": self._position}

    def load_state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._shuffle()
        self._position = state["position"]
