"""Experts that ask their environment, returns that say success, and extras that are missing."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_il_plus import collect, evaluate
from sb3_il_plus.conditional.environments import (
    EnvironmentExpert,
    SuccessReturn,
    goal_env,
    grid_env,
    intersection_env,
)
from sb3_il_plus.errors import InapplicableError, MissingExtraError


class Secret(gym.Env):
    """Rewards the number that it thinks of and does not show; four numbers make an episode."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._n_steps, self._number = 0, int(self.np_random.integers(5))
        return np.zeros(1, np.float32), {}

    def step(self, action):
        right = int(action) == self._number
        self._n_steps, self._number = self._n_steps + 1, int(self.np_random.integers(5))
        info = {"done_well": right}
        return np.zeros(1, np.float32), float(right), False, self._n_steps == 4, info

    def expert_action(self):
        return self._number


def test_the_expert_knows_what_is_not_observed():
    env = Secret()
    data = collect(EnvironmentExpert(env), env, n_episodes=5, seed=0)
    assert data.rewards.tolist() == [1.0] * 20
    assert len(set(data.actions.tolist())) > 1


def test_every_copy_is_asked():
    venv = DummyVecEnv([Secret] * 3)
    assert evaluate(EnvironmentExpert(venv), venv, 6, seed=0).returns.tolist() == [4.0] * 6


def test_environments_that_know_no_better():
    with pytest.raises(InapplicableError, match="has no method 'expert_action'"):
        EnvironmentExpert(gym.make("CartPole-v1"))


@pytest.mark.parametrize("key", [None, "done_well"])
def test_the_return_is_whether_the_last_step_succeeds(key):
    env = SuccessReturn(Secret(), key)
    for wanted in (True, False):
        env.reset(seed=0)
        for step in range(4):
            number = env.unwrapped.expert_action()
            right = wanted == (step == 3)
            *_, reward, _, truncated, info = env.step(number if right else (number + 1) % 5)
            assert reward == float(info["is_success"]) == float(wanted and truncated)


@pytest.mark.parametrize(
    "make, package, extra",
    [
        (lambda: grid_env("MiniGrid-GoToDoor-6x6-v0"), "minigrid", "minigrid"),
        (lambda: goal_env("PointMaze_UMaze-v3"), "gymnasium_robotics", "robotics"),
        (intersection_env, "highway_env", "highway"),
    ],
)
def test_missing_extras_are_named(make, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'sb3_il_plus\[{extra}\]'"):
        make()
