"""Transitions as rows of one table, or in mapped columns: how `TransitionSampler` keeps them.

In memory a transition is a *record*: its columns stand side by side, and the next observation is
the beginning of the record behind it. So whatever the number of columns, a batch is one indexing
operation and each transition one place in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch as th

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import TensorColumns

_WORD = np.dtype(np.int32)
"""Tables are made of these, as indexing four bytes at a time is faster than one."""


class TransitionBatch(NamedTuple):
    """B transitions, under SB3's names; float32, or int64 for choices, or bytes for images."""

    observations: TensorColumns
    """Shape (B, *observation shape), or a dict of such."""
    actions: th.Tensor
    """Shape (B, *action shape)."""
    next_observations: TensorColumns
    """Where the step led, also at an episode's end."""
    rewards: th.Tensor
    """Shape (B, 1), float32."""
    terminations: th.Tensor
    """Shape (B, 1), float32: 1 where the next state is terminal. A time limit is no terminal."""


class Transitions(Protocol):
    """Where transitions are kept."""

    transition_bytes: int
    """Size of a transition with its next observation."""

    def gather(self, index: np.ndarray) -> TransitionBatch:
        """The transitions `index`, on the device."""


class Records:
    """Transitions in memory, moved to the device once.

    :param data: demonstrations with rewards
    :param device: where the table is kept
    """

    def __init__(self, data: Demonstrations, device: th.device) -> None:
        self._rows = data.observation_rows(np.arange(len(data)))
        self._device = device
        self._names = [name for name, _ in col.named(data.observations)]
        columns = dict(col.named(data.observations)) | _others(data)
        self._fields = _side_by_side(columns)
        self._width = sum(field.n_words for field in self._fields.values())
        # NumPy asks for huge pages where torch does not, and scattered reads need them.
        table = np.zeros((len(data) + data.n_episodes, self._width), _WORD)
        for name, column in columns.items():
            rows = slice(None) if name in self._names else self._rows
            self._fields[name].in_table(table)[rows] = column.reshape(len(column), -1)
        # Each window is a record and the observation behind it; the last row begins none.
        observed = sum(self._fields[name].n_words for name in self._names)
        size = (len(table) - 1, self._width + observed)
        self._windows = th.from_numpy(table).to(device).as_strided(size, (self._width, 1))
        self._keys = list(data.observations) if isinstance(data.observations, dict) else None
        self.transition_bytes = size[1] * _WORD.itemsize

    def gather(self, index: np.ndarray) -> TransitionBatch:
        """The transitions `index`, on the device."""
        rows = th.from_numpy(self._rows[index]).to(self._device)
        windows = self._windows.index_select(0, rows)
        values = {name: field.in_windows(windows) for name, field in self._fields.items()}
        return TransitionBatch(
            observations=self._columns([values[name] for name in self._names]),
            actions=values["actions"],
            next_observations=self._columns(
                [self._fields[name].in_windows(windows, self._width) for name in self._names]
            ),
            rewards=values["rewards"],
            terminations=values["terminations"],
        )

    def _columns(self, tensors: list[th.Tensor]) -> TensorColumns:
        return tensors[0] if self._keys is None else dict(zip(self._keys, tensors, strict=True))


class MappedColumns:
    """Transitions in files: only the rows that are drawn are read.

    :param data: demonstrations with rewards, mapped from files
    :param device: where the rows are moved
    """

    def __init__(self, data: Demonstrations, device: th.device) -> None:
        self._data, self._device = data, device
        row_bytes = [column[:1].nbytes for _, column in col.named(data.observations)]
        self.transition_bytes = 2 * sum(row_bytes) + data.actions[:1].nbytes + 8

    def gather(self, index: np.ndarray) -> TransitionBatch:
        """The transitions `index`, on the device."""
        data, rows = self._data, self._data.observation_rows(index)
        assert data.rewards is not None
        return TransitionBatch(
            observations=self._take(data.observations, rows),
            actions=self._take_one(data.actions, index),
            next_observations=self._take(data.observations, rows + 1),
            rewards=self._take_one(data.rewards, index)[:, None],
            terminations=self._take_one(data.terminations, index)[:, None].float(),
        )

    def _take(self, columns: col.Columns, rows: np.ndarray) -> TensorColumns:
        if isinstance(columns, dict):
            return {key: self._take_one(column, rows) for key, column in columns.items()}
        return self._take_one(columns, rows)

    def _take_one(self, column: np.ndarray, rows: np.ndarray) -> th.Tensor:
        taken = np.take(column, rows, axis=0)
        return th.from_numpy(taken.astype(_tensor_dtype(taken.dtype), copy=False)).to(self._device)


@dataclass(frozen=True)
class _Field:
    """One column's place in a record."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    """In words."""
    n_words: int

    @property
    def n_values(self) -> int:
        return math.prod(self.shape)

    def in_table(self, table: np.ndarray) -> np.ndarray:
        """A view of the column, shape (rows, values)."""
        words = table[:, self.start : self.start + self.n_words]
        return words.view(self.dtype)[:, : self.n_values]

    def in_windows(self, windows: th.Tensor, shift: int = 0) -> th.Tensor:
        """A view of the column, shape (rows, *shape), so many words further on."""
        start = shift + self.start
        values = windows[:, start : start + self.n_words].view(_torch_dtype(self.dtype))
        return values[:, : self.n_values].unflatten(1, self.shape) if self.shape else values[:, 0]


def _side_by_side(columns: Mapping[str, np.ndarray]) -> dict[str, _Field]:
    """Lay columns out one behind the other, each where torch can look at it as what it is."""
    dtypes = {name: _tensor_dtype(column.dtype) for name, column in columns.items()}
    unit = max(dtype.itemsize for dtype in [*dtypes.values(), _WORD]) // _WORD.itemsize
    fields, start = {}, 0
    for name, column in columns.items():
        n_bytes = math.prod(column.shape[1:]) * dtypes[name].itemsize
        n_words = unit * -(-n_bytes // (unit * _WORD.itemsize))
        fields[name] = _Field(dtypes[name], column.shape[1:], start, n_words)
        start += n_words
    return fields


def _others(data: Demonstrations) -> dict[str, np.ndarray]:
    assert data.rewards is not None
    return {
        "actions": data.actions,
        "rewards": data.rewards[:, None].astype(np.float32, copy=False),
        "terminations": data.terminations[:, None].astype(np.float32),
    }


def _tensor_dtype(dtype: np.dtype) -> np.dtype:
    """As `sampling.to_tensor`: float32 for floats, int64 for integers, bytes as they are."""
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.int64) if dtype.kind in "iu" and dtype != np.uint8 else dtype


def _torch_dtype(dtype: np.dtype) -> th.dtype:
    return th.from_numpy(np.zeros(0, dtype)).dtype
