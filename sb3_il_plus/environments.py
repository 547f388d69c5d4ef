"""Finding environments by id, and what SB3 would do with their spaces."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_il_plus.errors import MissingExtraError, UnknownNameError, suggest

_NAMESPACE_PACKAGES = {
    "sb3_il_plus": ("sb3_il_plus.conditional.environments", "all"),
    "seals": ("seals", "imitation"),
}
"""Namespace of an id -> (module that registers it, extra of ours that installs it)."""


def register_namespace(env_id: str) -> None:
    """Import the package that registers `env_id`, where the id names one ("seals/Hopper-v1").

    :raises MissingExtraError: that package is not installed
    """
    namespace = env_id.partition("/")[0]
    if env_id in gym.registry or namespace not in _NAMESPACE_PACKAGES:
        return
    module, extra = _NAMESPACE_PACKAGES[namespace]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"environment {env_id!r} needs the package {module!r}: "
            f"pip install 'sb3_il_plus[{extra}]' ({error})"
        ) from error


def make_env(env_id: str, **kwargs: Any) -> gym.Env:
    """`gymnasium.make`, which also knows the ids of packages not imported yet.

    :raises UnknownNameError: no such id; the message names the nearest
    :raises MissingExtraError: the environment's package is not installed
    """
    register_namespace(env_id)
    if env_id.startswith("Acrobot-"):
        _mend_acrobot()
    try:
        return gym.make(env_id, **kwargs)
    except gym.error.DependencyNotInstalled as error:
        raise MissingExtraError(f"environment {env_id!r} cannot be built: {error}") from error
    except gym.error.Error as error:
        raise UnknownNameError(
            f"no environment is called {env_id!r}{suggest(env_id, list(gym.registry))} ({error})"
        ) from error


def _mend_acrobot() -> None:
    """Give gymnasium 0.29's Acrobot a name that NumPy 2 has no more, and without which it falls."""
    if hasattr(np, "float_") or not gym.__version__.startswith("0."):
        return
    from gymnasium.envs.classic_control import acrobot

    vars(acrobot)["np"] = SimpleNamespace(**{**vars(np), "float_": np.float64})


def policy_alias(observation_space: spaces.Space, aliases: Collection[str] = ()) -> str:
    """The policy that SB3's documentation recommends for an observation space.

    :param aliases: what the algorithm calls its policies; `RecurrentPPO` has a `MlpLstmPolicy`
    """
    kind = "Cnn" if is_image_space(observation_space) else "Mlp"
    if isinstance(observation_space, spaces.Dict):
        kind = "MultiInput"
    alias = f"{kind}Policy"
    if alias in aliases:
        return alias
    return next((name for name in aliases if name.startswith(kind)), alias)


class _SpacesOnly(gym.Env):
    """An environment that has spaces and nothing else."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        raise RuntimeError(
            "this model was built without an environment and cannot take steps; "
            "give it one with set_env(), or env= in the constructor or load()"
        )


def placeholder_env(observation_space: spaces.Space, action_space: spaces.Space) -> VecEnv:
    """A `VecEnv` that stands in for a missing environment.

    SB3's callbacks ask a model for its environment (`ProgressBarCallback` for the number of
    copies, `EvalCallback` for its type), so one that learns from data alone has this one.
    """
    return DummyVecEnv([lambda: _SpacesOnly(observation_space, action_space)])


def is_placeholder(env: VecEnv | None) -> bool:
    """Whether `env` stands in for a missing environment (see `placeholder_env`)."""
    if env is None:
        return True
    inner = env.unwrapped
    return isinstance(inner, DummyVecEnv) and isinstance(inner.envs[0], _SpacesOnly)


def make_vec(env_id: str, n_envs: int = 1, seed: int | None = None, **kwargs: Any) -> DummyVecEnv:
    """A `DummyVecEnv` of `n_envs` monitored copies, seeded `seed`, `seed + 1`, and so on.

    :param kwargs: arguments of the environment
    :raises UnknownNameError: no such id
    """

    def build() -> gym.Env:
        return Monitor(make_env(env_id, **kwargs))

    venv = DummyVecEnv([build] * n_envs)
    if seed is not None:
        venv.seed(seed)
    return venv
