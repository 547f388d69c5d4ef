"""Folders of mapped columns: opened without reading, damage noticed, nothing else overwritten."""

import json
import shutil

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from strategies import assert_equal, demonstrations

from sb3_il_plus.data import Demonstrations, mapped
from sb3_il_plus.data import columns as col
from sb3_il_plus.data.formats import read
from sb3_il_plus.errors import DataError, FileError


@pytest.fixture
def demos():
    rng = np.random.default_rng(0)
    return Demonstrations.from_arrays(
        [rng.normal(size=(length + 1, 4)).astype(np.float32) for length in (3, 5)],
        [np.arange(length) % 2 for length in (3, 5)],
        [np.ones(length) for length in (3, 5)],
        terminations=[True, False],
        env="CartPole-v1",
        metadata={"env_id": "CartPole-v1"},
    )


@pytest.fixture
def folder(demos, tmp_path):
    return demos.save(tmp_path / "data.mapped")


@settings(max_examples=30)
@given(demos=demonstrations())
def test_pieces_are_appended(demos, tmp_path_factory):
    path = tmp_path_factory.mktemp("mapped") / "data.mapped"
    mapped.save_mapped((demos[i] for i in range(demos.n_episodes)), path)
    assert_equal(Demonstrations.load(path), demos)


def test_columns_are_mapped_and_plain_numpy_files(demos, folder):
    loaded = Demonstrations.load(folder)
    assert all(col.is_mapped(column) for column in loaded.columns().values())
    assert all(col.is_mapped(column) for column in loaded[1:].columns().values() if column.ndim > 1)
    assert not any(col.is_mapped(column) for column in demos.columns().values())
    for name, column in demos.columns().items():
        assert np.array_equal(np.load(folder / f"{name}.npy"), column)
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["header.json", *(f"{name}.npy" for name in demos.columns())]
    )


def test_selecting_neighbours_copies_nothing(folder):
    loaded = Demonstrations.load(folder)
    for part in (loaded[1], loaded[:1], loaded[0:2]):
        assert np.shares_memory(part.observations, loaded.observations)
    assert not np.shares_memory(loaded[[1, 0]].observations, loaded.observations)


def test_keys_of_dict_spaces_name_no_files(demos, tmp_path):
    space = spaces.Dict({"../up": demos.observation_space, "": demos.observation_space})
    columns = demos.columns()
    observations = columns.pop("observations")
    columns |= {"observations['../up']": observations, "observations['']": observations}
    odd = Demonstrations.from_columns(columns, space, demos.action_space)
    path = odd.save(tmp_path / "odd.mapped")
    assert (path / "observations.0.npy").exists() and (path / "observations.1.npy").exists()
    assert_equal(Demonstrations.load(path), odd)
    assert [entry.name for entry in tmp_path.iterdir()] == ["odd.mapped"]


def test_only_our_own_folders_are_replaced(demos, folder, tmp_path):
    demos[1].save(folder)
    assert_equal(Demonstrations.load(folder), demos[1])
    (tmp_path / "thesis.mapped").mkdir()
    demos.save(tmp_path / "thesis.mapped")  # empty
    (tmp_path / "photos.mapped").mkdir()
    (tmp_path / "photos.mapped" / "cat.png").touch()
    with pytest.raises(FileError, match=r"photos.mapped' exists and is not replaced"):
        demos.save(tmp_path / "photos.mapped")


def test_pieces_have_to_fit_each_other(demos, tmp_path):
    columns = demos.columns()
    del columns["rewards"]
    without = Demonstrations.from_columns(columns, demos.observation_space, demos.action_space)
    doubled = Demonstrations.from_columns(
        {**demos.columns(), "observations": demos.observations.astype(np.float64)},
        demos.observation_space,
        demos.action_space,
    )
    for second, message in (
        (without, "a piece with the columns observations, actions, terminations"),
        (doubled, "observations: rows of float64 and shape .* come after rows of float32"),
    ):
        with pytest.raises(DataError, match=message):
            mapped.save_mapped([demos, second], tmp_path / "data.mapped")
    with pytest.raises(DataError, match="there are no episodes"):
        mapped.save_mapped([], tmp_path / "data.mapped")
    assert not any(tmp_path.iterdir())


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def as_pickle(path):
    np.save(path, np.array([{}] * 8, dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("rewards", cut, "rewards.npy is not a complete column"),
        ("rewards", flip, "rewards: not what was saved; the file is damaged"),
        ("rewards", lambda p: p.unlink(), "the file rewards.npy is missing"),
        ("rewards", as_pickle, "rewards.npy is not a complete column"),
        ("rewards", lambda p: p.write_bytes(p.read_bytes() + b"0"), "rewards.npy has .* bytes"),
        ("rewards", lambda p: np.save(p, np.ones(8, np.float32)), "rewards.npy should hold"),
        ("rewards", lambda p: np.save(p, np.ones(8, ">f8")), "rewards.npy should hold"),
        ("rewards", lambda p: np.save(p, np.ones(9)), "rewards has shape"),
        ("actions", lambda p: np.save(p, np.ones((8, 1), np.int64)), "actions.npy should hold"),
        ("offsets", lambda p: np.save(p, np.array([0, 8])), "observations has 10 rows"),
    ],
)
def test_damaged_columns(folder, name, damage, message):
    damage(folder / f"{name}.npy")
    with pytest.raises((FileError, DataError), match=rf"data\.mapped': .*{message}"):
        Demonstrations.load(folder)


def change(folder, **fields):
    path = folder / "header.json"
    content = json.loads(path.read_text())
    content["header"].update(fields)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metadata": {"env_id": "Another-v1"}}, "the checksum is not that of its content"),
        ({"format_version": 2}, "it has format version 2"),
        ({"columns": {}}, "the checksum is not that of its content"),
    ],
)
def test_changed_headers(folder, fields, message):
    change(folder, **fields)
    with pytest.raises(FileError, match=message):
        Demonstrations.load(folder)


def test_headers_that_are_none(folder):
    for text in ("[" * 100_000, '{"format": "sb3_il_plus mapped demonstrations"'):
        (folder / "header.json").write_text('"sb3_il_plus mapped demonstrations"' + text)
        with pytest.raises(FileError, match="its header cannot be read"):
            Demonstrations.load(folder)


def test_large_folders_are_verified_when_they_are_read_through(folder, monkeypatch):
    flip(folder / "rewards.npy")
    monkeypatch.setattr(mapped, "VERIFIED_BYTES", 0)
    assert len(Demonstrations.load(folder)) == 8
    with pytest.raises(FileError, match="rewards: not what was saved"):
        list(read(folder))


def test_a_folder_can_be_moved(demos, folder, tmp_path):
    shutil.move(folder, tmp_path / "elsewhere")
    assert_equal(Demonstrations.load(tmp_path / "elsewhere"), demos)
