"""Demonstrations survive every format exactly, and paths of other kinds are refused."""

import json
import pickle
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import OBSERVATION_SPACES, assert_equal, demonstrations

from sb3_il_plus.data import Demonstrations, stream
from sb3_il_plus.data.formats import convert, read, recognise, save
from sb3_il_plus.data.hints import DataWarning
from sb3_il_plus.data.inspection import summarize
from sb3_il_plus.data.minari import load_minari, save_minari
from sb3_il_plus.errors import DataError, FileError, MissingExtraError


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def demos():
    return Demonstrations.from_arrays(
        [np.random.default_rng(0).normal(size=(length + 1, 4)) for length in (3, 5)],
        [np.arange(length) % 2 for length in (3, 5)],
        [np.ones(length) for length in (3, 5)],
        terminations=[True, False],
        env="CartPole-v1",
        metadata={"env_id": "CartPole-v1", "expert": "ppo", "seed": 3, "nested": {"a": [1, None]}},
    )


SUFFIXES = {"npz": ".npz", "mapped": ".mapped", "d4rl": ".hdf5", "minari": ""}
WITHOUT_DICTS = {"d4rl", "imitation"}


def written(format):
    """Random demonstrations that a format has a place for."""
    flat = [space for space in OBSERVATION_SPACES if not isinstance(space, spaces.Dict)]
    return demonstrations(flat if format in WITHOUT_DICTS else OBSERVATION_SPACES)


@pytest.mark.parametrize("format", [*SUFFIXES, "minari-arrow", "imitation"])
@settings(max_examples=25)
@given(data=st.data())
def test_round_trip(data, format, tmp_path_factory):
    """Every column, end, space and fact survives, written whole or in pieces."""
    demos = data.draw(written(format))
    path = tmp_path_factory.mktemp("formats") / f"data{SUFFIXES.get(format, '')}"
    in_pieces = (demos[i] for i in range(demos.n_episodes))
    source = demos if data.draw(st.booleans()) else in_pieces
    named = None if format in SUFFIXES and data.draw(st.booleans()) else format
    assert save(source, path, named) == path
    assert recognise(path)[0].name == format
    assert_equal(Demonstrations.load(path), demos)
    assert_equal(Demonstrations.coerce(str(path)), demos)
    assert_equal(Demonstrations.concatenate(list(read(path))), demos)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@settings(max_examples=5)
@given(demos=written("d4rl"))
def test_a_chain_of_conversions_changes_nothing(demos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    path = demos.save(folder / "0.npz")
    for number, format in enumerate(
        ["d4rl", "minari", "mapped", "imitation", "minari-arrow", "npz"], 1
    ):
        path = convert(path, folder / f"{number}", format)
    assert_equal(Demonstrations.load(path), demos)


def test_unknown_paths(demos, tmp_path):
    with pytest.raises(FileError, match=r"there are no demonstrations at '.*nothing.npz'"):
        Demonstrations.load(tmp_path / "nothing.npz")
    with pytest.raises(FileError, match=r"cannot save demonstrations as '.pkl'.*an .npz file"):
        demos.save(tmp_path / "demos.pkl")
    (tmp_path / "demos.pkl").write_bytes(pickle.dumps(demos.actions))
    with pytest.raises(FileError, match=r"holds no demonstrations \(a pickle"):
        Demonstrations.load(tmp_path / "demos.pkl")
    with pytest.raises(FileError, match=r"\(a folder with demos.pkl\); known are an .npz file"):
        Demonstrations.load(tmp_path)
    np.save(tmp_path / "array.npy", demos.actions)
    np.savez(tmp_path / "arrays.npz", x=demos.actions, y=demos.actions)
    (tmp_path / "empty.hdf5").touch()
    for name, what in {
        "array.npy": r"\(a single array; numpy.savez keeps several",
        "arrays.npz": r"\(a zip without observations and actions: it has x, y\)",
        "empty.hdf5": r"\(it is empty\)",
    }.items():
        with pytest.raises(FileError, match=what):
            Demonstrations.load(tmp_path / name)


def test_metadata_becomes_json(demos, tmp_path):
    metadata = {"tuple": (1, 2), "array": np.arange(2), "float": np.float32(0.5)}
    path = Demonstrations.from_columns(
        demos.columns(), demos.observation_space, demos.action_space, metadata
    ).save(tmp_path / "data.npz")
    read = dict(Demonstrations.load(path).metadata)
    assert read == {"tuple": [1, 2], "array": [0, 1], "float": 0.5}


@pytest.mark.parametrize("name", ["data.npz", "folder"])
def test_a_failed_save_leaves_what_was_there(demos, tmp_path, name):
    path = demos.save(tmp_path / name)
    bad = Demonstrations.from_columns(
        demos.columns(), demos.observation_space, demos.action_space, {"expert": print}
    )
    with pytest.raises(DataError, match=r"metadata\['expert'\] is a builtin_function"):
        bad.save(path)
    assert_equal(Demonstrations.load(path), demos)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["data.npz", "folder"])
def test_unwritable_places(demos, tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match=r"cannot make the folder '.*file'"):
        demos.save(tmp_path / "file" / name)


class TestMinari:
    def test_ids_go_to_the_store_and_minari_reads_them(self, demos, store):
        assert save_minari(demos, "CartPole/expert-v0") == store / "CartPole" / "expert-v0"
        dataset = minari.load_dataset("CartPole/expert-v0")
        assert list(minari.list_local_datasets()) == ["CartPole/expert-v0"]
        assert (dataset.total_episodes, dataset.total_steps) == (2, 8)
        assert dataset.recover_environment().spec.id == "CartPole-v1"
        assert dataset.storage.metadata["algorithm_name"] == "ppo"
        episode = dataset[0]
        assert episode.observations.shape == (4, 4)
        assert episode.terminations.tolist() == [False, False, True]
        assert_equal(load_minari("CartPole/expert-v0"), demos)
        assert_equal(Demonstrations.load("CartPole/expert-v0"), demos)

    @pytest.mark.parametrize("format", ["minari", "minari-arrow"])
    def test_the_size_that_minari_shows(self, format):
        episodes = [np.zeros((1001, 100), np.float32)] * 3, [np.zeros(1000, int)] * 3
        large = Demonstrations.from_arrays(*episodes, action_space=spaces.Discrete(2))
        folder = large.save("large-v0", format)
        size = sum(path.stat().st_size for path in folder.rglob("*")) / 1e6
        assert size > 1.2
        shown = minari.load_dataset("large-v0").storage.metadata["dataset_size"]
        assert shown == pytest.approx(size, abs=0.2)

    def test_ids_are_not_replaced_but_folders_are(self, demos, tmp_path):
        save_minari(demos, "expert-v0")
        with pytest.raises(FileError, match="expert-v0' exists and is not replaced"):
            save_minari(demos, "expert-v0")
        save_minari(demos, tmp_path / "folder")
        save_minari(demos[1], tmp_path / "folder")
        assert_equal(load_minari(tmp_path / "folder"), demos[1])
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").touch()
        with pytest.raises(FileError, match="thesis' exists and is not replaced"):
            save_minari(demos, tmp_path / "thesis")
        assert (tmp_path / "thesis" / "chapter.tex").exists()

    def test_relative_paths(self, demos, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for format in ("minari", "minari-arrow"):
            assert demos[1:].save("folder", format) == tmp_path / "folder"
            assert Demonstrations.load("folder").actions.tolist() == [0, 1, 0, 1, 0]

    def test_ids_in_every_format_that_has_them(self, demos, store, tmp_path, monkeypatch):
        """An existing folder goes before an id, as in loading."""
        monkeypatch.chdir(tmp_path)
        assert demos.save("CartPole/mine-v0") == store / "CartPole" / "mine-v0"
        assert save(demos[1:], "mine-v1", "minari-arrow") == store / "mine-v1"
        assert convert("CartPole/mine-v0", "copy-v0") == store / "copy-v0"
        assert_equal(Demonstrations.load("copy-v0"), demos)
        with pytest.raises(FileError, match="copy-v0' exists and is not replaced"):
            demos.save("copy-v0")
        assert demos.save("./copy-v0") == tmp_path / "copy-v0"
        assert demos[:1].save("copy-v0") == tmp_path / "copy-v0"
        assert_equal(Demonstrations.load("copy-v0"), demos[:1])
        assert demos.save("flat-v0", "d4rl") == Path("flat-v0")
        with pytest.raises(FileError, match="at 'no/such-v0'; to download it: minari download no"):
            Demonstrations.load("no/such-v0")

    def test_the_file_inside(self, demos, tmp_path):
        folder = demos.save(tmp_path / "data")
        assert_equal(Demonstrations.load(folder / "data"), demos)
        with pytest.raises(FileError, match=r"inside of a Minari data set: give the folder"):
            Demonstrations.load(folder / "data" / "main_data.hdf5")

    def test_inspecting_an_id(self, demos):
        folder = save_minari(demos, "CartPole/expert-v0")
        found = summarize("CartPole/expert-v0")
        assert found.n_transitions == 8
        assert found.size_bytes >= (folder / "data" / "main_data.hdf5").stat().st_size

    def test_what_arrow_storage_cannot_hold(self, demos, tmp_path):
        """It keeps the dtypes of the spaces, and reads no more than one batch of an episode."""
        doubles = {**demos.columns(), "actions": demos.actions.astype(np.int32)}
        narrow = Demonstrations.from_columns(doubles, demos.observation_space, demos.action_space)
        with pytest.warns(DataWarning, match="Arrow storage rounds float64 to float32"):
            narrow.save(tmp_path / "data", "minari-arrow")
        assert Demonstrations.load(tmp_path / "data").actions.dtype == np.int64
        n = 131_072
        long = Demonstrations.from_arrays(
            np.zeros((n + 1, 1), np.float32), np.zeros(n, int), action_space=spaces.Discrete(2)
        )
        with pytest.raises(FileError, match=r"an episode has 131,072 steps.*use its HDF5"):
            long.save(tmp_path / "long", "minari-arrow")

    @pytest.mark.parametrize("data_format", ["minari", "minari-arrow"])
    def test_steps_that_are_missing(self, demos, tmp_path, data_format):
        folder = demos.save(tmp_path / "data", data_format)
        metadata = folder / "data" / "metadata.json"
        content = json.loads(metadata.read_text())
        metadata.write_text(json.dumps({**content, "total_episodes": 1}))
        with pytest.raises(FileError, match=r"rewards.*: not what was saved"):
            Demonstrations.load(folder)
        del content["sb3_il_plus"]
        metadata.write_text(json.dumps({**content, "total_episodes": 1}))
        with pytest.raises(FileError, match="it has 3 steps; its metadata says 8"):
            Demonstrations.load(folder)

    def test_bad_ids(self, demos):
        for name in ("expert", "a b-v0", "expert-v"):
            with pytest.raises(FileError, match="is no id of a Minari data set; ids look like"):
                save_minari(demos, name)
        with pytest.raises(FileError, match=r"no Minari data set 'none-v0'.*minari download none"):
            load_minari("none-v0")

    def test_unknown_rewards_are_nan_for_others(self, demos):
        columns = demos.columns()
        del columns["rewards"]
        unrewarded = Demonstrations.from_columns(
            columns, demos.observation_space, demos.action_space
        )
        save_minari(unrewarded, "unrewarded-v0")
        assert np.isnan(minari.load_dataset("unrewarded-v0")[0].rewards).all()
        assert load_minari("unrewarded-v0").rewards is None

    @pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
    def test_data_sets_that_minari_wrote(self, demos, data_format):
        buffers = [
            minari.data_collector.EpisodeBuffer(
                observations=episode.observations.astype(np.float32),
                actions=episode.actions,
                rewards=episode.rewards,
                terminations=np.arange(len(episode)) == len(episode) - 1,
                truncations=np.zeros(len(episode), bool),
            )
            for episode in demos.episodes()
        ]
        with pytest.warns(UserWarning):
            minari.create_dataset_from_buffers(
                "theirs-v0", buffers, env="CartPole-v1", data_format=data_format
            )
        read = load_minari("theirs-v0")
        np.testing.assert_allclose(read.observations, demos.observations, rtol=1e-6)
        assert read.terminations.sum() == 2
        assert dict(read.metadata) == {"minari_id": "theirs-v0", "env_id": "CartPole-v1"}

    def test_episodes_added_by_minari_are_read_too(self, demos):
        save_minari(demos, "growing-v0")
        dataset = minari.load_dataset("growing-v0")
        dataset.update_dataset_from_buffer(
            [
                minari.data_collector.EpisodeBuffer(
                    observations=np.zeros((2, 4)),
                    actions=np.zeros(1, int),
                    rewards=np.ones(1),
                    terminations=np.ones(1, bool),
                    truncations=np.zeros(1, bool),
                )
            ]
        )
        assert load_minari("growing-v0").n_episodes == 3

    def test_a_changed_value_is_noticed(self, demos, tmp_path):
        folder = save_minari(demos, tmp_path / "folder")
        with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
            file["episode_1/actions"][2] = 1 - file["episode_1/actions"][2]
        with pytest.raises(FileError, match="folder': actions: not what was saved; the file is"):
            load_minari(folder)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"observation_space": None}, FileError, "does not hold the spaces"),
            ({"observation_space": "{}"}, FileError, "is not a complete Minari data set"),
            ({"total_episodes": 9}, FileError, "is not a complete Minari data set"),
            ({"data_format": "pickle"}, FileError, "is not a complete Minari data set"),
            ({"sb3_il_plus": {}}, FileError, "has format version None"),
        ],
    )
    def test_damaged_metadata(self, demos, tmp_path, change, error, message):
        folder = save_minari(demos, tmp_path / "folder")
        metadata = folder / "data" / "metadata.json"
        metadata.write_text(json.dumps({**json.loads(metadata.read_text()), **change}))
        with pytest.raises(error, match=message):
            load_minari(folder)

    def test_damaged_columns(self, demos, tmp_path):
        folder = save_minari(demos, tmp_path / "folder")
        metadata = folder / "data" / "metadata.json"
        theirs = json.loads(metadata.read_text())
        del theirs["sb3_il_plus"]  # whose checksums would notice everything first
        metadata.write_text(json.dumps(theirs))
        hdf5 = folder / "data" / "main_data.hdf5"
        with h5py.File(hdf5, "a") as file:
            file["episode_0/terminations"][0] = True
        with pytest.raises(DataError, match="terminations: episode 0, step 0 is true"):
            load_minari(folder)
        with h5py.File(hdf5, "a") as file:
            file["episode_0/terminations"][0] = False
            file["episode_0/rewards"].resize((2,))
        with pytest.raises(DataError, match=r"episode 0 has rewards of shape \(2,\) for 3 actions"):
            load_minari(folder)
        with h5py.File(hdf5, "a") as file:
            del file["episode_0/rewards"]
        with pytest.raises(FileError, match="is not a complete Minari data set"):
            load_minari(folder)
        hdf5.write_bytes(hdf5.read_bytes()[:1000])
        with pytest.raises(FileError, match="is not a complete Minari data set"):
            load_minari(folder)

    @pytest.mark.parametrize("piece_bytes", [1, stream.PIECE_BYTES])
    def test_all_problems_at_once(self, tmp_path, monkeypatch, piece_bytes):
        """Wrong lengths and wrong values, before and behind each other."""
        monkeypatch.setattr(stream, "PIECE_BYTES", piece_bytes)
        sound = Demonstrations.from_arrays(
            [np.zeros((4, 2))] * 5,
            [np.zeros(3, int)] * 5,
            [np.zeros(3)] * 5,
            action_space=spaces.Discrete(2),
        )
        folder = save_minari(sound, tmp_path / "folder")
        metadata = folder / "data" / "metadata.json"
        theirs = json.loads(metadata.read_text())
        del theirs["sb3_il_plus"]
        metadata.write_text(json.dumps(theirs))
        with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
            file["episode_0/observations"][2, 1] = np.nan
            file["episode_1/rewards"].resize((2,))
            file["episode_2/actions"][1] = 7
            file["episode_3/terminations"].resize((4,))
            file["episode_4/rewards"][0] = np.inf
        expected = (
            "episode 1 has rewards of shape (2,) for 3 actions",
            "episode 3 has terminations of shape (4,) for 3 actions",
            "observations: episode 0, step 2, component (1,) is nan, which is not finite",
            "actions: episode 2, step 1 is 7, which lies outside Discrete(2)",
            "rewards: episode 4, step 0 is inf",
        )
        for call in (Demonstrations.load, lambda path: convert(path, tmp_path / "out.npz")):
            with pytest.raises(DataError) as raised:
                call(folder)
            assert all(sentence in str(raised.value) for sentence in expected)
        assert not (tmp_path / "out.npz").exists()
        listed = "; ".join(summarize(folder).problems)
        assert all(sentence in listed for sentence in expected)

    def test_keys_that_hdf5_cannot_hold(self, demos, tmp_path):
        space = spaces.Dict({"a/b": demos.observation_space})
        columns = demos.columns()
        columns["observations['a/b']"] = columns.pop("observations")
        slashed = Demonstrations.from_columns(columns, space, demos.action_space)
        with pytest.raises(FileError, match="cannot store an observation called 'a/b'"):
            slashed.save(tmp_path / "folder")
        assert_equal(Demonstrations.load(slashed.save(tmp_path / "data.npz")), slashed)

    def test_without_minari(self, demos, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "minari.dataset.minari_storage", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'sb3_il_plus\[minari\]'"):
            demos.save(tmp_path / "folder")

    def test_images_keep_every_byte(self, demos, tmp_path):
        frames = np.random.default_rng(0).integers(0, 256, (10, 40, 40, 3), dtype=np.uint8)
        columns = {**demos.columns(), "observations": frames}
        space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
        images = Demonstrations.from_columns(columns, space, demos.action_space)
        assert_equal(Demonstrations.load(images.save(tmp_path / "folder")), images)
