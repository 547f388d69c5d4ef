"""Values and archives: what is written comes back, and what a file must not hold is refused."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from json_strategies import json_values, quick
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_il_plus import BC
from sb3_il_plus.errors import FileError
from sb3_il_plus.serialization import Unsaved, decode, encode, read_archive, write_archive

CLASSES = [th.nn.ReLU, th.optim.SGD, ActorCriticPolicy, PPO, DictReplayBuffer, BC]

SPACES = [
    spaces.Box(-1, 1, (2,)),
    spaces.Discrete(3, start=1),
    spaces.Dict({"a": spaces.MultiBinary(2), "b": spaces.MultiDiscrete([2, 3])}),
]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.text().map("!".__add__)
)
leaves = st.one_of(
    scalars,
    arrays(
        st.sampled_from(["f4", "f8", "i8", "u1", "?"]),
        array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3),
    ),
    st.sampled_from(CLASSES),
    st.sampled_from(SPACES),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
        st.dictionaries(scalars.filter(lambda key: key == key), inner, max_size=3),
    ),
    max_leaves=8,
)


def same(left, right) -> bool:
    """Equality that knows arrays and NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(
            left, right, equal_nan=left.dtype.kind == "f"
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return left == right or (left != left and right != right)


# -- values ----------------------------------------------------------------------------------------


@quick
@given(values)
def test_values_survive_json(value):
    text = json.dumps(encode(value), allow_nan=False)
    assert same(decode(json.loads(text)), value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (Path("a/b"), "a/b"),
     (th.device("cpu"), "cpu")],
)  # fmt: skip
def test_scalars_become_plain(value, plain):
    assert encode(value) == plain and type(encode(value)) is type(plain)


def test_what_json_cannot_hold_is_named():
    def schedule(progress):
        return progress

    assert decode(encode({"rate": schedule})) == {"rate": Unsaved("function schedule")}
    assert decode(encode(np.array([1j]))) == Unsaved("ndarray")
    assert decode(encode(np.array([object()]))) == Unsaved("ndarray")


@quick
@given(json_values)
def test_any_json_is_decoded_or_refused(value):
    with contextlib.suppress(FileError):
        decode(value)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("os:system", "names the class 'os:system', which is not from imitation, "),
        ("subprocess:Popen", "pass it yourself with custom_objects="),
        ("torch:load", "names 'torch:load' as a class, but it is a function"),
        ("torch.nn:Nothing", "cannot be found: module 'torch.nn' has no attribute 'Nothing'"),
        ("torch.nowhere:Nothing", "cannot be found: No module named 'torch.nowhere'"),
        ("torch.nn.modules.module:warnings.WarningMessage", "is not of a kind that models are"),
        ("torch.package:PackageImporter", "is not of a kind that models are made of"),
        ("torch.nn", "cannot be found"),
    ],
)
def test_classes_a_file_must_not_name(path, complaint):
    with pytest.raises(FileError, match=complaint):
        decode({"!class": path})


def test_a_class_of_a_package_that_is_trusted_for_this_file():
    path = f"{Local.__module__}:Local"
    assert decode(encode(Local), trusted={Local.__module__}) is Local
    with pytest.raises(FileError, match=f"names the class '{path}'"):
        decode(encode(Local))


class Local(th.nn.Module):
    """A class from no package of the ecosystem."""


@quick
@given(
    data=st.dictionaries(st.text(), st.integers() | st.text(), max_size=3),
    columns=st.dictionaries(
        st.text("abc_.", min_size=1, max_size=5),
        arrays("f4", array_shapes(max_side=3)),
        max_size=3,
    ),
)
def test_archives_survive(tmp_path, data, columns):
    data = {f"data {key}": value for key, value in data.items()}
    tensors = {name: {"weight": th.as_tensor(value)} for name, value in columns.items()}
    write_archive(tmp_path / "file.zip", data, tensors)
    read = read_archive(tmp_path / "file.zip")
    assert {key: read.data[key] for key in data} == data
    assert read.tensors.keys() == tensors.keys()
    for name, value in columns.items():
        np.testing.assert_array_equal(read.tensors[name]["weight"].numpy(), value)
