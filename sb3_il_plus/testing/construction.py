"""Checks: how an algorithm is built, and what its signature promises."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from gymnasium import Env
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_il_plus.algorithm import DemonstrationAlgorithm
from sb3_il_plus.persistence import constructor_arguments
from sb3_il_plus.registry import registry
from sb3_il_plus.testing.check import (
    Check,
    acts_in_environment,
    always,
    expect,
    learns_from_demonstrator,
    needs_no_environment,
)
from sb3_il_plus.testing.environments import registered_echo
from sb3_il_plus.testing.task import Task

_CONSTRUCTOR = ("policy", "env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device")
_LEARN = (
    "total_timesteps",
    "callback",
    "log_interval",
    "tb_log_name",
    "reset_num_timesteps",
    "progress_bar",
)


def check_class(task: Task) -> None:
    """The spec leads to an SB3 algorithm; ours extend `DemonstrationAlgorithm` and know it."""
    expect(
        isinstance(task.cls, type) and issubclass(task.cls, BaseAlgorithm),
        f"{task.spec.entry_point} is {task.cls!r}, no subclass of SB3's BaseAlgorithm",
    )
    if learns_from_demonstrator(task.spec):
        expect(
            issubclass(task.cls, DemonstrationAlgorithm),
            f"{task.cls.__name__} does not extend sb3_il_plus.DemonstrationAlgorithm",
        )
        home = f"{task.cls.__module__}:{task.cls.__qualname__}"
        expect(
            task.spec.entry_point == home,
            f"the spec's entry_point is {task.spec.entry_point!r}; it must be {home!r}, where the "
            "class is defined, because saved models are found by it",
        )
        found = registry.spec_of(task.cls)
        expect(
            found is not None and found.entry_point == home,
            f"the registry knows the class {task.cls.__name__} as {found}",
        )


def check_signature(task: Task) -> None:
    """Constructor and `learn` take SB3's arguments under SB3's names, with defaults."""
    expected = {*_CONSTRUCTOR, *(["demonstrations"] if learns_from_demonstrator(task.spec) else [])}
    missing = expected - constructor_arguments(task.cls)
    expect(not missing, f"the constructor lacks the arguments {sorted(missing)}")
    positional = list(inspect.signature(task.cls).parameters)[:2]
    expect(positional == ["policy", "env"], f"the constructor begins with {positional}")
    parameters = inspect.signature(task.cls.learn).parameters
    missing = set(_LEARN) - set(parameters)
    expect(not missing, f"learn() lacks the arguments {sorted(missing)}")
    required = [name for name in _LEARN[1:] if parameters[name].default is inspect.Parameter.empty]
    expect(not required, f"learn() has no defaults for {required}")


def check_construction_from_id(task: Task) -> None:
    """An environment id is enough."""
    with registered_echo(task.observation, task.action, task.env_class) as env_id:
        _expect_ready(task, task.model(env_id))


def check_construction_from_env(task: Task) -> None:
    """So is a plain `Env`."""
    env: Env = task.env_class(task.observation, task.action)
    model = task.model(env)
    _expect_ready(task, model)
    model.learn(task.timesteps)


def check_construction_from_dummy_vec_env(task: Task) -> None:
    """A `DummyVecEnv` of two copies is learned from."""
    model = task.model(task.env(2))
    _expect_ready(task, model)
    expect(model.n_envs == 2, f"n_envs is {model.n_envs} for a VecEnv of two copies")
    model.learn(task.timesteps)


def check_construction_from_subproc_vec_env(task: Task) -> None:
    """A `SubprocVecEnv` of two copies is learned from."""
    env = task.env(2, subprocesses=True)
    try:
        model = task.model(env)
        _expect_ready(task, model)
        model.learn(task.timesteps)
    finally:
        env.close()


def check_construction_from_data(task: Task) -> None:
    """Without an environment, the spaces are the data's, and it learns and predicts."""
    model = task.trained(env=None)
    for role in ("observation_space", "action_space"):
        space, expected = getattr(model, role), getattr(task.demonstrations, role)
        expect(space == expected, f"{role} is {space}, the demonstrations have {expected}")
    _expect_ready(task, model)


def check_policy(task: Task) -> None:
    """`model.policy` is a policy of SB3's kind, from the class's own aliases."""
    model = task.model()
    expect(
        isinstance(model.policy, BasePolicy),
        f"model.policy is a {type(model.policy).__name__}, no SB3 policy",
    )
    expect(
        type(model.policy) in model.policy_aliases.values(),
        f"model.policy is a {type(model.policy).__name__}; the aliases name "
        f"{[policy.__name__ for policy in model.policy_aliases.values()]}",
    )


def check_global_random_state(task: Task) -> None:
    """Learning from data leaves NumPy's global generator alone (SB3's buffers draw from it)."""
    model = task.model()
    before: Any = np.random.get_state()
    model.learn(task.timesteps)
    after: Any = np.random.get_state()
    expect(
        np.array_equal(before[1], after[1]) and before[2] == after[2],
        "learn() drew from NumPy's global generator",
    )


def _expect_ready(task: Task, model: Any) -> None:
    """The spaces are the environment's and an observation leads to an action."""
    expect(isinstance(model, task.cls), f"make() returned a {type(model).__name__}")
    observation = task.env_class(task.observation, task.action).reset(seed=task.seed)[0]
    action, _ = model.predict(observation)
    expect(
        model.action_space.contains(action),
        f"the action {action!r} is not in the action space {model.action_space}",
    )


CHECKS = (
    Check(check_class),
    Check(check_signature),
    Check(check_construction_from_id),
    Check(check_construction_from_env),
    Check(check_construction_from_dummy_vec_env),
    Check(check_construction_from_subproc_vec_env, acts_in_environment),
    Check(check_construction_from_data, needs_no_environment),
    Check(check_policy, always),
    Check(check_global_random_state, needs_no_environment),
)
