"""Normalisation of observations that moves from a model to the `VecNormalize` of another one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_il_plus.environments import is_placeholder, make_env
from sb3_il_plus.errors import UserError
from sb3_il_plus.normalization import CLIP, StandardizedExtractor

COUNT = 10_000
"""Observations that the statistics of a model weigh as much as, so that a few new ones do not move
them."""


def carry(
    own: VecNormalize | None, own_env: VecEnv, env: Any, online: type[BaseAlgorithm]
) -> tuple[VecEnv, VecNormalize | None]:
    """The environment that a model goes on in, normalised as the present one is.

    :param own: the `VecNormalize` of the present environment
    :param own_env: the present environment
    :param env: the new one; None for the present one
    :return: the environment, and its `VecNormalize` where that still has to get statistics
    """
    if env is None:
        return own_env, None
    venv = online._wrap_env(make_env(env) if isinstance(env, str) else env)
    given = unwrap_vec_normalize(venv)
    fresh = given is not None and given.norm_obs and _count(given) < 1
    if own is None or not own.norm_obs or is_placeholder(own_env):
        return venv, given if fresh else None
    if given is None:
        given = venv = VecNormalize(venv, training=False, norm_reward=False)
        fresh = True
    if fresh:
        given.obs_rms = deepcopy(own.obs_rms)
        given.clip_obs, given.epsilon = own.clip_obs, own.epsilon
    return venv, None


def set_statistics(normalizer: VecNormalize, extractor: StandardizedExtractor) -> None:
    """Give a `VecNormalize` the statistics of a policy.

    :raises UserError: it leaves out an entry of a Dict that the policy normalises
    """
    is_dict = isinstance(normalizer.observation_space, spaces.Dict)
    running: Any = normalizer.obs_rms if is_dict else {None: normalizer.obs_rms}
    for name, statistics in extractor.statistics.items():
        key = name.removeprefix("key_") if is_dict else None
        if key not in running:
            raise UserError(
                f"the policy normalises the entry {key!r} of observations, and the VecNormalize "
                f"does not: add it to norm_obs_keys"
            )
        mean, std = (
            np.asarray(value.cpu(), dtype=np.float64) for value in (statistics.mean, statistics.std)
        )
        running[key].mean = mean
        running[key].var = np.maximum(std**2 - normalizer.epsilon, 0.0)
        running[key].count = COUNT
    normalizer.clip_obs = CLIP


def _count(normalizer: VecNormalize) -> float:
    running: Any = normalizer.obs_rms
    every = running.values() if isinstance(running, dict) else [running]
    return max((each.count for each in every), default=0.0)
