"""`train_expert`: a good demonstrator for an environment, trained once and then taken from a cache.

The cache is a folder of `Expert.save` files: `cache_dir=`, or `experts` in the folder that the
environment variable SB3_IL_PLUS_CACHE names, or in the user's cache folder (on Linux
`~/.cache/sb3_il_plus/experts`). A file's name holds a hash of all that decides its content, so it
never needs to be invalidated and may be deleted at any time. A lock per file lets two processes
that want the same expert train it once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import platformdirs
import stable_baselines3
from filelock import FileLock
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_il_plus.environments import make_env, make_vec, policy_alias
from sb3_il_plus.errors import FileError, InapplicableError, UserError
from sb3_il_plus.evaluation import evaluate, evaluate_random, global_seed
from sb3_il_plus.experts.expert import Expert, ObservationStatistics
from sb3_il_plus.experts.loading import load_expert
from sb3_il_plus.experts.zoo import Hyperparameters, tuned_hyperparameters
from sb3_il_plus.randomness import child_seed
from sb3_il_plus.registry import registry
from sb3_il_plus.serialization import encode

CACHE_VARIABLE = "SB3_IL_PLUS_CACHE"

TRAINED_IN = {"seals/CartPole-v0": "CartPole-v1", "seals/MountainCar-v0": "MountainCar-v0"}
"""Environments of fixed horizon -> their form that ends early, in which their experts are trained.

An agent earns the same in both, but RL Zoo's hyperparameters are tuned for the latter: of 6 seeds
of PPO in seals/CartPole-v0, 3 stayed below 350 of 500; of 8 in CartPole-v1, none.
"""


@dataclass(frozen=True)
class Training:
    """What decides how an agent turns out.

    :param env_id: where it is measured, and trained unless `TRAINED_IN` says otherwise
    :param algorithm: of the registry
    :param hyperparameters: arguments and budget
    :param seed: of the training and of the evaluation
    :param stopped_at: mean return at which the training ends early; None for the whole budget
    :param deterministic: whether returns are those of the most likely actions, or of sampled ones
    """

    env_id: str
    algorithm: str
    hyperparameters: Hyperparameters
    seed: int
    stopped_at: float | None = None
    deterministic: bool = True

    @classmethod
    def tuned(
        cls,
        env_id: str,
        algorithm: str,
        total_timesteps: int | None,
        seed: int,
        hyperparameters: Mapping[str, Any] | None,
        **others: Any,
    ) -> Training:
        """With RL Zoo's hyperparameters and changes to them; see `train_expert` for the arguments.

        :param others: `stopped_at` and `deterministic`
        :raises UserError: as `train_expert`
        """
        if total_timesteps is not None and total_timesteps < 1:
            raise UserError(f"total_timesteps={total_timesteps} must be at least 1")
        _check_applicable(env_id, algorithm)
        tuned = tuned_hyperparameters(algorithm, env_id).updated(hyperparameters or {})
        if total_timesteps is not None:
            tuned = tuned.updated({"n_timesteps": total_timesteps})
        training = cls(env_id, algorithm, tuned, seed, **others)
        _check_storable(training)
        return training

    @property
    def trained_in(self) -> str:
        """The environment to train in; the return is always measured in `env_id`.

        What an agent sees that is stopped early becomes data, so it sees `env_id` itself.
        """
        return TRAINED_IN.get(self.env_id, self.env_id) if self.stopped_at is None else self.env_id

    def make_vec(self) -> VecEnv:
        """The environment to train in."""
        return make_vec(self.trained_in, self.hyperparameters.n_envs)

    def facts(self) -> dict[str, Any]:
        """All of it, as JSON."""
        stop = {"stopped_at": self.stopped_at, "deterministic": self.deterministic}
        return {
            **({} if self.stopped_at is None else stop),
            "env_id": self.env_id,
            "trained_in": self.trained_in,
            "algorithm": self.algorithm,
            "hyperparameters": encode(self.hyperparameters.settings),
            "seed": self.seed,
            "stable_baselines3": stable_baselines3.__version__,
        }

    def file_name(self) -> str:
        """A name that only the same training has."""
        content = json.dumps(self.facts(), sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        return f"{self.algorithm}-{self.env_id.replace('/', '-')}-{digest}.zip"


def train_expert(
    env_id: str,
    algorithm: str = "ppo",
    *,
    total_timesteps: int | None = None,
    seed: int = 0,
    hyperparameters: Mapping[str, Any] | None = None,
    cache_dir: str | Path | None = None,
    retrain: bool = False,
    n_eval_episodes: int = 20,
    progress_bar: bool = False,
    verbose: int = 0,
) -> Expert:
    """Train an expert with RL Zoo's tuned hyperparameters, or take it from the cache.

    :param env_id: id of the environment
    :param algorithm: a reinforcement-learning algorithm of the registry
    :param total_timesteps: environment steps; by default as many as RL Zoo
    :param seed: of the training and of the evaluation
    :param hyperparameters: changes to the tuned ones, in RL Zoo's form: arguments of the algorithm,
        `policy`, `n_envs`, `normalize`; None takes one out
    :param cache_dir: folder to keep experts in (see the top of this file)
    :param retrain: train even where the cache has it
    :param n_eval_episodes: episodes to measure its return with
    :param progress_bar: show one while training
    :param verbose: SB3's verbosity
    :return: an expert whose `metadata` says how it was made and what it reaches (`mean_return`,
        `std_return`, `random_return`)
    :raises UnknownNameError: no such environment or algorithm
    :raises InapplicableError: the algorithm does not fit the environment
    :raises MissingExtraError: `rl_zoo3` is not installed
    :raises FileError: the cache folder cannot be written
    :raises UserError: the trained agent is no better than random actions
    """
    if n_eval_episodes < 1:
        raise UserError(f"n_eval_episodes={n_eval_episodes} must be at least 1")
    training = Training.tuned(env_id, algorithm, total_timesteps, seed, hyperparameters)
    path = cache_folder(cache_dir) / training.file_name()
    with locked(path):
        expert = None if retrain else cached(path)
        if expert is None:
            with closing(training.make_vec()) as venv:
                expert = train(training, venv, progress_bar=progress_bar, verbose=verbose)
            measure(expert, training, n_eval_episodes)
            _check_return(expert)
            expert.save(path)
    _warn_if_weak(expert)
    return expert


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder that trained experts are kept in."""
    if cache_dir is not None:
        return Path(cache_dir)
    root = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("sb3_il_plus")
    return Path(root) / "experts"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from making the file `path` meanwhile."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise FileError(
            f"cannot write to the cache folder {str(path.parent)!r} ({error}); choose another with "
            f"cache_dir=, or with the environment variable {CACHE_VARIABLE}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _check_applicable(env_id: str, algorithm: str) -> None:
    """Refuse what cannot work before anything is trained."""
    spec = registry.get(algorithm)
    if lacking := sorted(spec.consumes - {"environment", "rewards"}):
        known = registry.list_algorithms(consumes={"environment", "rewards"})
        raise InapplicableError(
            f"an expert is trained by reinforcement learning alone, and {algorithm!r} also needs "
            f"{' and '.join(lacking)}; choose from {', '.join(other.name for other in known)}"
        )
    env = make_env(env_id)
    env.close()
    if reason := spec.refusal(env.observation_space, env.action_space):
        raise InapplicableError(f"no expert for {env_id}: {reason}")


def _check_storable(task: Training) -> None:
    """Refuse functions: the cache cannot tell one from another."""
    for name, value in task.facts()["hyperparameters"].items():
        if "!unsaved" in json.dumps(value):
            raise UserError(
                f"hyperparameter {name!r} holds a function or an object, which cannot be stored "
                "with the expert; write schedules as 'lin_0.001' and noise as noise_type='normal', "
                "noise_std=0.1, or train the model yourself and pass it"
            )


def cached(path: Path) -> Expert | None:
    """The expert in a file of the cache, or None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        return load_expert(path)
    except FileError as error:
        warnings.warn(f"the cached expert is damaged and is trained again: {error}", stacklevel=3)
        return None


def train(
    training: Training,
    venv: VecEnv,
    *,
    callback: MaybeCallback = None,
    progress_bar: bool = False,
    verbose: int = 0,
) -> Expert:
    """Train an agent; it is neither measured nor kept.

    :param venv: what `training.make_vec` gave, or a wrapper around it
    :param callback: SB3's, which may end the training early
    """
    started = time.perf_counter()
    with global_seed(training.seed):
        model = _build_model(training, venv, verbose)
        steps = training.hyperparameters.total_timesteps
        model.learn(steps, callback=callback, progress_bar=progress_bar)
    seconds = time.perf_counter() - started
    env = make_env(training.env_id)
    env.close()
    return Expert(
        model.policy,
        env.observation_space,
        env.action_space,
        name=f"{training.algorithm} on {training.env_id}",
        statistics=ObservationStatistics.from_vec_normalize(model.get_vec_normalize_env()),
        metadata={
            **training.facts(),
            "hyperparameters_source": training.hyperparameters.source,
            "total_timesteps": int(model.num_timesteps),
            "training_seconds": round(seconds, 3),
        },
    )


def _build_model(task: Training, venv: VecEnv, verbose: int) -> Any:
    tuned = task.hyperparameters
    policy = tuned.policy or policy_alias(venv.observation_space)
    arguments = tuned.algorithm_arguments(venv.action_space)
    normalize = tuned.normalize_arguments()
    try:
        if normalize is not None:
            venv = VecNormalize(venv, **normalize)
        seed = child_seed(task.seed, "expert")
        algorithm: Any = registry.get(task.algorithm).load()
        return algorithm(policy, venv, seed=seed, verbose=verbose, **arguments)
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"{task.algorithm} refuses its hyperparameters: {error}") from error


def measure(expert: Expert, task: Training, n_episodes: int) -> None:
    """Note what the expert reaches, and random actions beside it."""
    own = evaluate(
        expert, task.env_id, n_episodes, seed=task.seed, deterministic=task.deterministic
    )
    random = evaluate_random(task.env_id, n_episodes, task.seed)
    thresholds = [gym.spec(env_id).reward_threshold for env_id in (task.env_id, task.trained_in)]
    expert.metadata |= {
        "n_eval_episodes": n_episodes,
        "mean_return": own.mean_return,
        "std_return": own.std_return,
        "random_return": random.mean_return,
        "random_std_return": random.std_return,
        "reward_threshold": next((limit for limit in thresholds if limit is not None), None),
    }


def _check_return(expert: Expert) -> None:
    """Refuse an agent whose return cannot be told from that of random actions."""
    facts = expert.metadata
    error = np.hypot(facts["std_return"], facts["random_std_return"]) / np.sqrt(
        facts["n_eval_episodes"]
    )
    if facts["mean_return"] - facts["random_return"] <= error:
        raise UserError(
            f"{facts['algorithm']} reached a return of {facts['mean_return']:.1f} in "
            f"{facts['env_id']} after {facts['total_timesteps']} steps, no better than random "
            f"actions ({facts['random_return']:.1f} +/- {error:.1f}): train it for longer "
            "(total_timesteps=), with another algorithm=, or with other hyperparameters="
        )


def _warn_if_weak(expert: Expert) -> None:
    facts = expert.metadata
    threshold = facts["reward_threshold"]
    if threshold is not None and facts["mean_return"] < threshold:
        warnings.warn(
            f"the expert reaches a return of {facts['mean_return']:.1f} in {facts['env_id']}, "
            f"below the {threshold:.1f} at which the environment counts as solved",
            stacklevel=3,
        )
