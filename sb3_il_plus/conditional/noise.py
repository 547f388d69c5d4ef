"""Noise injection: pushes the expert off its path, so that the data shows how to return to it.

    env = NoiseInjection(DrivingVecEnv(8), dimensions=[0], time_step=0.1)
    data = collect(expert, env, n_episodes=200)

What is recorded is the expert's answer, while the environment is given the perturbed action: an
expert that never errs shows no corrections, and a learner errs. It goes around whatever is stepped
by `collect` or DAgger, and knows nothing of either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.randomness import child_generator


def triangle(elapsed: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """max(0, 1 − |2 t / τ − 1|): from 0 up to 1 after half the duration, and back to 0.

    :param elapsed: seconds since the beginning, t
    :param durations: seconds, τ, of the same shape
    """
    return np.maximum(0.0, 1.0 - np.abs(2.0 * elapsed / durations - 1.0))


class NoiseInjection(VecEnvWrapper):
    """Temporally correlated noise on actions: triangular impulses of random sign and duration.

    Codevilla et al. 2018, arXiv:1710.02410, section IV-C; its constants are those of the supplement
    of Dosovitskiy et al. 2017 (CoRL): in every second in which no impulse is under way, one begins
    with probability 0.1, of ±0.15 at its height and of 0.5 to 2 seconds. (The data collector that
    was released with it has other, speed-dependent ones.) Each chosen component of the actions has
    impulses of its own; sums are clipped to the action space. `info["noise"]` holds what was added,
    shape (number of components,).

    :param venv: the environment, whose actions are continuous
    :param dimensions: components of the action that are perturbed
    :param time_step: seconds between two actions
    :param intensity: height of an impulse, in the unit of the actions
    :param probability: with which one begins within a second
    :param duration: shortest and longest, in seconds
    :param seed: of the impulses; None for entropy. `seed()` of the environment sets it anew
    :raises InapplicableError: actions are no vectors
    :raises UserError: an argument is out of range
    """

    def __init__(
        self,
        venv: VecEnv,
        dimensions: Sequence[int],
        time_step: float,
        *,
        intensity: float = 0.15,
        probability: float = 0.1,
        duration: tuple[float, float] = (0.5, 2.0),
        seed: int | None = None,
    ) -> None:
        super().__init__(venv)
        space = venv.action_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise InapplicableError(f"noise is added to actions that are vectors, not to {space}")
        outside = [place for place in dimensions if not 0 <= place < space.shape[0]]
        if outside or not dimensions:
            raise UserError(
                f"dimensions={list(dimensions)} must be components of an action, 0 to "
                f"{space.shape[0] - 1}, and at least one"
            )
        if time_step <= 0 or intensity < 0 or not 0 <= probability <= 1:
            raise UserError(
                f"time_step={time_step} must be positive, intensity={intensity} not negative, and "
                f"probability={probability} within [0, 1]"
            )
        if not 0 < duration[0] <= duration[1]:
            raise UserError(f"duration={duration} must be two positive numbers, shortest first")
        self._space, self._dimensions = space, list(dimensions)
        self._time_step, self._intensity = time_step, intensity
        self._probability_per_step = 1.0 - (1.0 - probability) ** time_step
        self._duration = duration
        self._rng = np.random.default_rng(seed)
        shape = venv.num_envs, len(self._dimensions)
        self._elapsed = np.zeros(shape)
        self._durations = np.ones(shape)
        self._signs = np.zeros(shape)
        """0 where no impulse is under way."""

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed environment and impulses."""
        self._rng = (
            np.random.default_rng() if seed is None else child_generator(seed, "noise injection")
        )
        return self.venv.seed(seed)

    def reset(self) -> VecEnvObs:
        """Begin an episode in every copy, without impulses."""
        self._signs[:] = 0
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Do what is asked for, and a little more or less."""
        self._begin_impulses()
        self._noise = self._intensity * self._signs * triangle(self._elapsed, self._durations)
        perturbed = np.array(actions, dtype=np.float64)
        perturbed[:, self._dimensions] += self._noise
        clipped = np.clip(perturbed, self._space.low, self._space.high)
        self.venv.step_async(clipped.astype(self._space.dtype))

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info, noise in zip(infos, self._noise, strict=True):
            info["noise"] = noise
        self._elapsed += self._time_step
        self._signs[dones] = 0
        return observations, rewards, dones, infos

    def _begin_impulses(self) -> None:
        shape = self._signs.shape
        self._signs[self._elapsed >= self._durations] = 0
        begins = (self._signs == 0) & (self._rng.random(shape) < self._probability_per_step)
        self._signs = np.where(begins, self._rng.choice([-1.0, 1.0], shape), self._signs)
        self._durations = np.where(
            begins, self._rng.uniform(*self._duration, shape), self._durations
        )
        self._elapsed = np.where(begins, 0.0, self._elapsed)
