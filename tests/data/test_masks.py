"""Action masks travel with the demonstrations, and one that forbids what was done is named."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_il_plus import Demonstrations, collect, evaluate
from sb3_il_plus.data.masks import action_masks_of
from sb3_il_plus.errors import DataError, FileError

SPACES = [
    (spaces.Discrete(3), [2, 0, 1, 1], [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 1, 1]]),
    (
        spaces.MultiDiscrete([2, 3]),
        [[0, 2], [1, 0], [1, 1], [0, 0]],
        [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0]],
    ),
    (
        spaces.MultiBinary(2),
        [[0, 1], [1, 1], [0, 0], [1, 0]],
        [[1, 0, 0, 1], [0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1]],
    ),
]


def with_masks(space, actions, masks, **kwargs) -> Demonstrations:
    return Demonstrations.from_arrays(
        np.zeros((len(actions), 2)),
        np.array(actions),
        episode_lengths=[1, len(actions) - 1],
        action_space=space,
        action_masks=masks,
        **kwargs,
    )


class OneOfThree(gym.Env):
    """Only the action that was not taken last is allowed, and none but it pays."""

    observation_space = spaces.Box(0, 1, (3,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step, self._allowed = 0, int(self.np_random.integers(3))
        return np.zeros(3, np.float32), {}

    def action_masks(self):
        return np.arange(3) == self._allowed

    def step(self, action):
        reward = float(action == self._allowed)
        self._step, self._allowed = self._step + 1, int(self.np_random.integers(3))
        return np.zeros(3, np.float32), reward, False, self._step == 5, {}


def venv(n_envs=2):
    return DummyVecEnv([lambda: Monitor(OneOfThree())] * n_envs)


@pytest.mark.parametrize(("space", "actions", "masks"), SPACES)
def test_masks_that_allow_the_actions_are_kept(space, actions, masks):
    data = with_masks(space, actions, masks)
    np.testing.assert_array_equal(action_masks_of(data), np.array(masks, dtype=bool))
    assert data.fingerprint() != with_masks(space, actions, None).fingerprint()


@pytest.mark.parametrize(("space", "actions", "masks"), SPACES)
def test_a_mask_that_forbids_the_action_is_named(space, actions, masks):
    wrong = np.array(masks)
    wrong[2] = 1 - wrong[2] if wrong[2].min() == 0 else 0
    with pytest.raises(DataError, match=r"action_masks: episode 1, step 1: the mask forbids the a"):
        with_masks(space, actions, wrong)


def test_masks_follow_their_episodes(tmp_path):
    space, actions, masks = SPACES[0]
    data = with_masks(space, actions, masks)
    expected = np.array(masks, dtype=bool)
    np.testing.assert_array_equal(data[1].action_masks, expected[1:])
    np.testing.assert_array_equal(data.subsample(2).action_masks, expected[[0, 1, 3]])
    joined = Demonstrations.concatenate([data[1], data[0]])
    np.testing.assert_array_equal(joined.action_masks, np.roll(expected, -1, axis=0))
    plain = with_masks(space, actions, None)
    assert Demonstrations.concatenate([data, plain]).action_masks is None
    data.save(tmp_path / "masked.npz")
    loaded = Demonstrations.load(tmp_path / "masked.npz")
    np.testing.assert_array_equal(loaded.action_masks, expected)
    pytest.importorskip("minari")
    with pytest.raises(FileError, match=r"Minari has no place for action masks; save as .npz"):
        data.save(tmp_path / "masked")


def test_masks_as_an_entry_of_dict_observations():
    masks = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]], dtype=np.int8)
    data = Demonstrations.from_arrays(
        {"state": np.zeros((3, 2)), "action_mask": masks},
        [0, 1, 2],
        action_space=spaces.Discrete(3),
    )
    np.testing.assert_array_equal(action_masks_of(data), masks.astype(bool))
    data = Demonstrations.from_arrays(
        {"state": np.zeros((3, 2)), "action_mask": masks},
        [0, 1, 0],
        action_space=spaces.Discrete(3),
    )
    with pytest.raises(DataError, match=r"observations\['action_mask'\]: episode 0, step 2: the m"):
        action_masks_of(data)


def test_masks_of_other_sizes_are_named():
    with pytest.raises(DataError, match=r"a mask has 2 entries, the space Discrete\(3\) needs 3"):
        with_masks(spaces.Discrete(3), [0, 1], [[1, 1], [1, 1]])
    with pytest.raises(DataError, match=r"action_masks has shape \(3, 3\); 2 actions need one row"):
        with_masks(spaces.Discrete(3), [0, 1], np.ones((3, 3)))
    with pytest.raises(DataError, match=r"only choices can be masked, not actions of the space Bo"):
        with_masks(spaces.Box(-1, 1, (2,)), np.zeros((2, 2)), np.ones((2, 2)))


def test_an_expert_that_reads_masks_is_given_those_of_the_environment():
    expert = MaskablePPO("MlpPolicy", venv(), n_steps=10, batch_size=10, device="cpu")
    data = collect(expert, venv(), n_episodes=4, seed=0)
    assert data.action_masks.sum(axis=1).tolist() == [1] * 20
    np.testing.assert_array_equal(data.actions, data.action_masks.argmax(axis=1))
    assert data.episode_returns.tolist() == [5.0] * 4
    # Normalised observations make no difference to the masks.
    assert evaluate(expert, VecNormalize(venv()), 4, seed=1).mean_return == 5
    assert collect(lambda observation: 0, venv(), n_episodes=2, seed=0).action_masks is None
