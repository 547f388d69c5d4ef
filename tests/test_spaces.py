"""Spaces survive JSON exactly; anything else that is read is a FileError."""

import json
from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.errors import FileError
from sb3_il_plus.spaces import outside, space_from_json, space_to_json

SPACES = {
    "unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "half bounded": spaces.Box(
        np.array([-np.inf, 0.1], np.float32), np.array([1.0, np.inf], np.float32)
    ),
    "float64": spaces.Box(-0.1, np.pi, (2, 2), np.float64),
    "scalar box": spaces.Box(-1.0, 1.0, (), np.float32),
    "image": spaces.Box(0, 255, (4, 5, 3), np.uint8),
    "large integers": spaces.Box(np.array([-(2**62), 3]), np.array([2**62 + 1, 4]), dtype=np.int64),
    "empty": spaces.Box(0.0, 1.0, (0,), np.float32),
    "discrete": spaces.Discrete(5),
    "discrete from -2": spaces.Discrete(5, start=-2),
    "multi-discrete": spaces.MultiDiscrete([3, 4, 2]),
    "multi-discrete from 1": spaces.MultiDiscrete([[3, 3], [3, 2]], start=[[1, 1], [0, 0]]),
    "multi-binary": spaces.MultiBinary(4),
    "multi-binary matrix": spaces.MultiBinary([2, 3]),
    "text": spaces.Text(8, min_length=2, charset="abc"),
    "dict": spaces.Dict(
        OrderedDict(
            z=spaces.Box(-1, 1, (2,)),
            a=spaces.Dict({"inner": spaces.Discrete(2)}),
        )
    ),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (1,))]),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_round_trip(space):
    text = json.dumps(space_to_json(space), allow_nan=False)
    read = space_from_json(json.loads(text))
    assert read == space
    assert read.dtype == space.dtype and read.shape == space.shape
    if isinstance(space, spaces.Dict):
        assert list(read.spaces) == list(space.spaces)
    if isinstance(space, spaces.Box):
        assert read.is_bounded() == space.is_bounded()
        assert read.low.tobytes() == space.low.tobytes()


def test_equal_bounds_are_written_once():
    assert space_to_json(SPACES["image"]) == {
        "type": "Box",
        "dtype": "uint8",
        "shape": [4, 5, 3],
        "low": 0,
        "high": 255,
    }
    assert space_to_json(SPACES["unbounded"])["low"] == "-inf"


BOX = space_to_json(SPACES["half bounded"])


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        "Box",
        {},
        {"type": "Graph"},
        {"type": ["Box"]},
        {"type": "Box"},
        {**BOX, "extra": 1},
        {**BOX, "dtype": "object"},
        {**BOX, "dtype": "O"},
        {**BOX, "dtype": "float99"},
        {**BOX, "dtype": 3},
        {**BOX, "shape": [3]},
        {**BOX, "shape": [-2]},
        {**BOX, "shape": ["2"]},
        {**BOX, "shape": 2},
        {**BOX, "shape": [True, 2]},
        {**BOX, "low": ["-inf", "x"]},
        {**BOX, "low": [5, 5]},
        {**BOX, "low": None},
        {**BOX, "low": [[1], [2, 3]]},
        {**BOX, "low": float("nan")},
        {"type": "Box", "dtype": "uint8", "shape": [2], "low": -3, "high": 3},
        {"type": "Box", "dtype": "uint8", "shape": [10**6] * 4, "low": 0, "high": 3},
        {"type": "Discrete", "n": 0, "start": 0, "dtype": "int64"},
        {"type": "Discrete", "n": 2.5, "start": 0, "dtype": "int64"},
        {"type": "Discrete", "n": "2", "start": 0, "dtype": "int64"},
        {"type": "Discrete", "n": 2, "start": 0, "dtype": "float32"},
        {"type": "MultiDiscrete", "dtype": "int64", "shape": [2], "nvec": [0, 2], "start": 0},
        {"type": "MultiBinary", "n": -1},
        {"type": "MultiBinary", "n": [2, 0.5]},
        {"type": "Text", "min_length": 0, "max_length": 4, "charset": 5},
        {"type": "Dict", "entries": [1, 2]},
        {"type": "Dict", "entries": {"a": 1}},
        {"type": "Tuple", "entries": 3},
    ],
)
def test_anything_else_is_a_file_error(description):
    with pytest.raises(FileError):
        space_from_json(description)


def test_unknown_kinds_are_not_written():
    with pytest.raises(FileError, match="type Sequence cannot be written"):
        space_to_json(spaces.Sequence(spaces.Discrete(2)))
    with pytest.raises(FileError, match="the key 3 of a Dict space"):
        space_to_json(spaces.Dict({3: spaces.Discrete(2)}))


BATCHED = [
    name
    for name, space in SPACES.items()
    if not isinstance(space, (spaces.Dict, spaces.Tuple, spaces.Text))
]


@pytest.mark.parametrize("name", BATCHED)
def test_samples_lie_in_their_space(name):
    space = SPACES[name]
    samples = np.array([space.sample() for _ in range(20)])
    assert outside(samples, space).shape == samples.shape
    assert not outside(samples, space).any()


@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        (spaces.Box(-1, 1, (1,)), [[1.000001], [1.1], [np.nan], [-2]], [0, 1, 1, 1]),
        (SPACES["unbounded"], [[1e30, np.inf, np.nan]], [0, 1, 1]),
        (SPACES["discrete from -2"], [-3, -2, 2, 3], [1, 0, 0, 1]),
        (SPACES["multi-discrete"], [[3, 3, -1], [2, 4, 1]], [1, 0, 1, 0, 1, 0]),
        (spaces.MultiDiscrete([2, 2], start=[0, 5]), [[2, 4], [1, 6]], [1, 1, 0, 0]),
        (SPACES["multi-binary"], [[0.0, 1.0, 0.5, -1.0]], [0, 0, 1, 1]),
    ],
)
def test_values_outside(space, values, expected):
    assert outside(np.array(values), space).ravel().tolist() == [bool(flag) for flag in expected]
