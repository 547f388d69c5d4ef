"""D4RL's files in every layout that is about: what they leave open is read on the safe side."""

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.hints import DataWarning
from sb3_il_plus.errors import DataError, FileError, MissingExtraError


def rows(*values):
    return np.array(values, np.float32)[:, None]


ACTIONS = rows(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
REWARDS = np.arange(6, dtype=np.float32)
OBSERVATIONS = rows(0, 1, 10, 11, 20, 21)
"""Three episodes of two steps each, in steps of one."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "halfcheetah-medium-v2.hdf5"


def write(path, **columns):
    given = {"observations": OBSERVATIONS, "actions": ACTIONS, "rewards": REWARDS, **columns}
    with h5py.File(path, "w") as file:
        for name, column in given.items():
            if column is not None:
                file[name] = column
    return path


def flags(*steps):
    column = np.zeros(6, bool)
    column[list(steps)] = True
    return column


def test_with_next_observations_and_timeouts(path):
    """The layout of v2, with what else such files hold."""
    write(
        path,
        next_observations=OBSERVATIONS + 1,
        terminals=flags(1),
        timeouts=flags(3),
        **{"infos/qpos": np.zeros((6, 9)), "metadata/algorithm": np.bytes_("SAC")},
    )
    demos = Demonstrations.load(path)
    assert demos.offsets.tolist() == [0, 2, 4, 6]
    assert demos.observations.ravel().tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert np.flatnonzero(demos.terminations).tolist() == [1]
    # The time limit, and the end of the file, which neither flag explains.
    assert np.flatnonzero(demos.truncations).tolist() == [3, 5]
    assert demos.rewards.tolist() == REWARDS.tolist()
    assert demos.observation_space == spaces.Box(-np.inf, np.inf, (1,), np.float32)
    assert demos.action_space == spaces.Box(-1, 1, (1,), np.float32)
    assert dict(demos.metadata) == {}


def test_without_next_observations(path):
    """A terminal step stays; another last step has no known next observation and is dropped."""
    write(path, terminals=flags(1), timeouts=flags(3))
    demos = Demonstrations.load(path)
    assert demos.offsets.tolist() == [0, 2, 3, 4]
    assert demos.observations.ravel().tolist() == [0, 1, 1, 10, 11, 20, 21]
    assert demos.actions.ravel().tolist() == ACTIONS[[0, 1, 2, 4], 0].tolist()
    assert demos.rewards.tolist() == [0, 1, 2, 4]
    assert np.flatnonzero(demos.terminations).tolist() == [1]
    assert np.flatnonzero(demos.truncations).tolist() == [2, 3]
    assert dict(demos.metadata) == {
        "final_observations_repeated": True,
        "last_steps_dropped": True,
    }


def test_episodes_of_one_step(path):
    """Of those, only terminal ones are left without next observations."""
    write(path, terminals=flags(1, 2), timeouts=flags(0, 3, 4, 5))
    demos = Demonstrations.load(path)
    assert demos.episode_lengths.tolist() == [1, 1]
    assert demos.observations.ravel().tolist() == [1, 1, 10, 10]
    assert demos.terminations.all()
    write(path, timeouts=np.ones(6, bool))
    with pytest.raises(DataError, match="there are no episodes"):
        Demonstrations.load(path)


def test_time_limits_that_are_not_marked(path):
    """The layout of v0: no timeouts, rewards and flags with an axis too many, flags as numbers."""
    layout = {"terminals": flags(1)[:, None].astype(np.float32), "rewards": REWARDS[:, None]}
    write(path, **layout)
    with pytest.warns(DataWarning, match="marks no time limits.*max_episode_steps=.*--env"):
        demos = Demonstrations.load(path)
    assert demos.episode_lengths.tolist() == [2, 3]
    demos = Demonstrations.load(path, max_episode_steps=2)
    assert demos.observations.ravel().tolist() == [0, 1, 1, 10, 11, 20, 21]
    assert np.flatnonzero(demos.truncations).tolist() == [2, 3]
    # An observation that does not follow tells where a limit was.
    write(path, next_observations=OBSERVATIONS + 1, **layout)
    demos = Demonstrations.load(path)
    assert demos.offsets.tolist() == [0, 2, 4, 6]
    assert np.flatnonzero(demos.truncations).tolist() == [3, 5]


def test_the_limit_of_an_environment(path):
    observations = np.zeros((450, 3), np.float32)
    write(path, observations=observations, actions=np.zeros((450, 1)), rewards=np.zeros(450))
    demos = Demonstrations.load(path, env="Pendulum-v1")  # 200 steps
    assert demos.episode_lengths.tolist() == [199, 199, 49]
    assert demos.action_space == spaces.Box(-2, 2, (1,), np.float32)


def test_rounding_is_no_end(path):
    following = (OBSERVATIONS + 1).astype(np.float64)
    following[0] += 1e-9
    write(path, next_observations=following, observations=OBSERVATIONS.astype(np.float64))
    assert Demonstrations.load(path).episode_lengths.tolist() == [2, 2, 2]


def test_spaces_that_are_given(path):
    write(path, actions=3 * ACTIONS, terminals=flags(5), timeouts=flags())
    with pytest.raises(DataError, match=r"actions: episode 0, step 3, component \(0,\) is 1.2"):
        Demonstrations.load(path)
    assert Demonstrations.load(path, clip_actions=True).actions.max() == 1
    space = spaces.Box(-2, 2, (1,))
    assert Demonstrations.load(path, action_space=space).action_space == space
    with pytest.raises(DataError, match=r"observations: a row has shape \(1,\), the space Box"):
        Demonstrations.load(path, observation_space=spaces.Box(-1, 1, (2,)))
    choices = np.array([0, 1, 2, 0, 1, 2])
    write(path, actions=choices, terminals=flags(5), timeouts=flags())
    with pytest.raises(DataError, match="does not hold the action space: pass env='YourEnv-v0'"):
        Demonstrations.load(path)
    space = spaces.Discrete(3)
    assert Demonstrations.load(path, action_space=space).actions.tolist() == choices.tolist()


def test_others_can_read_what_we_write(path):
    demos = Demonstrations.from_arrays(
        [rows(0, 1, 2), rows(5, 6)],
        [ACTIONS[:2], ACTIONS[2:3]],
        terminations=[False, True],
        action_space=spaces.Box(-1, 1, (1,)),
    )
    demos.save(path)
    with h5py.File(path) as file:
        assert file["observations"][:].ravel().tolist() == [0, 1, 5]
        assert file["next_observations"][:].ravel().tolist() == [1, 2, 6]
        assert file["terminals"][:].tolist() == [False, False, True]
        assert file["timeouts"][:].tolist() == [False, True, False]
        assert np.isnan(file["rewards"][:]).all()  # unknown


def test_fragments_do_not_run_into_each_other(path):
    """Others find a timeout where one ends; we know that there is none."""
    demos = Demonstrations.from_arrays(
        [rows(0, 1, 2, 3, 4)],
        [ACTIONS[:4]],
        [REWARDS[:4]],
        action_space=spaces.Box(-1, 1, (1,)),
    ).subsample(2)
    assert not (demos.terminations | demos.truncations)[0]
    demos.save(path)
    assert Demonstrations.load(path).fingerprint() == demos.fingerprint()
    with h5py.File(path, "a") as file:
        assert file["timeouts"][:].tolist() == [True, True]
        del file["sb3_il_plus"]
    assert Demonstrations.load(path).observations.ravel().tolist() == [0, 1, 2, 3]


def test_what_the_format_cannot_hold(tmp_path):
    data = Demonstrations.from_arrays(
        {"a": np.zeros((3, 1))},
        np.zeros(2, int),
        action_space=spaces.Discrete(2),
        observation_space=spaces.Dict(a=spaces.Box(-1, 1, (1,))),
        action_masks=np.ones((2, 2), bool),
    )
    with pytest.raises(FileError, match="D4RL file has no place for Dict observations or action m"):
        data.save(tmp_path / "data.hdf5")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"actions": None}, "it has no actions; its entries are observations, rewards"),
        ({"actions": ACTIONS[:5]}, "observations has 6 rows for 5 actions; rewards has 6 rows"),
        ({"rewards": np.zeros((6, 2))}, r"rewards has shape \(6, 2\); one number a step"),
        ({"terminals": np.full(6, 2)}, "terminals: step 0 is 2, which is no flag"),
        ({"terminals": np.full(6, np.nan)}, "terminals: step 0 is nan, which is no flag"),
        ({"next_observations": np.zeros((6, 2))}, "next_observations and observations differ"),
        ({"actions": np.array([b"pickle"] * 6)}, "actions is of type .* not numbers"),
        ({"actions": np.float32(1)}, "actions is of type float32 and shape"),
        ({"observations": np.zeros((0, 1)), "actions": np.zeros((0, 1)), "rewards": np.zeros(0)},
         "it holds no steps"),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves(path, columns, message):
    write(path, **columns)
    with pytest.raises((FileError, DataError), match=f"v2.hdf5': .*{message}"):
        Demonstrations.load(path)


class TestHostileFiles:
    def test_links_into_other_files_are_not_followed(self, path, tmp_path):
        secret = write(tmp_path / "secret.hdf5")
        write(path, rewards=None)
        for link in (h5py.ExternalLink(secret.name, "rewards"), h5py.SoftLink("/actions")):
            with h5py.File(path, "a") as file:
                file.pop("rewards", None)
                file["rewards"] = link
            with pytest.raises(FileError, match="rewards points to somewhere else"):
                Demonstrations.load(path)

    def test_data_in_other_files_is_not_read(self, path, tmp_path):
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(24))
        write(path, rewards=None)
        with h5py.File(path, "a") as file:
            file.create_dataset("rewards", (6,), "f4", external=[(str(secret), 0, 24)])
        with pytest.raises(FileError, match="rewards points into other files"):
            Demonstrations.load(path)
        layout = h5py.VirtualLayout((6,), "f4")
        layout[:] = h5py.VirtualSource(str(write(tmp_path / "o.hdf5")), "rewards", (6,))
        write(path, rewards=None)
        with h5py.File(path, "a") as file:
            file.create_virtual_dataset("rewards", layout)
        with pytest.raises(FileError, match="rewards points into other files"):
            Demonstrations.load(path)

    def test_sizes_that_are_only_claimed(self, path):
        write(path, rewards=None, actions=None)
        with h5py.File(path, "a") as file:
            file.create_dataset("rewards", (10**12,), "f4", chunks=(1000,))
            file.create_dataset("actions", (10**12, 6), "f4", chunks=(1000, 6))
        with pytest.raises(FileError, match="actions claims 24,000,000,000,000 bytes, but 0 are"):
            Demonstrations.load(path)

    def test_our_own_group_in_another_file_is_not_read(self, path, tmp_path):
        secret = tmp_path / "secret.hdf5"
        demos = Demonstrations.from_arrays(
            [np.arange(7.0)[:, None]], [ACTIONS], action_space=spaces.Box(-1, 1, (1,))
        )
        demos.save(secret)
        write(path)
        for link in (h5py.ExternalLink(secret.name, "sb3_il_plus"), h5py.SoftLink("/nowhere")):
            with h5py.File(path, "a") as file:
                file.pop("sb3_il_plus", None)
                file["sb3_il_plus"] = link
            with pytest.raises(FileError, match="sb3_il_plus points to somewhere else"):
                Demonstrations.load(path)

    def test_filters_that_are_not_there(self, path):
        """Whatever a file asks for, only what this machine has can run."""
        write(path, rewards=None)
        stored = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        stored.set_chunk((6,))
        stored.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1, 2))  # Blosc
        with h5py.File(path, "a") as file:
            space, kind = h5py.h5s.create_simple((6,)), h5py.h5t.IEEE_F32LE
            rewards = h5py.h5d.create(file.id, b"rewards", kind, space, stored)
            rewards.write_direct_chunk((0,), b"compressed")
        with pytest.raises(FileError, match=r"rewards is compressed by HDF5's filter 32001.*pip"):
            Demonstrations.load(path)

    def test_groups_where_arrays_should_be(self, path):
        write(path, actions=None, **{"actions/0": ACTIONS})
        with pytest.raises(FileError, match="actions is a group, not an array"):
            Demonstrations.load(path)
        write(path, sb3_il_plus=ACTIONS)
        with pytest.raises(FileError, match="sb3_il_plus is an array, not a group"):
            Demonstrations.load(path)


def test_without_h5py(path, monkeypatch):
    write(path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sb3_il_plus\[minari\]'"):
        Demonstrations.load(path)
