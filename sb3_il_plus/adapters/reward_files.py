"""A learned reward in a file of its own, and fresh SB3 agents that are trained on it.

    model.save_reward("reward")  # GAIL, AIRL, GAIfO, density, preferences, MCE-IRL
    reward = load_reward("reward")
    agent = train_on_reward(reward, "Pendulum-v1", 50_000, SAC)

The file is an archive like a model's (see `serialization.py`): arguments as plain JSON, and the
reward's tensors. Loading it executes nothing.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from sb3_il_plus import persistence, serialization
from sb3_il_plus.environments import make_vec, policy_alias
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.handover.fitting import find_algorithm
from sb3_il_plus.registry import registry

_KIND = "the reward of "


class SavedReward:
    """A learned reward without the agent that was trained with it.

    :param model: of the algorithm that learned it; its policy knows nothing
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.observation_space = model.observation_space
        self.action_space = model.action_space

    @property
    def reward_net(self) -> Any:
        """The network, r(s, a, s', done)."""
        return self._model.reward_net

    def predict_reward(
        self, obs: Any, acts: np.ndarray, next_obs: Any, dones: np.ndarray
    ) -> np.ndarray:
        """The learned reward of n transitions, shape (n,); see `LearnedReward`."""
        rewards: np.ndarray = self._model.predict_reward(obs, acts, next_obs, dones)
        return rewards

    def as_reward_wrapper(
        self, venv: VecEnv, *, learned_weight: float = 1.0, environment_weight: float = 0.0
    ) -> VecEnvWrapper:
        """Wrap an environment so that it pays the learned reward; see `LearnedReward`."""
        wrapper: VecEnvWrapper = self._model.as_reward_wrapper(
            venv, learned_weight=learned_weight, environment_weight=environment_weight
        )
        return wrapper


def save(model: Any, path: Any) -> None:
    """See `LearnedReward.save_reward`."""
    normalizer = model._vec_normalize_env
    if normalizer is not None and normalizer.norm_obs:
        warnings.warn(
            "the reward was learned from what a VecNormalize shows: save that, too "
            "(model.get_vec_normalize_env().save(path)), and wrap environments in it before the "
            "reward",
            stacklevel=3,
        )
    content = persistence.describe(model)
    content["algorithm"] = _KIND + content["algorithm"]
    parameters = model.get_parameters()
    tensors = {name: parameters[name] for name in model._reward_parts()}
    serialization.write_archive(path, content, tensors)


def load_reward(
    path: Any, env: GymEnv | str | None = None, device: th.device | str = "auto", **kwargs: Any
) -> SavedReward:
    """Read a reward that `save_reward` wrote; nothing in the file is executed.

    :param path: the file
    :param env: only for algorithms that need one to be built (MCE-IRL)
    :param device: where to put the tensors
    :param kwargs: constructor arguments that the file cannot hold, such as `reward_net_class`
    :raises FileError: the file is missing, damaged, or holds no reward
    """
    archive = serialization.read_archive(path)
    name = str(archive.data.get("algorithm", ""))
    if not name.startswith(_KIND):
        raise FileError(f"{path} holds a model of {name!r}, no reward alone; load it with load()")
    spec = next(
        (each for each in registry.list_algorithms() if each.entry_point == name[len(_KIND) :]),
        None,
    )
    if spec is None:
        raise FileError(f"{path} holds {name}, which is not registered here: install its package")
    cls: Any = spec.load()
    with serialization.refusing(f"{path} does not fit {cls.__name__}"):
        model = persistence.rebuild(cls, path, archive.data, env, device, kwargs)
        if set(archive.tensors) != set(model._reward_parts()):
            raise FileError(f"{path} holds {sorted(archive.tensors)}, not the parts of a reward")
        model.set_parameters(archive.tensors, exact_match=False, device=model.device)
    return SavedReward(model)


def train_on_reward(
    reward: Any,
    env: GymEnv | str,
    total_timesteps: int,
    algorithm_class: type[BaseAlgorithm] | str = "ppo",
    policy: Any = None,
    *,
    learned_weight: float = 1.0,
    environment_weight: float = 0.0,
    normalize_reward: bool = True,
    n_envs: int = 1,
    seed: int | None = None,
    callback: MaybeCallback = None,
    **kwargs: Any,
) -> Any:
    """Train a fresh SB3 agent on a learned reward, with or without the environment's own.

    :param reward: a model that learned one (`GAIL`, `AIRL`, ...), or what `load_reward` returned,
        or the path of such a file
    :param env: to learn in, whose dynamics may differ from those that the reward was learned in
    :param total_timesteps: environment steps
    :param algorithm_class: class or registered name
    :param policy: alias or class; None for the one that suits the observations
    :param learned_weight: of the learned reward
    :param environment_weight: of the environment's own
    :param normalize_reward: scale rewards by a running estimate of the return's deviation, for a
        learned reward has no scale (SB3's `VecNormalize`)
    :param n_envs: copies, where `env` is an id
    :param seed: of everything random
    :param callback: SB3's
    :param kwargs: of the constructor of `algorithm_class`
    :return: the SB3 model
    :raises UserError: `reward` is none
    """
    if isinstance(reward, str) or hasattr(reward, "__fspath__"):
        reward = load_reward(reward)
    if not hasattr(reward, "as_reward_wrapper"):
        raise UserError(
            f"reward={reward!r} is no learned reward: pass a model that learned one (GAIL, AIRL, "
            "...), or a file of save_reward()"
        )
    cls: Any = find_algorithm(algorithm_class)
    venv = make_vec(env, n_envs, seed) if isinstance(env, str) else cls._wrap_env(env)
    venv = reward.as_reward_wrapper(
        venv, learned_weight=learned_weight, environment_weight=environment_weight
    )
    if normalize_reward:
        discount = {"gamma": kwargs["gamma"]} if "gamma" in kwargs else {}
        venv = VecNormalize(venv, norm_obs=False, **discount)
    policy = policy or policy_alias(venv.observation_space, cls.policy_aliases)
    return cls(policy, venv, seed=seed, **kwargs).learn(total_timesteps, callback=callback)
