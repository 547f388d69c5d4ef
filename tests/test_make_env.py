"""Environments by id."""

import gymnasium as gym
import numpy as np

from sb3_il_plus.environments import make_env


def test_acrobot_swings_on_both_stacks():
    """gymnasium 0.29 steps it with a name that NumPy 2 took away."""
    env = make_env("Acrobot-v1")
    env.reset(seed=0)
    seen = [env.step(action)[0] for action in (0, 2, 2)]
    assert np.isfinite(seen).all() and not np.array_equal(seen[0], seen[1])
    assert isinstance(env.unwrapped, gym.Env)
