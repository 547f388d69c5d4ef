"""What the reader of a file may have to be told, because many formats leave it unsaid.

A D4RL file or `imitation`'s trajectories hold no spaces, and older files no mark of time limits.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from sb3_il_plus.errors import DataError


class DataWarning(UserWarning):
    """A file left something unsaid, or a format cannot hold it; what was assumed is said."""


@dataclass(frozen=True)
class Hints:
    """Facts for readers of formats that lack them; None where unknown.

    :param observation_space: of the environment in which the data was recorded
    :param action_space: of that environment
    :param max_episode_steps: its time limit
    :param clip_actions: whether to clip continuous actions to the bounds of their space, as
        environments do; many policies exceed them, and many files hold what the policy said
    """

    observation_space: spaces.Space | None = None
    action_space: spaces.Space | None = None
    max_episode_steps: int | None = None
    clip_actions: bool = False

    @classmethod
    def of(
        cls,
        env: Any = None,
        observation_space: spaces.Space | None = None,
        action_space: spaces.Space | None = None,
        max_episode_steps: int | None = None,
        clip_actions: bool = False,
    ) -> Hints:
        """Take what is not given from an environment.

        :param env: an environment id, `Env` or `VecEnv`, or None
        """
        if max_episode_steps is not None and max_episode_steps < 1:
            raise DataError(f"max_episode_steps={max_episode_steps} must be at least 1")
        if env is None:
            return cls(observation_space, action_space, max_episode_steps, clip_actions)
        from sb3_il_plus.environments import make_env

        made = make_env(env) if isinstance(env, str) else None
        source = env if made is None else made
        try:
            return cls(
                observation_space or source.observation_space,
                action_space or source.action_space,
                max_episode_steps or getattr(_spec(source), "max_episode_steps", None),
                clip_actions,
            )
        finally:
            if made is not None:
                made.close()

    def known_action_space(self) -> spaces.Space:
        """The action space.

        :raises DataError: it is unknown
        """
        if self.action_space is None:
            raise DataError(
                "the file does not hold the action space: pass env='YourEnv-v0' (--env on the "
                "command line), or action_space=..."
            )
        return self.action_space


def warn(message: str) -> None:
    """Say what was assumed, or what could not be kept."""
    warnings.warn(message, DataWarning, stacklevel=3)


def _spec(env: Any) -> Any:
    try:
        return env.spec if isinstance(env, gym.Env) else env.get_attr("spec")[0]
    except (AttributeError, NotImplementedError):
        return None
