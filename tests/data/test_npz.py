"""Damaged and hostile npz files end in a message, never in a crash, wrong data or executed code."""

import io
import json
import random
import zipfile

import numpy as np
import pytest
from gymnasium import spaces
from strategies import assert_equal

from sb3_il_plus.data import Demonstrations, npz
from sb3_il_plus.data.npz import load_npz
from sb3_il_plus.errors import DataError, FileError


def make_demos():
    rng = np.random.default_rng(0)
    return Demonstrations(
        observations={
            "camera": rng.integers(0, 256, (7, 4, 4, 1), dtype=np.uint8),
            "state": rng.normal(size=(7, 2)),
        },
        actions=np.array([0, 1, 2, 1, 0]),
        rewards=rng.normal(size=5),
        terminations=np.array([False, True, False, False, False]),
        truncations=np.array([False, False, False, False, True]),
        offsets=np.array([0, 2, 5]),
        observation_space=spaces.Dict(
            camera=spaces.Box(0, 255, (4, 4, 1), np.uint8),
            state=spaces.Box(-np.inf, np.inf, (2,), np.float64),
        ),
        action_space=spaces.Discrete(3),
        metadata={"env_id": "Some-v0"},
    )


@pytest.fixture
def demos():
    return make_demos()


@pytest.fixture
def path(demos, tmp_path):
    return demos.save(tmp_path / "demos.npz")


def entries_of(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def header_of(path):
    return json.loads(str(entries_of(path)["header"]))


def rewrite(path, changes=(), header=None):
    """Write the file again with other entries (None drops one) and header fields."""
    entries = {**entries_of(path), **dict(changes)}
    if header is not None:
        entries["header"] = np.array(json.dumps({**header_of(path), **header}))
    with path.open("wb") as file:
        np.savez(file, **{name: array for name, array in entries.items() if array is not None})


def test_anyone_can_read_it_with_numpy(demos, path):
    entries = entries_of(path)
    assert np.array_equal(entries["actions"], demos.actions)
    assert np.array_equal(entries["observations['camera']"], demos.observations["camera"])
    assert header_of(path)["metadata"] == {"env_id": "Some-v0"}
    assert header_of(path)["format_version"] == 1


def test_every_cut_and_every_flipped_byte_is_noticed(demos, path):
    whole = path.read_bytes()
    rng = random.Random(0)
    mutations = [whole[: rng.randrange(len(whole))] for _ in range(100)]
    for _ in range(400):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        mutations.append(bytes(flipped))
    for _ in range(100):
        start, stop = sorted(rng.sample(range(len(whole)), 2))
        mutations.append(whole[:start] + rng.randbytes(stop - start) + whole[stop:])
    refused = 0
    for mutation in mutations:
        path.write_bytes(mutation)
        try:
            loaded = load_npz(path)
        except (FileError, DataError) as error:
            assert "demos.npz" in str(error)
            refused += 1
        else:  # a byte without meaning, such as a time stamp
            assert_equal(loaded, demos)
    assert refused > 400


@pytest.mark.parametrize("name", sorted(make_demos().columns()))
@pytest.mark.parametrize(
    "change",
    [
        lambda column: None,
        lambda column: column[:-1],
        lambda column: column[:0],
        lambda column: column[..., None],
        lambda column: np.concatenate([column, column]),
        lambda column: column.astype("U3"),
        lambda column: column.astype(np.complex128),
        lambda column: column.astype(">f8"),
        lambda column: np.array(5),
    ],
)
@pytest.mark.parametrize("truthful", [False, True])
def test_changed_columns(demos, path, name, change, truthful):
    """Whether the header still tells the old shape or the new one."""
    column = change(demos.columns()[name])
    described = header_of(path)["columns"]
    if truthful and column is None:
        del described[name]
    elif truthful:
        described[name] = {"dtype": str(column.dtype), "shape": list(column.shape)}
    rewrite(path, {name: column}, {"columns": described})
    if truthful and column is None and name in ("actions", "rewards"):
        loaded = load_npz(path)
        assert loaded.rewards is None if name == "rewards" else not loaded.has_actions
        return
    with pytest.raises((FileError, DataError), match=r"demos\.npz"):
        load_npz(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": "other"}, "does not describe demonstrations"),
        ({"format_version": 2}, "it has format version 2, and this version of sb3_il_plus reads 1"),
        ({"format_version": "1"}, "it has format version 1"),
        ({"columns": []}, "does not describe demonstrations"),
        ({"metadata": None}, "does not describe demonstrations"),
        ({"observation_space": {"type": "Graph"}}, "not the description of a space"),
        (
            {"observation_space": {"type": "Discrete", "n": 2, "start": 0, "dtype": "int64"}},
            "missing",
        ),
        ({"action_space": 5}, "not the description of a space"),
        (
            {"action_space": {"type": "Discrete", "n": 2, "start": 0, "dtype": "int64"}},
            r"actions: episode 1, step 0 is 2, which lies outside Discrete\(2\)",
        ),
    ],
)
def test_changed_headers(path, header, message):
    rewrite(path, header=header)
    with pytest.raises((FileError, DataError), match=rf"demos\.npz'.*{message}"):
        load_npz(path)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "5", "[" * 100_000, "{}", '{"format": 1}'])
def test_headers_that_are_no_header(path, text):
    rewrite(path, {"header": np.array(text)})
    with pytest.raises(FileError, match=r"demos\.npz': its header"):
        load_npz(path)


def test_other_files(demos, path, tmp_path):
    rewrite(path, {"header": None})
    with pytest.raises(FileError, match=r"no header of ours.*Demonstrations\.from_arrays"):
        load_npz(path)
    with pytest.raises(FileError, match="there is no file"):
        load_npz(tmp_path / "missing.npz")
    path.write_text("observations,actions\n")
    with pytest.raises(FileError, match="is not a complete npz file"):
        load_npz(path)


class Malice:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["actions", "header", "extra"])
def test_pickled_objects_are_never_opened(path, tmp_path, name):
    touched = tmp_path / "touched"
    rewrite(path, {name: np.array([Malice(touched)], dtype=object)})
    with pytest.raises(FileError, match="Object arrays cannot be loaded"):
        load_npz(path)
    assert not touched.exists()


def test_large_files_are_read_from_a_temporary_folder(demos, path, tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "PIECE_BYTES", 1)
    monkeypatch.setattr(npz.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    pieces = npz.read_npz(path)
    first = next(pieces)
    assert any((tmp_path / "temporary").iterdir())
    assert_equal(Demonstrations.concatenate([first, *pieces]), demos)
    assert not any((tmp_path / "temporary").iterdir())
    rewrite(path, {"actions": np.array([{}] * 5)})
    with pytest.raises(FileError, match=r"entry actions\.npy is not an array of numbers"):
        list(npz.read_npz(path))


def test_other_spaces_than_expected(path):
    with pytest.raises(DataError, match=r"demos\.npz': the demonstrations' observation space"):
        Demonstrations.load(path, env="CartPole-v1")


def test_enormous_shapes_do_not_exhaust_memory(path):
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    lie = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        lie, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**contents, "rewards.npy": lie.getvalue()}.items():
            archive.writestr(name, content)
    with pytest.raises(FileError, match=r"entry rewards\.npy is not an array of numbers"):
        load_npz(path)
