"""Other people's npz files, under the names and in the layouts that are common."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.hints import DataWarning
from sb3_il_plus.errors import DataError, FileError

CHOICE = spaces.Discrete(3)
OBSERVATIONS = np.arange(12.0).reshape(6, 2)
ACTIONS = np.arange(6) % 3
CS285 = Path(__file__).parents[2].parent / "shared" / "cs285_demos" / "Hopper-v4.npz"


def load(path, columns, **hints):
    np.savez(path / "data.npz", **columns)
    return Demonstrations.load(path / "data.npz", **{"action_space": CHOICE, **hints})


@pytest.mark.parametrize(
    "names",
    [
        ("observations", "actions", "rewards", "terminations", "truncations"),
        ("obs", "acts", "rews", "terminals", "timeouts"),
        ("state", "action", "reward", "terminated", "truncated"),
        ("OBS", "Actions", "Rewards", "Terminal", "Timeout"),
    ],
)
def test_names(tmp_path, names):
    ends = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 1]])
    columns = dict(zip(names, (OBSERVATIONS, ACTIONS, np.ones(6), *ends), strict=True))
    demos = load(tmp_path, {**columns, "unrelated": np.zeros(3)})
    assert demos.episode_lengths.tolist() == [2, 2, 2]
    assert np.flatnonzero(demos.terminations).tolist() == [1]
    assert np.flatnonzero(demos.truncations).tolist() == [3, 5]
    assert demos.episode_returns.tolist() == [2, 2, 2]
    assert demos.metadata["final_observations_repeated"]


def test_episodes_apart(tmp_path):
    """As in episode_0/..., in the order of their numbers."""
    columns = {}
    for number, length in [(10, 1), (2, 2), (0, 3)]:
        columns[f"episode_{number}/observation"] = np.full((length, 2), number, np.float32)
        columns[f"episode_{number}/next_observation"] = np.full((length, 2), number, np.float32)
        columns[f"episode_{number}/action"] = np.zeros(length, int)
    demos = load(tmp_path, columns)
    assert demos.episode_lengths.tolist() == [3, 2, 1]
    assert demos.observations[:, 0].tolist() == [0] * 4 + [2] * 3 + [10] * 2
    assert "final_observations_repeated" not in demos.metadata
    columns["episode_2/reward"] = np.zeros(2)
    with pytest.raises(DataError, match="not all episodes have the same columns"):
        load(tmp_path, columns)


def test_dict_observations(tmp_path):
    columns = {"obs/state": OBSERVATIONS, "obs/mode": ACTIONS, "actions": ACTIONS}
    space = spaces.Dict(state=spaces.Box(-99, 99, (2,)), mode=CHOICE)
    demos = load(tmp_path, columns, observation_space=space)
    assert demos.observations["mode"].tolist() == [0, 1, 2, 0, 1, 2, 2]


class TestEnds:
    columns = {"obs": OBSERVATIONS, "actions": ACTIONS}  # noqa: RUF012
    dones = np.array([0, 1, 0, 0, 1, 0])

    def ends(self, demos):
        return [np.flatnonzero(flag).tolist() for flag in (demos.terminations, demos.truncations)]

    def test_dones_do_not_tell_why(self, tmp_path):
        with pytest.warns(DataWarning, match="'dones' does not tell why.*count as truncations"):
            demos = load(tmp_path, {**self.columns, "dones": self.dones})
        assert self.ends(demos) == [[], [1, 4, 5]]

    def test_unless_the_limit_is_known(self, tmp_path):
        """Episodes of 2, 3 and 1 steps: the second one has the three steps of the limit."""
        with pytest.warns(DataWarning, match="1 episodes .* have the 3 steps of the time limit"):
            demos = load(tmp_path, {**self.columns, "dones": self.dones}, max_episode_steps=3)
        assert self.ends(demos) == [[1], [4, 5]]

    def test_terminals_at_the_limit(self, tmp_path):
        with pytest.warns(DataWarning, match="1 episodes .* have the 2 steps of the time limit"):
            demos = load(tmp_path, {**self.columns, "terminal": self.dones}, max_episode_steps=2)
        assert self.ends(demos) == [[4], [1, 5]]
        assert self.ends(load(tmp_path, {**self.columns, "terminal": self.dones})) == [[1, 4], [5]]

    def test_dones_beside_terminals(self, tmp_path):
        columns = {**self.columns, "dones": self.dones, "terminals": [0, 1, 0, 0, 0, 0]}
        assert self.ends(load(tmp_path, columns)) == [[1], [4, 5]]

    def test_episode_starts(self, tmp_path):
        """As stable-baselines 2 recorded them."""
        demos = load(tmp_path, {**self.columns, "episode_starts": [1, 0, 1, 0, 0, 1]})
        assert self.ends(demos) == [[], [1, 4, 5]]

    def test_lengths(self, tmp_path):
        demos = load(tmp_path, {**self.columns, "episode_lengths": [2, 4]})
        assert self.ends(demos) == [[], [1, 5]]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"dones": [0, 1]}, DataError, r"dones has shape \(2,\) for 6 actions"),
        ({"dones": [0, 1, 2, 0, 0, 0]}, DataError, "dones: step 2 is 2, which is no flag"),
        ({"observations": OBSERVATIONS}, FileError, "is the second column of observations"),
        ({"rewards": np.array([{}] * 6)}, FileError, "entry rewards.npy is not an array"),
        ({"rewards": np.zeros(5)}, DataError, "rewards has shape"),
        ({"actions": ACTIONS + 1}, DataError, "actions: episode 0, step 2 is 3, which lies"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, columns, error, message):
    with pytest.raises(error, match=rf"data\.npz'.*{message}"):
        load(tmp_path, {"obs": OBSERVATIONS, "actions": ACTIONS, **columns})


def test_all_problems_at_once(tmp_path):
    np.savez(
        tmp_path / "data.npz",
        obs=np.zeros((10, 2)),
        acts=np.zeros(9, int),
        rews=np.zeros(4),
        dones=np.zeros(7),
    )
    with pytest.raises(
        DataError, match=r"rewards has shape \(4,\) for 9 actions; dones has shape \(7,\)"
    ):
        Demonstrations.load(tmp_path / "data.npz", action_space=CHOICE)
    np.savez(
        tmp_path / "data.npz",
        obs=np.array([None] * 3),
        acts=np.array(["left", "right"]),
        rews=np.float32(1),
    )
    with pytest.raises(
        FileError, match=r"entry obs.npy is not.*acts.npy is <U5 of.*rews.npy is float32 of"
    ):
        Demonstrations.load(tmp_path / "data.npz", action_space=CHOICE)


def test_lengths_of_episodes_do_not_make_up_for_each_other(tmp_path):
    columns = {}
    for number, n_rewards in enumerate((3, 5)):
        columns[f"episode_{number}/observations"] = np.zeros((5, 2))
        columns[f"episode_{number}/actions"] = np.zeros(4, int)
        columns[f"episode_{number}/rewards"] = np.zeros(n_rewards)
    np.savez(tmp_path / "data.npz", **columns)
    with pytest.raises(
        DataError, match=r"rewards of episode 0: 3 rows where 4 .*rewards of episode 1: 5 rows whe"
    ):
        Demonstrations.load(tmp_path / "data.npz", action_space=CHOICE)


def test_what_is_missing(tmp_path):
    np.savez(tmp_path / "data.npz", obs=OBSERVATIONS, actions=ACTIONS)
    with pytest.raises(DataError, match=r"data\.npz': the action space is unknown: pass env="):
        Demonstrations.load(tmp_path / "data.npz")
    np.savez(tmp_path / "data.npz", pictures=OBSERVATIONS)
    with pytest.raises(FileError, match=r"a zip without observations and actions"):
        Demonstrations.load(tmp_path / "data.npz")
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("obs.npy", b"")
        archive.writestr("actions.npy", b"nonsense")
    with pytest.raises(FileError, match=r"entry obs\.npy is not an array of numbers"):
        Demonstrations.load(tmp_path / "data.npz")


def test_names_that_are_no_numbers(tmp_path):
    columns = {"0/obs": OBSERVATIONS, "obs": OBSERVATIONS, "actions": ACTIONS}
    with pytest.raises(DataError, match="not all episodes have the same columns"):
        load(tmp_path, columns)


@pytest.mark.skipif(not CS285.exists(), reason="needs the data that is not part of the project")
def test_real_data_with_a_time_limit_marked_as_terminal():
    space = spaces.Box(-1, 1, (3,))
    with pytest.raises(DataError, match="and 2,622 more"):
        Demonstrations.load(CS285, action_space=space)
    with pytest.warns(DataWarning, match="2 episodes"):
        demos = Demonstrations.load(
            CS285, action_space=space, clip_actions=True, max_episode_steps=1000
        )
    assert demos.episode_lengths.tolist() == [1000, 1000]
    assert not demos.terminations.any()
    assert abs(demos.episode_returns.mean() - 3718) < 1
