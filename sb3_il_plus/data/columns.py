"""Columns: an array whose first axis is time, or a dict of them for `Dict` observations.

Everything that touches observations goes through these few functions, so that no other module
asks whether it holds an array or a dict.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from sb3_il_plus.errors import DataError

Columns: TypeAlias = np.ndarray | dict[str, np.ndarray]


def map_columns(function: Callable[..., np.ndarray], first: Columns, *others: Columns) -> Columns:
    """Apply `function` to the arrays, or key by key to those of the dicts.

    :raises KeyError: one of `others` lacks a key of `first`
    """
    if isinstance(first, Mapping):
        return {
            key: function(column, *(other[key] for other in others))
            for key, column in first.items()
        }
    return function(first, *others)


def take(columns: Columns, index: Any) -> Columns:
    """Index the time axis: a slice gives views, an array of indices gives copies."""
    return map_columns(lambda column: column[index], columns)


def named(columns: Columns, name: str = "observations") -> Iterator[tuple[str, np.ndarray]]:
    """Yield `(name, array)`, or `("name['key']", array)` for each entry of a dict."""
    if isinstance(columns, Mapping):
        for key, column in columns.items():
            yield f"{name}[{key!r}]", column
    else:
        yield name, columns


def named_spaces(
    space: spaces.Space, name: str = "observations"
) -> Iterator[tuple[str, spaces.Space]]:
    """Yield the name of each column of observations of `space`, as `named` does, with its space."""
    if isinstance(space, spaces.Dict):
        for key, entry in space.spaces.items():
            yield f"{name}[{key!r}]", entry
    else:
        yield name, space


def length(columns: Columns) -> int:
    """Length of the time axis (of the first entry, for a dict)."""
    if isinstance(columns, Mapping):
        return len(next(iter(columns.values()), ()))
    return len(columns)


def concatenate(parts: Sequence[Columns]) -> Columns:
    """Join along the time axis; every part has the same keys."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: np.concatenate([part[key] for part in parts]) for key in first}
    return np.concatenate(parts)  # type: ignore[arg-type]


def stack(rows: Sequence[Any]) -> Columns:
    """Stack single observations (arrays or dicts of arrays) along a new time axis."""
    if isinstance(rows[0], Mapping):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


def as_columns(value: Any) -> Columns:
    """Turn lists and dicts of lists into arrays; arrays are returned as they are."""
    if isinstance(value, Mapping):
        return {str(key): np.asarray(column) for key, column in value.items()}
    return np.asarray(value)


def as_flags(values: np.ndarray, name: str, first_step: int = 0) -> np.ndarray:
    """Booleans from a column of zeros and ones.

    :param first_step: the number of its first row, for the message
    :raises DataError: another value; names its step
    """
    sound = np.isin(values, (0, 1))
    if not sound.all():
        step = int(np.argmin(sound))
        raise DataError(f"{name}: step {first_step + step} is {values[step]}, which is no flag")
    return values.astype(bool)


def read_only(column: Any) -> np.ndarray:
    """A view that cannot be written to."""
    view = np.asarray(column).view()
    view.flags.writeable = False
    return view


def is_mapped(column: np.ndarray) -> bool:
    """Whether an array is mapped from a file, or a view of one that is."""
    return _mapping(column) is not None


def release(column: np.ndarray) -> None:
    """Let go of the pages of a mapped file, which count as this process's memory; no value is lost.

    They stay in the operating system's cache for as long as nobody else needs the memory.
    """
    mapping = _mapping(column)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(column: np.ndarray) -> mmap.mmap | None:
    base: Any = column
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base
