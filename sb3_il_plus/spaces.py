"""Gymnasium spaces: as plain JSON in every file of ours, which values lie in them, and random ones.

`space_to_json` and `space_from_json` are inverses. What is read may come from a damaged or hostile
file: anything that does not describe a space exactly is a `FileError`, and nothing is executed.
Bounds that are equal everywhere are written once; infinite ones as strings, as JSON has no number
for them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from sb3_il_plus.errors import FileError

_LARGEST = 2**27
"""Most numbers in a space that is read: a damaged shape must not exhaust the memory."""


def space_to_json(space: spaces.Space) -> dict[str, Any]:
    """Describe `space` as a JSON-like dict.

    :raises FileError: there is no description of this kind of space
    """
    for kind, (write, _) in _FORMS.items():
        if type(space) is kind:
            return {"type": kind.__name__, **write(space)}
    raise FileError(
        f"a space of type {type(space).__name__} cannot be written: {space}; "
        f"known: {', '.join(kind.__name__ for kind in _FORMS)}"
    )


def space_from_json(description: Any) -> spaces.Space:
    """Build the space that `space_to_json` described.

    :raises FileError: the description is damaged or of an unknown kind
    """
    readers = {kind.__name__: read for kind, (_, read) in _FORMS.items()}
    try:
        fields = dict(description)
        read = readers[fields.pop("type")]
        return read(**fields)
    except FileError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        shown = repr(description)
        raise FileError(
            f"not the description of a space: {shown[:200]} ({type(error).__name__}: {error})"
        ) from error


def outside(values: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Where a batch of values does not lie in `space`; NaN lies nowhere, rounding is forgiven.

    :param values: shape (n, *shape of the space)
    :return: booleans of that shape
    """
    if isinstance(space, spaces.Box):
        low, high = (np.asarray(bound, dtype=np.float64) for bound in (space.low, space.high))
        slack = 1e-5 * np.maximum(1.0, np.abs(np.where(np.isfinite(high), high, 0.0)))
        return ~((values >= low - slack) & (values <= high + slack) & np.isfinite(values))
    if isinstance(space, spaces.Discrete):
        return (values < space.start) | (values >= space.start + space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return (values < space.start) | (values >= space.start + space.nvec)
    if isinstance(space, spaces.MultiBinary):
        return (values != 0) & (values != 1)
    return np.zeros(values.shape, dtype=bool)


def sample_uniform(space: spaces.Space, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw values of a space as its own `sample` does: uniformly, where it is bounded.

    :return: shape (n, *shape of the space)
    """
    if n == 0:
        return np.zeros((0, *(space.shape or ())), space.dtype)
    batch = batch_space(space, n)
    batch.seed(int(rng.integers(2**31)))
    return np.asarray(batch.sample()).reshape(n, *(space.shape or ())).astype(space.dtype)


def add_noise(
    values: np.ndarray, space: spaces.Box, scale: float | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Add Gaussian noise to a batch of values of a space, and clip to its bounds.

    :param values: shape (n, *shape of the space); integers are rounded
    :param scale: standard deviation, one or of each component
    """
    noisy = values + scale * rng.standard_normal(values.shape, dtype=np.float32)
    if np.dtype(space.dtype).kind in "iu":
        noisy = np.rint(noisy)
    return np.clip(noisy, space.low, space.high).astype(values.dtype)


def half_range(space: spaces.Box) -> np.ndarray:
    """Half of the distance between the bounds of each component; 1 where there are none."""
    distance = np.asarray(space.high, np.float64) - np.asarray(space.low, np.float64)
    return np.where(np.isfinite(distance), distance / 2, 1.0)


def _write_box(space: spaces.Box) -> dict[str, Any]:
    return {
        "dtype": str(space.dtype),
        "shape": list(space.shape),
        "low": _numbers(space.low),
        "high": _numbers(space.high),
    }


def _read_box(dtype: str, shape: list[int], low: Any, high: Any) -> spaces.Box:
    size = _shape(shape)
    return spaces.Box(
        _array(low, _dtype(dtype, "fiub"), size),
        _array(high, _dtype(dtype, "fiub"), size),
        size,
        _dtype(dtype, "fiub").type,
    )


def _write_discrete(space: spaces.Discrete) -> dict[str, Any]:
    return {"n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}


def _read_discrete(n: int, start: int, dtype: str) -> spaces.Discrete:
    # Only newer versions of gymnasium know other integers than int64 here.
    options: dict[str, Any] = {} if dtype == "int64" else {"dtype": _dtype(dtype, "iu")}
    return spaces.Discrete(_integer(n), start=_integer(start), **options)


def _write_multi_discrete(space: spaces.MultiDiscrete) -> dict[str, Any]:
    return {
        "dtype": str(space.dtype),
        "shape": list(space.shape),
        "nvec": _numbers(space.nvec),
        "start": _numbers(space.start),
    }


def _read_multi_discrete(
    dtype: str, shape: list[int], nvec: Any, start: Any
) -> spaces.MultiDiscrete:
    kind, size = _dtype(dtype, "iu"), _shape(shape)
    return spaces.MultiDiscrete(
        _array(nvec, kind, size), dtype=kind.type, start=_array(start, kind, size)
    )


def _write_multi_binary(space: spaces.MultiBinary) -> dict[str, Any]:
    return {"n": space.n if isinstance(space.n, int) else [int(size) for size in space.shape]}


def _read_multi_binary(n: int | list[int]) -> spaces.MultiBinary:
    return spaces.MultiBinary(_shape(n) if isinstance(n, list) else _shape([n])[0])


def _write_dict(space: spaces.Dict) -> dict[str, Any]:
    for key in space.spaces:
        if not isinstance(key, str):
            raise FileError(f"the key {key!r} of a Dict space cannot be written; use strings")
    return {"entries": {key: space_to_json(entry) for key, entry in space.spaces.items()}}


def _read_dict(entries: dict[str, Any]) -> spaces.Dict:
    # Gymnasium sorts the keys of a plain dict; an ordered one keeps the order of the columns.
    return spaces.Dict(
        OrderedDict((key, space_from_json(entry)) for key, entry in dict(entries).items())
    )


def _write_tuple(space: spaces.Tuple) -> dict[str, Any]:
    return {"entries": [space_to_json(entry) for entry in space.spaces]}


def _read_tuple(entries: list[Any]) -> spaces.Tuple:
    return spaces.Tuple([space_from_json(entry) for entry in entries])


def _write_text(space: spaces.Text) -> dict[str, Any]:
    return {
        "min_length": int(space.min_length),
        "max_length": int(space.max_length),
        "charset": "".join(sorted(space.character_set)),
    }


def _read_text(min_length: int, max_length: int, charset: str) -> spaces.Text:
    if not isinstance(charset, str):
        raise TypeError(f"charset {charset!r} is no string")
    return spaces.Text(_integer(max_length), min_length=_integer(min_length), charset=charset)


def _numbers(values: np.ndarray) -> Any:
    """One number where all are equal, nested lists otherwise."""
    values = np.asarray(values)
    if values.size and (values == values.flat[0]).all():
        return _number(values.flat[0].item())
    return _nested(values.tolist())


def _nested(values: Any) -> Any:
    return [_nested(value) for value in values] if isinstance(values, list) else _number(values)


def _number(value: float | int | bool) -> float | int | str:
    """Return a JSON number, or "inf" and "-inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _array(values: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Read what `_numbers` wrote, refusing numbers that `dtype` cannot hold."""
    numbers = np.array(_infinite(values), dtype=None if dtype.kind == "f" else dtype)
    if numbers.shape not in ((), shape):
        raise ValueError(f"bounds of shape {numbers.shape} in a space of shape {shape}")
    if numbers.dtype.kind not in "fiub" or np.isnan(numbers).any():
        raise ValueError(f"bounds {values!r} are not numbers")
    return np.broadcast_to(numbers.astype(dtype), shape)


def _infinite(values: Any) -> Any:
    if isinstance(values, list):
        return [_infinite(value) for value in values]
    return {"inf": math.inf, "-inf": -math.inf}[values] if isinstance(values, str) else values


def _dtype(name: str, kinds: str) -> np.dtype:
    dtype = np.dtype(name) if isinstance(name, str) else None
    if dtype is None or dtype.kind not in kinds or str(dtype) != name:
        raise TypeError(f"dtype {name!r} is not one of this space")
    return dtype


def _shape(sizes: list[int]) -> tuple[int, ...]:
    shape = tuple(_integer(size) for size in sizes)
    if min(shape, default=0) < 0 or math.prod(shape) > _LARGEST:
        raise ValueError(f"shape {shape} is not one of a space")
    return shape


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no integer")
    return value


_FORMS: dict[
    type[spaces.Space], tuple[Callable[..., dict[str, Any]], Callable[..., spaces.Space]]
] = {
    spaces.Box: (_write_box, _read_box),
    spaces.Discrete: (_write_discrete, _read_discrete),
    spaces.MultiDiscrete: (_write_multi_discrete, _read_multi_discrete),
    spaces.MultiBinary: (_write_multi_binary, _read_multi_binary),
    spaces.Dict: (_write_dict, _read_dict),
    spaces.Tuple: (_write_tuple, _read_tuple),
    spaces.Text: (_write_text, _read_text),
}
"""Kind of space -> how its fields are written, and how they are read again."""
