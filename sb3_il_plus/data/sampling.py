"""Mini-batches of demonstrations, resident in memory where they are used.

Data loaders that build a batch sample by sample spend most of behavioural cloning's time. Here the
columns are tensors (moved to the device once) and a batch is one indexing operation. The position
in the data is part of a sampler's state, so a resumed run draws exactly what it would have drawn.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch as th

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.balanced import BalancedSampler
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError, UserError

TensorColumns = th.Tensor | dict[str, th.Tensor]


def to_tensor(column: np.ndarray, device: th.device | str) -> th.Tensor:
    """A tensor as SB3 reads it: float32 for floats, int64 for integers, bytes as they are."""
    if column.dtype.kind == "f":
        column = column.astype(np.float32, copy=False)
    elif column.dtype.kind in "iu" and column.dtype != np.uint8:
        column = column.astype(np.int64, copy=False)
    return th.tensor(column, device=device)


def to_tensors(columns: Columns, device: th.device | str) -> TensorColumns:
    """`to_tensor` for an array or each array of a dict."""
    return col.map_columns(lambda column: to_tensor(column, device), columns)  # type: ignore[arg-type,return-value]


def take_rows(columns: TensorColumns, rows: th.Tensor) -> TensorColumns:
    """The given rows of a tensor, or of each tensor of a dict."""
    if isinstance(columns, dict):
        return {key: column[rows] for key, column in columns.items()}
    return columns[rows]


def check_batch_sizes(batch_size: int, minibatch_size: int | None) -> None:
    """Make sure that batches can be computed in equal parts.

    :param minibatch_size: rows of a part; None for the whole batch
    :raises UserError: one is no positive number, or the second does not divide the first
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1")
    if minibatch_size is not None and (minibatch_size < 1 or batch_size % minibatch_size):
        raise UserError(
            f"minibatch_size={minibatch_size} must be a divisor of batch_size={batch_size}"
        )


class EpochSampler:
    """Endless epochs of shuffled index batches; a batch that would be incomplete is dropped.

    :param n: number of transitions
    :param batch_size: indices in each batch
    :param rng: source of the shuffling; owned by the sampler from now on
    :raises DataError: there are fewer transitions than one batch needs
    """

    def __init__(self, n: int, batch_size: int, rng: np.random.Generator) -> None:
        if not 1 <= batch_size <= n:
            raise DataError(
                f"batch_size={batch_size} does not fit {n} transitions: "
                f"choose one between 1 and {n}, or collect more demonstrations"
            )
        self.n, self.batch_size, self._rng = n, batch_size, rng
        self.batches_per_epoch = n // batch_size
        self._position = 0
        self._shuffle()

    def _shuffle(self) -> None:
        self._state_before = self._rng.bit_generator.state
        self._order = self._rng.permutation(self.n)

    @property
    def at_end_of_epoch(self) -> bool:
        """Whether the next batch begins another epoch."""
        return self._position == self.batches_per_epoch

    def next(self) -> np.ndarray:
        """The next batch of indices, shape (batch_size,)."""
        if self.at_end_of_epoch:
            self._position = 0
            self._shuffle()
        start = self._position * self.batch_size
        self._position += 1
        return self._order[start : start + self.batch_size]

    def state(self) -> dict[str, Any]:
        """Where the sampler is, as plain JSON."""
        return {"n": self.n, "rng": self._state_before, "position": self._position}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; other data (another `n`) starts a new epoch."""
        self._rng.bit_generator.state = state["rng"]
        self._shuffle()
        self._position = state["position"] if state["n"] == self.n else 0


class Batches(abc.ABC):
    """Epochs of shuffled batches for supervised learning, cut into parts that fit into memory.

    Iterating yields one epoch of `{"obs": tensors, "acts": tensor}` and what else the loss needs,
    the form that `imitation`'s trainers read.

    :param n: number of rows (transitions, or sequences of them)
    :param batch_size: rows in each batch
    :param rng: source of the shuffling
    :param minibatch_size: rows that are handed out at a time, a divisor of `batch_size`; None for
        whole batches
    :param groups: shape (n,), what every batch is balanced over (see `BalancedSampler`); None for
        batches as the data has it
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        rng: np.random.Generator,
        minibatch_size: int | None = None,
        groups: np.ndarray | None = None,
    ) -> None:
        self.sampler: EpochSampler | BalancedSampler = (
            EpochSampler(n, batch_size, rng)
            if groups is None
            else BalancedSampler(groups, batch_size, rng)
        )
        self.batch_size = batch_size
        self.minibatch_size = minibatch_size or batch_size

    @abc.abstractmethod
    def rows(self, index: np.ndarray) -> dict[str, Any]:
        """The rows `index` as tensors."""

    @abc.abstractmethod
    def n_transitions(self, index: np.ndarray) -> int:
        """How many transitions the rows `index` hold."""

    def parts(self, index: np.ndarray) -> Iterator[dict[str, Any]]:
        """The rows `index`, `minibatch_size` of them at a time."""
        for start in range(0, len(index), self.minibatch_size):
            yield self.rows(index[start : start + self.minibatch_size])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            yield from self.parts(self.sampler.next())
            if self.sampler.at_end_of_epoch:
                return

    def in_order(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every row once, unshuffled: parts, each with its number of transitions."""
        for start in range(0, self.sampler.n, self.minibatch_size):
            index = np.arange(start, min(start + self.minibatch_size, self.sampler.n))
            yield self.n_transitions(index), self.rows(index)


class ActionBatches(Batches):
    """Batches of observations and expert actions, whose rows are transitions.

    :param observations: shape (N, *observation shape) or a dict of such, as the policy sees them
    :param actions: shape (N, *action shape)
    :param device: where the tensors are kept
    :param others: further columns of length N, handed out under their names
    :param groups: shape (N,), what every batch is balanced over
    """

    def __init__(
        self,
        observations: Columns,
        actions: np.ndarray,
        batch_size: int,
        rng: np.random.Generator,
        device: th.device | str = "cpu",
        *,
        minibatch_size: int | None = None,
        others: Mapping[str, Columns] | None = None,
        groups: np.ndarray | None = None,
    ) -> None:
        super().__init__(len(actions), batch_size, rng, minibatch_size, groups)
        self._device = device
        columns = {"obs": observations, "acts": actions, **(others or {})}
        self._columns = {name: to_tensors(column, device) for name, column in columns.items()}

    def rows(self, index: np.ndarray) -> dict[str, Any]:
        """Transitions, shape (B, ...)."""
        rows = th.from_numpy(index).to(self._device)
        return {name: take_rows(column, rows) for name, column in self._columns.items()}

    def n_transitions(self, index: np.ndarray) -> int:
        """One for each row."""
        return len(index)


def draw_indices(n: int, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """`batch_size` of `n` indices: distinct where there are enough, else with replacement."""
    return rng.choice(n, batch_size, replace=n < batch_size)


def transitions_at(demonstrations: Demonstrations, index: np.ndarray) -> dict[str, Any]:
    """Transitions as arrays under `imitation`'s names: obs, acts, next_obs, dones.

    `dones` marks the end of an episode for whatever reason, because that is how `imitation` marks
    the learner's own transitions; a discriminator must not tell the two apart by the mark.
    """
    return {
        "obs": demonstrations.observations_at(index),
        "acts": demonstrations.actions[index],
        "next_obs": demonstrations.next_observations_at(index),
        "dones": (demonstrations.terminations | demonstrations.truncations)[index],
    }
