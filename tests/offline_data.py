"""Data sets of graded quality, made in about a second: for methods that learn from data alone.

    pendulum("medium-expert"), cartpole(MIXED, n_timesteps=2000)

The agents are scripted, so nothing is trained; `QUALITIES` are the recipes that they can follow.
"""

from functools import cache
from typing import Any

import numpy as np
from scripted_experts import balance, swing_up

from sb3_il_plus import Demonstrations, make_dataset
from sb3_il_plus.data.reference_scores import ReferenceScores

MIXED = "random + medium + expert"
QUALITIES = ("random", "medium", "expert", "noisy(0.3)", "medium-expert", MIXED)
SCORES = {
    "CartPole-v1": ReferenceScores(random=22.2, expert=500.0),
    "Pendulum-v1": ReferenceScores(random=-1238.0, expert=-145.7),
}
"""Measured once, over 100 and 40 episodes, to save the time."""


@cache
def pendulum(recipe: str, n_timesteps: int = 5000, seed: int = 0) -> Demonstrations:
    """Of Pendulum-v1: random about -1240, medium -860, expert -150."""
    return _made("Pendulum-v1", recipe, n_timesteps, seed, swing_up, weak_swing_up)


@cache
def cartpole(recipe: str, n_timesteps: int = 5000, seed: int = 0) -> Demonstrations:
    """Of CartPole-v1: random about 22, medium 180, expert 500."""
    return _made("CartPole-v1", recipe, n_timesteps, seed, balance, lean)


def _made(
    env_id: str, recipe: str, n_timesteps: int, seed: int, expert: Any, medium: Any
) -> Demonstrations:
    return make_dataset(
        env_id,
        recipe,
        n_timesteps=n_timesteps,
        expert=expert,
        medium=medium,
        reference=SCORES[env_id],
        seed=seed,
    )


def weak_swing_up(observation: np.ndarray) -> np.ndarray:
    """The same with a fifth of the torque."""
    return 0.2 * swing_up(observation)


def lean(observation: np.ndarray) -> int:
    """Keep the pole up, but a little to one side, so that the cart runs away."""
    _, _, angle, turning = observation
    return int(angle + 0.3 * turning > 0.05)
