"""The one evaluator of the package: every return that is ever compared comes from here.

It runs SB3's `evaluate_policy` on environments of its own, with true rewards (those a `Monitor`
sees, never normalised ones), never changes the statistics of a `VecNormalize`, and leaves the
global random generators as it found them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecMonitor,
    VecNormalize,
    is_vecenv_wrapped,
    unwrap_vec_normalize,
)

from sb3_il_plus.data.masks import masks_for
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.experts.expert import as_expert, check_spaces, own_vec_normalize
from sb3_il_plus.randomness import child_seed


@dataclass(frozen=True)
class Evaluation:
    """What an agent reached, episode by episode.

    :param returns: undiscounted true returns, shape (n_episodes,)
    :param lengths: steps of each episode, shape (n_episodes,)
    """

    returns: np.ndarray
    lengths: np.ndarray

    @property
    def mean_return(self) -> float:
        """Mean over the episodes."""
        return float(np.mean(self.returns))

    @property
    def std_return(self) -> float:
        """Standard deviation over the episodes (as SB3: divided by n)."""
        return float(np.std(self.returns))

    def __str__(self) -> str:
        return f"{self.mean_return:.2f} +/- {self.std_return:.2f} over {len(self.returns)} episodes"


def evaluate(
    model: Any,
    env: str | gym.Env | VecEnv,
    n_episodes: int = 10,
    *,
    seed: int | None = None,
    deterministic: bool = True,
    n_envs: int = 1,
    callback: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
) -> Evaluation:
    """Run an agent and return the true return of each episode.

    :param model: anything with SB3's `predict`. A model or `Expert` that carries observation
        statistics is given raw observations; any other one what `env` gives, so a `VecNormalize`
        around `env` is used, but not updated. One that reads action masks is given those of `env`,
        and one that counts its rewards (`report_rewards`) is told them
    :param env: id (closed again at the end), `Env` or `VecEnv`
    :param n_episodes: spread evenly over the copies of the environment, so that short episodes are
        not counted more often than long ones
    :param seed: of the environments and of sampled actions; the same seed gives the same result
    :param deterministic: the most likely actions instead of sampled ones
    :param n_envs: copies to run, where `env` is an id
    :param callback: called for each copy after each of its steps, as SB3's `evaluate_policy` does:
        with that function's local and global variables
    :raises InapplicableError: the model was trained on other spaces
    """
    if n_episodes < 1:
        raise UserError(f"n_episodes={n_episodes} must be at least 1")
    with opened(env, n_envs) as venv:
        actor, venv = _matched(model, venv)
        if hasattr(model, "report_rewards"):
            venv = model.report_rewards(venv)
        if not (is_vecenv_wrapped(venv, VecMonitor) or venv.env_is_wrapped(Monitor)[0]):
            venv = VecMonitor(venv)
        masks = masks_for(actor, venv)
        if masks is not None:
            actor = _Masked(actor, masks)
        if seed is not None:
            venv.seed(child_seed(seed, "evaluation"))
        with frozen(venv), global_seed(seed):
            returns, lengths = evaluate_policy(
                actor,
                venv,
                n_episodes,
                deterministic,
                callback=callback,
                return_episode_rewards=True,
            )
    return Evaluation(np.asarray(returns, dtype=np.float64), np.asarray(lengths, dtype=np.int64))


def evaluate_random(
    env: str | gym.Env | VecEnv, n_episodes: int = 10, seed: int | None = None, *, n_envs: int = 1
) -> Evaluation:
    """Evaluate the policy that samples the action space uniformly; see `evaluate`."""
    with opened(env, n_envs) as venv:
        action_space = deepcopy(venv.action_space)
        action_space.seed(None if seed is None else child_seed(seed, "random policy"))
        policy = as_expert(
            lambda observation: action_space.sample(), venv.observation_space, action_space
        )
        return evaluate(policy, venv, n_episodes, seed=seed)


@contextmanager
def global_seed(seed: int | None) -> Iterator[None]:
    """Seed the global generators that SB3's policies sample from, and restore them afterwards."""
    if seed is None:
        yield
        return
    devices = [th.cuda.current_device()] if th.cuda.is_available() else []
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with th.random.fork_rng(devices=devices):
        try:
            sampling_seed = child_seed(seed, "sampled actions")
            random.seed(sampling_seed)
            np.random.seed(sampling_seed)
            th.manual_seed(sampling_seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@contextmanager
def opened(env: str | gym.Env | VecEnv, n_envs: int) -> Iterator[VecEnv]:
    """Give a `VecEnv`; one that was built here is closed again.

    :param n_envs: copies to build, where `env` is an id
    """
    if isinstance(env, VecEnv):
        yield env
    elif isinstance(env, str):
        venv = make_vec(env, n_envs)
        try:
            yield venv
        finally:
            venv.close()
    elif isinstance(env, gym.Env):
        yield DummyVecEnv([lambda: env])
    else:
        raise UserError(f"env={env!r} is neither an environment id, nor an Env, nor a VecEnv")


def _matched(model: Any, venv: VecEnv) -> tuple[Any, VecEnv]:
    """Pair the model with the environment whose observations it expects.

    An agent that normalises for itself must not be given normalised observations.
    """
    if not hasattr(model, "predict"):
        raise InapplicableError(
            f"{model!r} has no predict(); wrap a function with "
            "as_expert(function, env.observation_space, env.action_space)"
        )
    normalized = unwrap_vec_normalize(venv)
    if normalized is None and own_vec_normalize(model) is not None:
        return as_expert(model, venv.observation_space, venv.action_space), venv
    if normalized is not None and getattr(model, "raw_observations", False):
        venv = normalized.venv
    check_spaces(model, venv.observation_space, venv.action_space)
    return model, venv


class _Masked:
    """An agent that is told which choices are allowed, for SB3's `evaluate_policy`.

    :param actor: reads action masks
    :param masks: gives those of every copy's next action
    """

    def __init__(self, actor: Any, masks: Callable[[], np.ndarray]) -> None:
        self._actor, self._masks = actor, masks

    def predict(self, observation: Any, **options: Any) -> Any:
        return self._actor.predict(observation, action_masks=self._masks(), **options)


@contextmanager
def frozen(venv: VecEnv) -> Iterator[None]:
    """Keep a `VecNormalize` from learning from the evaluation, and from scaling its rewards."""
    normalized: VecNormalize | None = unwrap_vec_normalize(venv)
    if normalized is None:
        yield
        return
    before = normalized.training, normalized.norm_reward
    normalized.training, normalized.norm_reward = False, False
    try:
        yield
    finally:
        normalized.training, normalized.norm_reward = before
