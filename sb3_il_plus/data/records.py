"""Transitions as records: how `TransitionSampler` keeps and reads them.

A *record* has the columns of a transition side by side, so that gathering a batch is one indexing
operation and a transition is one place in memory, however many columns there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import TensorColumns

_WORD = np.dtype(np.int32)
"""Tables are made of these, as indexing four bytes at a time is faster than one."""

_AHEAD_BYTES = 2**22
"""Records that are gathered at a time from memory: what stays in a processor's cache."""

_SWEEP_AHEAD_BYTES, _SWEPT_BYTES = 2**26, 2**25
"""Records gathered in one sweep through files, and bytes of files between letting pages go."""


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

    record_bytes: int
    """Size of one transition with its next observation."""
    ahead_bytes: int
    """How much is best gathered at a time."""

    def gather(self, index: np.ndarray) -> TransitionBatch:
        """The transitions `index`, on the device."""


class InMemory:
    """Transitions in memory, moved to the device once.

    The table has a row for each observation. What is gathered is a window of it: a row, and of the
    row behind it the beginning, which is the next observation.

    :param data: demonstrations with rewards
    :param device: where the table is kept
    """

    ahead_bytes = _AHEAD_BYTES

    def __init__(self, data: Demonstrations, device: th.device) -> None:
        self._rows, self._device = data.observation_rows(np.arange(len(data))), device
        columns = _columns(data)
        observed = [column for column in columns if column.name == _OBSERVATIONS]
        others = [c for c in columns if c.name not in (_OBSERVATIONS, _NEXT)]
        fields = _side_by_side([*observed, *others])
        width = sum(field.n_words for field in fields)
        # NumPy asks for huge pages where torch does not, and scattered reads need them.
        table = np.zeros((len(data) + data.n_episodes, width), _WORD)
        for field in fields:
            rows = slice(None) if field.column.name == _OBSERVATIONS else self._rows
            field.in_table(table)[rows] = _flat(field.column.values)
        self._fields = [*fields, *(field.behind(width) for field in fields[: len(observed)])]
        size = (len(table) - 1, sum(field.n_words for field in self._fields))
        self._windows = th.from_numpy(table).to(device).as_strided(size, (width, 1))
        self.record_bytes = size[1] * _WORD.itemsize

    def gather(self, index: np.ndarray) -> TransitionBatch:
        """The transitions `index`, on the device."""
        rows = th.from_numpy(self._rows[index]).to(self._device)
        records = self._windows.index_select(0, rows)
        return _batch(
            (field.column for field in self._fields), (field.of(records) for field in self._fields)
        )


class InFiles:
    """Transitions in mapped files: only the rows that are drawn are read, in the files' order.

    Scattered reads of mapped files cost most in the page tables. So very many transitions are
    gathered at a time, in one sweep from the files' beginning to their end, and the pages are let
    go behind it: the resident memory is that of a part of the sweep, whatever the size of the data.

    :param data: demonstrations with rewards, mapped from files
    :param device: where the rows are moved
    """

    def __init__(self, data: Demonstrations, device: th.device) -> None:
        self._data, self._device = data, device
        self._columns = _columns(data)
        self.record_bytes = sum(column.values[:1].nbytes for column in self._columns)
        n_bytes = sum(column.nbytes for column in data.columns().values())
        self._n_parts = -(-n_bytes // _SWEPT_BYTES)
        self.ahead_bytes = int(np.clip(n_bytes, _AHEAD_BYTES, _SWEEP_AHEAD_BYTES))

    def gather(self, index: np.ndarray) -> TransitionBatch:
        """The transitions `index`, on the device."""
        order = np.argsort(index)
        found = self._sweep(index[order])
        drawn = np.empty_like(order)
        drawn[order] = np.arange(len(order))
        tensors = []
        for column in self._columns:
            values = found.pop(0).take(drawn, axis=0).astype(column.dtype, copy=False)
            tensors.append(th.from_numpy(values).to(self._device))
        return _batch(self._columns, tensors)

    def _sweep(self, steps: np.ndarray) -> list[np.ndarray]:
        """Each column's rows of sorted steps."""
        rows = self._data.observation_rows(steps)
        places = {_OBSERVATIONS: rows, _NEXT: rows + 1}
        found = [
            np.empty((len(steps), *column.values.shape[1:]), column.values.dtype)
            for column in self._columns
        ]
        cuts = np.searchsorted(steps, np.linspace(0, len(self._data), self._n_parts + 1))
        for start, stop in pairwise(cuts.tolist()):
            for column, values in zip(self._columns, found, strict=True):
                part = places.get(column.name, steps)[start:stop]
                # "clip" is the mode that does not copy; no row is outside.
                np.take(column.values, part, 0, values[start:stop], mode="clip")
            if self._n_parts > 1:
                for values in self._data.columns().values():
                    col.release(values)
        return found


_OBSERVATIONS, _NEXT = "observations", "next_observations"


class _Column(NamedTuple):
    """A column of transitions."""

    name: str
    """As in `TransitionBatch`."""
    key: str | None
    """Of a Dict observation."""
    values: np.ndarray
    dtype: np.dtype
    """In the batch."""


def _columns(data: Demonstrations) -> list[_Column]:
    """All columns in the order in which they stand in records; next observations are the last."""
    assert data.rewards is not None
    observations = data.observations
    entries = observations if isinstance(observations, dict) else {None: observations}
    wanted = [
        *((_OBSERVATIONS, key, values) for key, values in entries.items()),
        ("actions", None, data.actions),
        ("rewards", None, data.rewards[:, None]),
        ("terminations", None, data.terminations[:, None]),
        *((_NEXT, key, values) for key, values in entries.items()),
    ]
    return [_Column(name, key, values, _tensor_dtype(name, values)) for name, key, values in wanted]


def _tensor_dtype(name: str, values: np.ndarray) -> np.dtype:
    """As `sampling.to_tensor`: float32 for floats, int64 for integers, bytes as they are."""
    if values.dtype.kind == "f" or name in ("rewards", "terminations"):
        return np.dtype(np.float32)
    is_integer = values.dtype.kind in "iu" and values.dtype != np.uint8
    return np.dtype(np.int64) if is_integer else values.dtype


@dataclass(frozen=True)
class _Field:
    """Where a column stands in a record."""

    column: _Column
    start: int
    """In words."""
    n_words: int

    @property
    def n_values(self) -> int:
        """Of one record."""
        return math.prod(self.column.values.shape[1:])

    def behind(self, width: int) -> _Field:
        """The same column of the record behind, as the next observation."""
        return _Field(self.column._replace(name=_NEXT), self.start + width, self.n_words)

    def in_table(self, table: np.ndarray) -> np.ndarray:
        """A view of the column, shape (rows, values)."""
        words = table[:, self.start : self.start + self.n_words]
        return words.view(self.column.dtype)[:, : self.n_values]

    def of(self, records: th.Tensor) -> th.Tensor:
        """A view of the column, shape (rows, *shape)."""
        dtype = th.from_numpy(np.zeros(0, self.column.dtype)).dtype
        values = records[:, self.start : self.start + self.n_words].view(dtype)
        shape = self.column.values.shape[1:]
        return values[:, : self.n_values].unflatten(1, shape) if shape else values[:, 0]


def _side_by_side(columns: Iterable[_Column]) -> list[_Field]:
    """Lay columns out one behind the other, each where torch can look at it as what it is."""
    columns = list(columns)
    unit = max(c.dtype.itemsize for c in columns) // _WORD.itemsize or 1
    fields, start = [], 0
    for column in columns:
        n_bytes = math.prod(column.values.shape[1:]) * column.dtype.itemsize
        n_words = unit * -(-n_bytes // (unit * _WORD.itemsize))
        fields.append(_Field(column, start, n_words))
        start += n_words
    return fields


def _batch(columns: Iterable[_Column], tensors: Iterable[th.Tensor]) -> TransitionBatch:
    """Put columns together, those of a Dict observation in dicts."""
    batch: dict[str, Any] = {}
    for column, tensor in zip(columns, tensors, strict=True):
        if column.key is None:
            batch[column.name] = tensor
        else:
            batch.setdefault(column.name, {})[column.key] = tensor
    return TransitionBatch(**batch)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)
