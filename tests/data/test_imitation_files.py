"""`imitation`'s saved data sets, read without running `datasets`, `jsonpickle` or a pickle."""

import json
import sys

import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from imitation.data import serialize
from imitation.data.types import Trajectory, TrajectoryWithRew
from strategies import OBSERVATION_SPACES, demonstrations

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.hints import DataWarning
from sb3_il_plus.data.imitation_files import save_imitation
from sb3_il_plus.errors import DataError, FileError, MissingExtraError

pytestmark = pytest.mark.filterwarnings("ignore:keys will default:DeprecationWarning")

FLAT = [space for space in OBSERVATION_SPACES if not isinstance(space, spaces.Dict)]
CHOICE = spaces.Discrete(2)


def trajectories(infos=None):
    return [
        TrajectoryWithRew(
            np.arange(3 * (length + 1), dtype=np.float32).reshape(-1, 3),
            np.arange(length) % 2,
            np.array([{}] * (length - 1) + [info]),
            True,
            np.arange(length, dtype=np.float64),
        )
        for length, info in zip((2, 3, 4), infos or [{}] * 3, strict=True)
    ]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "saved"
    truncated = [{"TimeLimit.truncated": flag} for flag in (True, False)]
    serialize.save(path, trajectories([*truncated, {}]))
    return path


@settings(max_examples=15)
@given(demos=demonstrations(FLAT))
def test_imitation_reads_what_we_write(demos, tmp_path_factory):
    path = demos.save(tmp_path_factory.mktemp("imitation") / "data", "imitation")
    read = serialize.load(path)
    assert len(read) == demos.n_episodes
    for theirs, ours in zip(read, demos.to_trajectories(), strict=True):
        assert type(theirs) is type(ours)
        assert theirs.terminal == ours.terminal
        np.testing.assert_array_equal(theirs.obs, ours.obs)
        np.testing.assert_array_equal(theirs.acts, ours.acts)
        assert list(theirs.infos) == list(ours.infos)
        if demos.rewards is not None:
            np.testing.assert_array_equal(theirs.rews, ours.rews)


def test_what_imitation_wrote(folder):
    demos = Demonstrations.load(folder, action_space=CHOICE)
    assert demos.episode_lengths.tolist() == [2, 3, 4]
    ends = demos.offsets[1:] - 1
    assert demos.terminations[ends].tolist() == [False, True, False]
    assert demos.truncations[ends].tolist() == [True, False, True]
    assert demos.observations.dtype == np.float32 and demos.observations[3].tolist() == [0, 1, 2]
    assert demos.rewards.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert demos.observation_space == spaces.Box(-np.inf, np.inf, (3,))


def test_the_action_space_is_needed(folder):
    with pytest.raises(DataError, match=r"saved'.*does not hold the action space.*--env"):
        Demonstrations.load(folder)


def test_numpys_booleans_as_jsonpickle_writes_them(tmp_path):
    path = tmp_path / "saved"
    flags = [np.bool_(True), np.bool_(False), np.arange(3)]
    serialize.save(path, trajectories([{"TimeLimit.truncated": flag} for flag in flags]))
    demos = Demonstrations.load(path, action_space=CHOICE)
    assert demos.terminations[demos.offsets[1:] - 1].tolist() == [False, True, False]


def test_images_and_continuous_actions(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    serialize.save(tmp_path / "saved", [Trajectory(frames, np.zeros((3, 2)), None, False)])
    demos = Demonstrations.load(tmp_path / "saved", action_space=spaces.Box(-1, 1, (2,)))
    assert np.array_equal(demos.observations, frames)
    assert demos.observation_space == spaces.Box(0, 255, (5, 6, 3), np.uint8)
    assert not demos.terminations.any() and not demos.truncations.any()  # a fragment


def test_nothing_of_datasets_or_jsonpickle_runs(folder, monkeypatch):
    for name in ("datasets", "jsonpickle"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(Demonstrations.load(folder, action_space=CHOICE)) == 9


def test_infos_build_no_objects(tmp_path):
    """jsonpickle would build whatever object a string names."""
    path, touched = tmp_path / "saved", tmp_path / "touched"
    harmless = Demonstrations.from_imitation(trajectories(), action_space=CHOICE)
    harmless.save(path, "imitation")
    (path / "sb3_il_plus.json").unlink()
    file = path / "data-00000-of-00001.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as stream:
        table = stream.read_all()
    call = {"py/reduce": [{"py/type": "pathlib.Path"}, {"py/tuple": [str(touched)]}]}
    run = {"py/reduce": [{"py/function": "builtins.open"}, {"py/tuple": [str(touched), "w"]}]}
    infos = [[json.dumps({"TimeLimit.truncated": run, "x": call})] * n for n in (2, 3, 4)]
    table = table.set_column(2, "infos", pa.array(infos))
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    demos = Demonstrations.load(path, action_space=CHOICE)
    assert not demos.terminations.any()
    assert not touched.exists()
    assert list(serialize.load(path)[0].infos)  # while imitation's own reader runs it
    assert touched.exists()


def rewrite(folder, **columns):
    """Put other columns into a folder."""
    file = folder / "data-00000-of-00001.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as stream:
        table = stream.read_all().to_pydict()
    table |= columns
    table = pa.table({name: column for name, column in table.items() if column is not None})
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"obs": None}, "it lacks the columns obs"),
        ({"obs": [[[0.0, 1.0], [0.0]]] * 3}, "obs of episode 0: rows that differ in length"),
        ({"obs": [[[0.0], [None], [1.0]]] * 3}, "obs of episode 0: is double, not an array"),
        ({"acts": [[0, 1]] * 3}, "episode 1 has observations of shape .* for 2 actions; 3 rows"),
        ({"acts": [["a", "b"]] * 3}, "acts of episode 0: is string, not an array of numbers"),
        ({"acts": [None] * 3}, "is not a complete data set of imitation"),
        ({"terminal": ["yes"] * 3}, "terminal: is string, not an array of numbers"),
        ({"rews": [[0.0]] * 3}, "episode 0 has rewards of shape .* for 2 actions; episode 1 has"),
    ],
)
def test_columns_that_do_not_fit(folder, columns, message):
    rewrite(folder, **columns)
    with pytest.raises((FileError, DataError), match=f"saved'.*{message}"):
        Demonstrations.load(folder, action_space=CHOICE)


def test_damaged_folders(folder):
    file = folder / "data-00000-of-00001.arrow"
    whole = file.read_bytes()
    file.write_bytes(whole[:300])
    with pytest.raises(FileError, match=r"the file data-00000-of-00001\.arrow was cut off"):
        Demonstrations.load(folder, action_space=CHOICE)
    file.write_bytes(whole[:300] + whole[-8:])
    with pytest.raises(FileError, match="is not a complete data set of imitation"):
        Demonstrations.load(folder, action_space=CHOICE)
    file.write_bytes(whole[:-8])
    with pytest.raises(FileError, match=r"the file data-00000-of-00001\.arrow was cut off"):
        Demonstrations.load(folder, action_space=CHOICE)
    file.unlink()
    with pytest.raises(FileError, match=r"the file data-00000-of-00001\.arrow is missing"):
        Demonstrations.load(folder, action_space=CHOICE)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "/etc/passwd"}]}))
    with pytest.raises(FileError, match="the file passwd is missing"):
        Demonstrations.load(folder, action_space=CHOICE)


def test_what_the_format_cannot_hold(tmp_path):
    data = Demonstrations.from_arrays(
        {"a": np.zeros((3, 1))},
        np.zeros(2, int),
        action_space=CHOICE,
        observation_space=spaces.Dict(a=spaces.Box(-1, 1, (1,))),
    )
    with pytest.raises(FileError, match="imitation's format has no place for Dict observations"):
        data.save(tmp_path / "data", "imitation")


def test_other_folders_are_not_replaced(tmp_path):
    demos = Demonstrations.from_imitation(trajectories(), action_space=CHOICE)
    save_imitation(demos, tmp_path / "data")
    save_imitation(demos[1], tmp_path / "data")
    assert Demonstrations.load(tmp_path / "data").n_episodes == 1
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(FileError, match="photos' exists and is not replaced"):
        save_imitation(demos, tmp_path / "photos")


def test_without_pyarrow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sb3_il_plus\[minari\]'"):
        Demonstrations.load(folder, action_space=CHOICE)


class Malice:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class TestOldNpz:
    @staticmethod
    def write(path, **changes):
        """As versions before 0.4 did, pickled infos included."""
        parts = trajectories()
        columns = {
            "obs": np.concatenate([t.obs for t in parts]),
            "acts": np.concatenate([t.acts for t in parts]),
            "infos": np.array([Malice(path.with_name("touched"))] * 9, dtype=object),
            "terminal": np.array([True, False, True]),
            "rews": np.concatenate([t.rews for t in parts]),
            "indices": np.cumsum([len(t) for t in parts[:-1]]),
            **changes,
        }
        kept = {name: column for name, column in columns.items() if column is not None}
        np.savez_compressed(path, **kept)
        return path

    def test_infos_stay_closed(self, tmp_path):
        path = self.write(tmp_path / "old.npz")
        with pytest.warns(DataWarning, match="only in pickled infos, which are not opened"):
            demos = Demonstrations.load(path, action_space=CHOICE)
        expected = Demonstrations.from_imitation(trajectories(), action_space=CHOICE)
        assert np.array_equal(demos.observations, expected.observations)
        assert np.array_equal(demos.actions, expected.actions)
        assert np.array_equal(demos.rewards, expected.rewards)
        assert demos.truncations[demos.offsets[1:] - 1].tolist() == [True, False, True]
        assert not demos.terminations.any()
        assert not (tmp_path / "touched").exists()

    def test_without_rewards(self, tmp_path):
        path = self.write(tmp_path / "old.npz", rews=None, terminal=np.zeros(3, bool))
        assert Demonstrations.load(path, action_space=CHOICE).rewards is None

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"indices": np.array([2])}, "its indices and its flags .* contradict each other"),
            ({"indices": np.array([2.0, 5.0])}, "its indices and its flags .* contradict"),
            ({"indices": np.array([5, 2])}, "episode 1 has no steps"),
            ({"obs": np.zeros((9, 3))}, "9 actions in 3 episodes need 12 observations; it has 9"),
            ({"acts": np.array([{}] * 9)}, "entry acts.npy is not an array of numbers"),
        ],
    )
    @pytest.mark.filterwarnings("ignore::sb3_il_plus.data.hints.DataWarning")
    def test_files_that_contradict_themselves(self, tmp_path, changes, message):
        path = self.write(tmp_path / "old.npz", **changes)
        with pytest.raises((FileError, DataError), match=rf"old\.npz'.*{message}"):
            Demonstrations.load(path, action_space=CHOICE)
