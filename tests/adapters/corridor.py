"""A task in which ending the episode early is what the expert does."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

STEPS_TO_THE_END = 3
TIME_LIMIT = 30


class Corridor(gym.Env):
    """Go right (action 1) or left (0); the episode ends at the right end of the corridor."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._position = 0
        return self._observe(), {}

    def step(self, action):
        step = 1 if action else -1
        self._position = int(np.clip(self._position + step, 0, STEPS_TO_THE_END))
        return self._observe(), 1.0, self._position == STEPS_TO_THE_END, False, {}

    def _observe(self):
        return np.array([self._position / STEPS_TO_THE_END], dtype=np.float32)


def make_corridor(n_envs: int = 1) -> VecEnv:
    return DummyVecEnv([lambda: Monitor(TimeLimit(Corridor(), TIME_LIMIT))] * n_envs)


def go_to_the_end(observation: np.ndarray) -> int:
    return 1
