"""Those who act worse than an expert: random actions, and an expert whose hand is shaky."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.errors import UserError
from sb3_il_plus.experts.expert import Expert, batch_shape
from sb3_il_plus.randomness import child_generator
from sb3_il_plus.spaces import add_noise, half_range, sample_uniform


def random_expert(observation_space: spaces.Space, action_space: spaces.Space, seed: int) -> Expert:
    """An `Expert` that draws its actions uniformly.

    :param seed: of the actions
    """
    actor = _Uniform(observation_space, action_space, child_generator(seed, "random actions"))
    return Expert(actor, observation_space, action_space, name="random")


def noisy_expert(expert: Expert, level: float, seed: int) -> Expert:
    """An expert with the noise of BCQ's "imperfect demonstrations" (Fujimoto et al. 2019).

    A share `level` of its actions is random. To the others, where they are continuous, Gaussian
    noise is added, whose standard deviation is `level` times half the range of each component; BCQ
    uses 0.3 for both.

    :param level: within [0, 1]
    :param seed: of the noise
    :raises UserError: the level lies outside
    """
    if not 0 <= level <= 1:
        raise UserError(f"the noise level {level} must lie within [0, 1]")
    actor = _Noisy(expert, level, child_generator(seed, "noise"))
    return Expert(
        actor,
        expert.observation_space,
        expert.action_space,
        name=f"noisy({level:g}) {expert.name}",
        metadata=expert.metadata,
    )


class _Uniform:
    """Random actions, with SB3's `predict`."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        rng: np.random.Generator,
    ) -> None:
        self._observation_space, self._action_space, self._rng = (
            observation_space,
            action_space,
            rng,
        )

    def predict(self, observation: Any, state: Any = None, **_: Any) -> tuple[np.ndarray, Any]:
        batch = batch_shape(observation, self._observation_space)
        actions = sample_uniform(self._action_space, batch[0] if batch else 1, self._rng)
        return (actions if batch else actions[0]), state


class _Noisy:
    """Another's actions with noise, with SB3's `predict`."""

    def __init__(self, expert: Expert, level: float, rng: np.random.Generator) -> None:
        self._expert, self._level, self._rng = expert, level, rng

    def predict(self, observation: Any, **options: Any) -> tuple[np.ndarray, Any]:
        actions, state = self._expert.predict(observation, **options)
        batch = batch_shape(observation, self._expert.observation_space)
        actions = actions if batch else actions[None]
        space = self._expert.action_space
        if isinstance(space, spaces.Box):
            actions = add_noise(actions, space, self._level * half_range(space), self._rng)
        drawn = self._rng.random(len(actions)) < self._level
        actions = actions.copy()
        actions[drawn] = sample_uniform(space, int(drawn.sum()), self._rng)
        return (actions if batch else actions[0]), state
