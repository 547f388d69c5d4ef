"""`Task`: what a check works with: the algorithm, a tiny environment and what it learns from.

The kit needs every algorithm to learn within a fraction of a second. `QUICK` holds small values for
the hyperparameters that decide about that, by the names that SB3 and this package use for them; a
constructor gets those that it knows. A plugin with others passes `hyperparameters=`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.persistence import constructor_arguments
from sb3_il_plus.registry import make
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.testing.environments import (
    CODES,
    EchoEnv,
    TabularEchoEnv,
    echo_demonstrations,
    echo_expert,
    make_echo,
)

QUICK: Mapping[str, Any] = {
    "batch_size": 16,
    "buffer_size": 500,
    "demo_batch_size": 16,
    "device": "cpu",
    "generator_kwargs": {"n_steps": 16, "batch_size": 16, "n_epochs": 2},
    "learning_starts": 16,
    "n_delta": 2,  # ARS
    "n_epochs": 2,
    "n_steps": 16,
    "policy_kwargs": {"net_arch": [16]},
    "pre_timesteps": 24,  # BCO
    "rollout_round_min_episodes": 1,
    "rollout_round_min_timesteps": 16,
    "train_freq": 8,
}

QUICK_FOR: Mapping[str, Mapping[str, Any]] = {
    "bcq": {"n_action_samples": 5, "policy_kwargs": {"net_arch": [16], "vae_arch": [16]}},
    "cal_ql": {"actor_learning_rate": None, "cql_n_actions": 2},
    "cql": {"actor_learning_rate": None, "cql_n_actions": 2},
    "decision_transformer": {
        "context_length": 4,
        "learning_rate": 1e-3,
        "policy_kwargs": {"embed_dim": 16, "n_layers": 1},
        "warmup_steps": 0,
    },
    "edac": {"n_critics": 3},
    "mce_irl": {"policy_kwargs": None, "reward_net_kwargs": {"hid_sizes": (16,)}},
    "percentile_bc": {"percentage": 50.0},
    "preference_comparisons": {
        "fragment_length": 2,
        "gatherer_kwargs": {"temperature": 0},
        "initial_epoch_multiplier": 5.0,
        "num_iterations": 2,
        "reward_net_kwargs": {"hid_sizes": (16,)},
        "reward_trainer_kwargs": {"batch_size": 10, "epochs": 2, "lr": 0.02},
        "total_comparisons": 50,
    },
    "sac_n": {"n_critics": 3},
    "sqil": {"generator_kwargs": {"batch_size": 16, "buffer_size": 500, "learning_starts": 16}},
}
"""What single algorithms need instead, by their names."""

_FRESH: Any = object()
"""Stands for a new environment."""


@dataclasses.dataclass(frozen=True)
class Task:
    """An algorithm under test, on an `EchoEnv` of given spaces.

    :param spec: the algorithm
    :param folder: an empty folder for the check's files
    :param hyperparameters: in place of, or beside, those in `QUICK`
    :param timesteps: of a short training
    :param seed: of everything random
    :param observation: name of the observation space; "" for the first that the spec claims
    :param action: name of the action space; "" for the first that the spec claims
    """

    spec: AlgorithmSpec
    folder: Path
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    timesteps: int = 48
    seed: int = 0
    observation: str = ""
    action: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "observation", self.observation or self._first("observation"))
        object.__setattr__(self, "action", self.action or self._first("action"))

    def _first(self, role: str) -> str:
        claimed = getattr(self.spec, f"{role}_spaces")
        known = [name for name in claimed if name in CODES]
        return next(iter(known), claimed[0])

    def within(self, observation: str | None = None, action: str | None = None) -> Task:
        """The same algorithm in other spaces."""
        return dataclasses.replace(
            self, observation=observation or self.observation, action=action or self.action
        )

    @cached_property
    def cls(self) -> Any:
        """The algorithm's class."""
        return self.spec.load()

    @property
    def env_class(self) -> type[EchoEnv]:
        """The class of the environment: one with a model for algorithms that plan."""
        return TabularEchoEnv if "model" in self.spec.consumes else EchoEnv

    @cached_property
    def demonstrations(self) -> Demonstrations:
        """What it learns from, where it reads demonstrations."""
        return echo_demonstrations(
            self.observation, self.action, seed=self.seed, env_class=self.env_class
        )

    @cached_property
    def sources(self) -> dict[str, Any]:
        """Constructor arguments that name what it learns from, beside the environment."""
        sources: dict[str, Any] = {}
        if "demonstrations" in self.spec.consumes:
            sources["demonstrations"] = self.demonstrations
        if "expert" in self.spec.consumes:
            sources["expert"] = echo_expert(self.observation, self.action)
        return sources

    def env(self, n_envs: int = 1, *, subprocesses: bool = False) -> VecEnv:
        """A freshly seeded environment."""
        return make_echo(
            self.observation,
            self.action,
            n_envs,
            seed=self.seed,
            subprocesses=subprocesses,
            env_class=self.env_class,
        )

    def model(self, env: Any = _FRESH, without: str | None = None, **changes: Any) -> Any:
        """Build the algorithm with all that it consumes.

        :param env: the environment; by default a new one
        :param without: a constructor argument to leave out
        :param changes: constructor arguments to change
        """
        given = {**self._quick(), **self.sources, **self.hyperparameters}
        arguments = {"seed": self.seed, **given, **changes}
        arguments.pop(without or "", None)
        return make(self.spec.name, self.env() if env is _FRESH else env, **arguments)

    def trained(self, env: Any = _FRESH, **changes: Any) -> Any:
        """Build it and train it for a short while."""
        return self.model(env, **changes).learn(self.timesteps)

    def load(self, path: str | Path, env: VecEnv | None = None) -> Any:
        """Read a saved model, with all that it consumes."""
        return self.cls.load(path, env=env, device="cpu", **self.sources)

    def observations(self, n: int = 8) -> Any:
        """A batch of observations, as an environment of `n` copies shows them."""
        return self.env(n).reset()

    def _quick(self) -> dict[str, Any]:
        known = constructor_arguments(self.cls)
        if "buffer_size" in known:
            known.discard("n_steps")  # off-policy, these are the steps of n-step returns
        # Copies, because SB3 writes into the policy_kwargs that it is given.
        values = {**QUICK, **QUICK_FOR.get(self.spec.name, {})}
        return {name: deepcopy(value) for name, value in values.items() if name in known}


def named_tensors(parameters: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every number and tensor inside nested parameters (optimisers' too) with its path."""
    for key, value in parameters.items():
        name = f"{prefix}{key}"
        if isinstance(value, list):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            yield from named_tensors(value, f"{name}.")
        elif isinstance(value, (th.Tensor, int, float)):
            yield name, value


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Names of what differs between two models' `get_parameters()`, bit for bit."""
    left, right = dict(named_tensors(first)), dict(named_tensors(second))
    names = sorted(left.keys() | right.keys())
    return [
        name
        for name in names
        if name not in left
        or name not in right
        or not th.equal(th.as_tensor(left[name]), th.as_tensor(right[name]))
    ]


def same_actions(first: Any, second: Any, observations: Any) -> bool:
    """Whether two models choose the same actions, bit for bit."""
    chosen = [model.predict(observations, deterministic=True)[0] for model in (first, second)]
    return np.array_equal(*chosen)
