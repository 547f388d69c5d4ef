"""Demonstrations without actions: made from states alone, kept so, and refused where they lack."""

import dataclasses
import pickle

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus import BC, Demonstrations
from sb3_il_plus.data.replay_buffer import to_replay_buffer
from sb3_il_plus.errors import DataError
from sb3_il_plus.testing.environments import CODES, echo_demonstrations

CHOICE = spaces.Discrete(2)


def walk(n, start=0):
    """States of n - 1 steps, each different."""
    return np.arange(start, start + n, dtype=np.float32)[:, None] * [1.0, -1.0]


class TestFromArrays:
    def test_one_array_for_each_episode(self):
        data = Demonstrations.from_arrays([walk(4), walk(6, 10)], action_space=CHOICE)
        assert data.episode_lengths.tolist() == [3, 5]
        assert repr(data) == "Demonstrations(2 episodes, 8 transitions, actions unknown)"
        assert data.truncations.sum() == 2 and not data.terminations.any()
        index = np.arange(8)
        np.testing.assert_array_equal(
            data.next_observations_at(index) - data.observations_at(index), [[1.0, -1.0]] * 8
        )

    def test_one_episode(self):
        assert Demonstrations.from_arrays(walk(4), action_space=CHOICE).episode_lengths == [3]

    def test_episodes_of_one_step(self):
        data = Demonstrations.from_arrays([walk(2), walk(2, 5)], action_space=CHOICE)
        assert data.episode_lengths.tolist() == [1, 1]

    def test_lengths_in_steps(self):
        data = Demonstrations.from_arrays(walk(9), episode_lengths=[3, 4], action_space=CHOICE)
        assert data.episode(1).observations[:, 0].tolist() == [4, 5, 6, 7, 8]

    def test_next_observations_and_ends(self):
        data = Demonstrations.from_arrays(
            np.concatenate([walk(2), walk(2, 6)]),
            next_observations=np.concatenate([walk(2, 1), walk(2, 7)]),
            terminations=[False, True, False, False],
            action_space=CHOICE,
        )
        assert data.observations[:, 0].tolist() == [0, 1, 2, 6, 7, 8]
        assert data.terminations.tolist() == [False, True, False, False]

    def test_dict_observations(self):
        episode = {"place": walk(5), "room": np.array([0, 1, 1, 0, 1])}
        data = Demonstrations.from_arrays([episode, episode], action_space=CHOICE)
        assert data.episode_lengths.tolist() == [4, 4]

    def test_numbers_as_observations_need_their_space(self):
        rooms = {"observation_space": spaces.Discrete(3), "action_space": CHOICE}
        data = Demonstrations.from_arrays([[0, 1, 2], [2, 1]], **rooms)
        assert data.episode_lengths.tolist() == [2, 1]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"observations": [walk(4), walk(1)]}, "episode 1 has no steps"),
            ({"observations": walk(1)}, "needs? at least one step"),
            ({"observations": walk(7), "episode_lengths": [3, 4]}, r"needs T \+ 1 observations"),
            ({"observations": walk(4), "terminations": [0, 0, 0, 1]}, r"needs T \+ 1 observations"),
            ({"observations": walk(8), "episode_lengths": [3, 2]}, "observations has 8 rows"),
        ],
    )
    def test_steps_that_lead_nowhere(self, given, message):
        with pytest.raises(DataError, match=message):
            Demonstrations.from_arrays(**given, action_space=CHOICE)

    def test_the_action_space_is_needed_all_the_same(self):
        with pytest.raises(DataError, match="the action space is unknown"):
            Demonstrations.from_arrays([walk(4)])


class TestStayingUnknown:
    data = Demonstrations.from_arrays([walk(4), walk(6)], action_space=CHOICE)

    def test_in_files_which_hold_no_actions(self, tmp_path):
        self.data.save(tmp_path / "states.npz")
        with np.load(tmp_path / "states.npz") as file:
            assert "actions" not in file.files
        loaded = Demonstrations.load(tmp_path / "states.npz")
        assert not loaded.has_actions
        assert loaded.fingerprint() == self.data.fingerprint()

    def test_in_minari(self, tmp_path):
        pytest.importorskip("minari")
        self.data.save(tmp_path / "states")
        loaded = Demonstrations.load(tmp_path / "states")
        assert not loaded.has_actions
        assert loaded.fingerprint() == self.data.fingerprint()

    def test_in_other_processes(self):
        assert not pickle.loads(pickle.dumps(self.data)).has_actions

    def test_in_parts_and_joined(self):
        known = Demonstrations.from_arrays([walk(4)], [[0, 1, 1]], action_space=CHOICE)
        assert known.has_actions
        assert not self.data[1].has_actions
        assert not self.data.subsample(2).has_actions
        for order in ([known, self.data], [self.data, known]):
            joined = Demonstrations.concatenate(order)
            assert not joined.has_actions and not joined.actions.any()


@pytest.mark.parametrize("action", ["Box", "Discrete", "MultiDiscrete", "MultiBinary"])
@pytest.mark.parametrize("observation", sorted(CODES.keys() - {"Tuple"}))
def test_actions_can_be_forgotten(observation, action):
    data = echo_demonstrations(observation, action)
    forgotten = data.without_actions().validate()
    assert data.has_actions and not forgotten.has_actions
    assert forgotten.actions.shape == data.actions.shape
    assert forgotten.actions.dtype == data.actions.dtype
    assert forgotten.episode_returns.tolist() == data.episode_returns.tolist()
    assert forgotten.without_actions() is forgotten


def test_stand_ins_lie_in_spaces_without_zero():
    for space in (spaces.Box(2.0, 3.0, (2,)), spaces.Discrete(2, start=5)):
        data = Demonstrations.from_arrays([walk(4)], action_space=space)
        assert all(space.contains(action) for action in data.actions)


def test_what_reads_actions_refuses_by_name():
    data = Demonstrations.from_arrays([walk(4)], action_space=CHOICE)
    with pytest.raises(
        DataError, match="BC reads the demonstrations' actions, and these have none"
    ):
        BC("MlpPolicy", None, data)
    rewarded = dataclasses.replace(data, rewards=np.zeros(len(data)))
    with pytest.raises(DataError, match="a replay buffer reads the demonstrations' actions"):
        to_replay_buffer(rewarded)
    for convert in (data.to_transitions, data.to_trajectories):
        with pytest.raises(DataError, match="imitation reads the demonstrations' actions"):
            convert()
