"""Pickles are read by stand-ins: values come out, and nothing that the file names is called."""

import collections
import copyreg
import io
import os
import pickle
import sys
import types

import cloudpickle
import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
import stable_baselines3.common.policies as sb3_policies
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.torch_layers import NatureCNN

from sb3_il_plus.errors import FileError
from sb3_il_plus.experts import allow_list, safe_pickle
from sb3_il_plus.experts.allow_list import ALLOWED, ALLOWED_MODULES
from sb3_il_plus.experts.safe_pickle import read, to_class, to_space, to_value

SPACES = [
    spaces.Box(-1, 1, (3,)),
    spaces.Box(np.array([-np.inf, 0.0]), np.array([1.0, np.inf]), dtype=np.float64),
    spaces.Box(0, 255, (4, 4, 3), np.uint8),
    spaces.Discrete(5),
    spaces.Discrete(3, start=2),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(4),
    spaces.MultiBinary((2, 3)),
    spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (2,))]),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"c": spaces.Box(0, 1, (2,))})}),
]


def payload(path, protocol=4):
    """A pickle that makes the file `path` when a common unpickler reads it."""

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {path}",)

    return pickle.dumps(Payload(), protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_spaces(space, protocol):
    for dump in (pickle.dumps, cloudpickle.dumps):
        assert read(dump(space, protocol), "file", to_space) == space
    space.seed(0)  # its generator is pickled too, and ignored
    space.sample()
    assert read(pickle.dumps(space, protocol), "file", to_space) == space


def test_the_order_of_a_dict_space_is_kept():
    inner = collections.OrderedDict(z=spaces.Discrete(2), a=spaces.Discrete(3))
    read_space = read(pickle.dumps(spaces.Dict(inner)), "file", to_space)
    assert list(read_space.spaces) == ["z", "a"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_spaces_of_gym_are_read_as_those_of_gymnasium(monkeypatch, protocol):
    names = ("gym", "gym.spaces", "gym.spaces.box", "gym.spaces.discrete")
    modules = {name: types.ModuleType(name) for name in names}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    old_box = type("Box", (), {"__module__": "gym.spaces.box"})
    old_discrete = type("Discrete", (), {"__module__": "gym.spaces.discrete"})
    modules["gym.spaces.box"].Box = old_box
    modules["gym.spaces.discrete"].Discrete = old_discrete
    box, discrete = old_box(), old_discrete()
    limits = np.array([1.0, 2.0], np.float32)
    box.__dict__ = {"low": -limits, "high": limits, "dtype": np.dtype("float32"), "shape": (2,)}
    discrete.__dict__ = {"n": 3, "shape": (), "dtype": np.dtype("int64"), "np_random": None}

    contents = [pickle.dumps(old, protocol) for old in (box, discrete)]
    monkeypatch.undo()

    assert read(contents[0], "file", to_space) == spaces.Box(-limits, limits)
    assert read(contents[1], "file", to_space) == spaces.Discrete(3)


def test_names_of_numpy_1_are_understood():
    array = np.arange(6.0).reshape(2, 3)
    content = pickle.dumps(array, 2).replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    np.testing.assert_array_equal(read(content, "file", to_value), array)


dtypes = st.sampled_from(["bool", "int8", "uint8", "int64", "float16", "float32", "float64", ">f8"])
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@given(arrays, st.integers(2, 5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_arrays(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    result = read(pickle.dumps(array, protocol), "file", to_value)
    np.testing.assert_array_equal(result, array)
    assert result.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=10,
)


@given(plain, st.integers(2, 5))
@settings(max_examples=150, deadline=None)
def test_plain_values(value, protocol):
    assert read(pickle.dumps(value, protocol), "file", to_value) == value


def test_scalars_and_collections():
    value = {"a": np.float32(1.5), "b": collections.deque([np.int64(2)], maxlen=5)}
    assert read(pickle.dumps(value), "file", to_value) == {"a": 1.5, "b": [2]}
    assert read(pickle.dumps(collections.OrderedDict(a=1)), "file", to_value) == {"a": 1}


def test_policy_arguments():
    arguments = {
        "activation_fn": th.nn.ELU,
        "optimizer_class": th.optim.Adam,
        "features_extractor_class": NatureCNN,
        "net_arch": {"pi": [8]},
        "device": th.device("cpu"),
    }
    result = read(cloudpickle.dumps(arguments), "file", to_value)
    assert result == {**arguments, "device": "auto"}


@pytest.mark.parametrize("policy", [sb3_policies.ActorCriticPolicy, TQCPolicy])
def test_policy_classes(policy):
    assert read(pickle.dumps(policy), "file", to_class) is policy


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_is_refused_by_name_and_never_runs(tmp_path, protocol):
    target = tmp_path / "owned"
    content = payload(target, protocol)
    pickle.loads(content)
    assert target.exists(), "the payload is no payload"
    target.unlink()
    with pytest.raises(FileError, match=r"model.zip: it refers to (posix|nt)\.system") as caught:
        read(content, "model.zip", to_value)
    assert "was probably made to do harm" in str(caught.value)
    assert "trust=True" not in str(caught.value)
    assert not target.exists()


@pytest.mark.parametrize(
    "callable_",
    [eval, exec, getattr, __import__, open, os.remove, th.load, np.load, gym.make, type],
)
def test_callables_are_refused(callable_):
    with pytest.raises(FileError, match="it refers to"):
        read(pickle.dumps(callable_), "file", to_value)


def test_functions_and_classes_by_value_are_refused():
    class Mine(sb3_policies.ActorCriticPolicy):
        pass

    for thing in (lambda progress: 0.1, Mine):
        with pytest.raises(FileError, match=r"refers to cloudpickle\."):
            read(cloudpickle.dumps(thing), "file", to_class)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("stable_baselines3.common.utils", "os"),
        ("stable_baselines3.common.utils", "os.system"),
        ("stable_baselines3.common.save_util", "load_from_pkl"),
        ("stable_baselines3.common.base_class", "BaseAlgorithm"),
        ("stable_baselines3.nowhere", "Policy"),
        ("torch.nn.modules.activation", "warnings"),
        ("torch.optim", "nothing"),
        ("gymnasium.spaces.box", "Box"),
    ],
)
def test_only_policies_and_their_parts_are_looked_up(module, name):
    content = f"c{module}\n{name}\n.".encode()
    with pytest.raises(FileError, match="is no policy"):
        read(content, "file", to_class)


def test_classes_are_never_called(monkeypatch):
    monkeypatch.setattr(
        sb3_policies.ActorCriticPolicy, "__init__", lambda *a, **k: pytest.fail("it was called")
    )
    content = b"cstable_baselines3.common.policies\nActorCriticPolicy\n(I1\nI2\ntR."
    with pytest.raises(FileError, match="an object of stable_baselines3"):
        read(content, "file", to_value)


def test_the_extension_registry_is_not_used(tmp_path):
    copyreg.add_extension("posix", "system", 250)
    try:
        content = b"\x80\x02\x82\xfa(V" + f"touch {tmp_path / 'owned'}".encode() + b"\ntR."
        with pytest.raises(FileError):
            read(content, "file", to_value)
    finally:
        copyreg.remove_extension("posix", "system", 250)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps([1, 2])[:-3], b"Pid\n.", b"I1\n" * 3, b"]q\x00h\x00a."],
)
def test_damage_is_an_error_that_names_the_file(content):
    with pytest.raises(FileError, match="model"):
        read(content, "model.zip", to_value)


@given(st.sampled_from(SPACES), st.data())
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_give_a_space_or_a_file_error(space, data):
    content = bytearray(pickle.dumps(space, 4))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = read(bytes(content), "file", to_space)
    except FileError:
        return
    assert isinstance(result, spaces.Space)


def test_arrays_hold_numbers_only():
    for array in (np.array([object()]), np.array(["a"]), np.zeros(2, [("a", "f4")])):
        with pytest.raises(FileError):
            read(pickle.dumps(array), "file", to_value)


def test_object_arrays_do_not_carry_payloads(tmp_path):
    target = tmp_path / "owned"

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {target}",)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()], dtype=object), allow_pickle=True)
    for content in (pickle.dumps(np.array([Payload()], dtype=object)), buffer.getvalue()):
        with pytest.raises(FileError):
            read(content, "file", to_value)
    assert not target.exists()


def test_the_allow_list_names_nothing_that_acts():
    """Every name on it is data, a random generator's constructor, or replaced by our own."""
    names = {path.partition(":")[0].partition(".")[0] for path in ALLOWED}
    assert names == {
        *("numpy", "gymnasium", "torch", "collections", "builtins", "_codecs", "imitation")
    }
    # Two modules of networks, which only compute.
    assert {path for path in ALLOWED if path.startswith("imitation")} == {
        "imitation.policies.base:NormalizeFeaturesExtractor",
        "imitation.util.networks:RunningNorm",
    }
    builtins_allowed = {path for path in ALLOWED if path.startswith("builtins")}
    assert builtins_allowed == {"builtins:bytes", "builtins:set", "builtins:frozenset"}
    # Of what would be called, nothing is: each has a stand-in of our own.
    assert set(safe_pickle._FUNCTIONS) == set(allow_list._REPLACED)
    assert all(
        function in (dict, set, frozenset, collections.deque)
        or function.__module__ == safe_pickle.__name__
        for function in safe_pickle._FUNCTIONS.values()
    )
    assert ALLOWED_MODULES == (
        "stable_baselines3.",
        "sb3_contrib.",
        "torch.nn.modules.activation",
        "torch.optim",
    )


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_found_without_running(tmp_path, protocol):
    target = tmp_path / "owned"
    content = payload(target, protocol)
    assert set(allow_list.names_in(content)) - {"copy_reg._reconstructor"} == {"posix.system"}
    nested = pickle.dumps([spaces.Discrete(2), np.float32(1), {"a": [np.sqrt, np.sqrt]}], protocol)
    names = allow_list.names_in(nested)
    assert {"gymnasium.spaces.discrete.Discrete", "numpy.dtype"} <= set(names)
    assert len(names) == len(set(names))
    assert allow_list.names_in(nested[:40]) == names[: len(allow_list.names_in(nested[:40]))]
    assert allow_list.names_in(b"no pickle") == []
    assert not target.exists()


def test_what_is_unknown_but_not_hostile_names_the_remedy():
    for thing in (lambda progress: 0.1, np.sqrt):
        with pytest.raises(safe_pickle.UnsafeFileError, match=r"load_expert\(\.\.\., trust=True\)"):
            read(cloudpickle.dumps(thing), "file", to_value)
