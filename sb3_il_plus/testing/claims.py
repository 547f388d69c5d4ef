"""Checks: the spec's claims, and bad input."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.state_only import with_actions
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.testing.check import (
    Check,
    expect,
    expect_error,
    learns_from_demonstrator,
    reads_demonstrations,
)
from sb3_il_plus.testing.environments import echo_demonstrations
from sb3_il_plus.testing.task import Task, differing


def check_spec(task: Task) -> None:
    """The spec is filled in: a family, a summary of one line, something to learn from."""
    spec = task.spec
    expect(spec.error is None, f"the spec says {spec.error}")
    expect(spec.name == spec.name.lower(), f"the name {spec.name!r} is not in lower case")
    expect(
        spec.summary and "\n" not in spec.summary, f"the summary is {spec.summary!r}, not one line"
    )
    expect(spec.consumes, "the spec's `consumes` is empty: it learns from nothing")


def check_needs_demonstrations(task: Task) -> None:
    """Without demonstrations, an error says so."""
    with expect_error(UserError, "demonstration", doing="learning without demonstrations"):
        task.model(without="demonstrations").learn(task.timesteps)


def check_needs_rewards(task: Task) -> None:
    """Without rewards in the demonstrations, an error says so."""
    bare = dataclasses.replace(task.demonstrations, rewards=None)
    with expect_error(UserError, "reward", doing="learning from data without rewards"):
        task.model(demonstrations=bare).learn(task.timesteps)


def check_needs_environment(task: Task) -> None:
    """Without an environment, an error says so."""
    data = task.sources.get("demonstrations", echo_demonstrations(task.observation, task.action))
    with expect_error(UserError, "environment", "env", doing="learning without an environment"):
        task.model(env=None, demonstrations=data).learn(task.timesteps)


def check_needs_expert(task: Task) -> None:
    """Without a demonstrator to ask, an error says so."""
    with expect_error(UserError, "expert", doing="learning without an expert"):
        task.model(without="expert").learn(task.timesteps)


def check_reads_no_demonstrations(task: Task) -> None:
    """Online RL refuses demonstrations instead of ignoring them."""
    data = echo_demonstrations(task.observation, task.action)
    with expect_error(InapplicableError, "demonstration", doing="make() with demonstrations"):
        task.model(demonstrations=data)


def check_needs_env_or_data(task: Task) -> None:
    """Without an environment and without data, an error says that one is needed."""
    with expect_error(InapplicableError, "env", doing="make() without anything"):
        task.model(env=None, without="demonstrations")


def check_total_timesteps(task: Task) -> None:
    """`total_timesteps` below 1 is refused."""
    with expect_error(UserError, "total_timesteps", doing="learn(0)"):
        task.model().learn(0)


def check_bad_demonstrations(task: Task) -> None:
    """Demonstrations of another environment, broken ones and a single step are refused."""
    good = task.demonstrations
    for what, data in (
        ("of another action space", _other_actions(task)),
        ("with a NaN", _with_nan(good)),
        ("of a single step", good.subsample(10**6)[0]),
    ):
        if data is not None:
            with expect_error(DataError, doing=f"learning from demonstrations {what}"):
                task.model(demonstrations=data).learn(task.timesteps)


def check_few_demonstrations(task: Task) -> None:
    """Fewer transitions than a batch are learned from, or refused by their number."""
    few = task.demonstrations[0]
    try:
        task.model(demonstrations=few).learn(task.timesteps)
    except UserError as error:
        expect(
            str(len(few)) in str(error),
            f"{len(few)} transitions are refused without saying how many they are: {error}",
        )


def check_actions_unknown(task: Task) -> None:
    """Without actions, data is learned from or refused; where learned from, actions do nothing."""
    bare = task.demonstrations.without_actions()
    if task.spec.reads_actions:
        with expect_error(DataError, "action", doing="learning from data without actions"):
            task.model(demonstrations=bare).learn(task.timesteps)
        return
    scrambled = with_actions(bare, np.roll(task.demonstrations.actions, 1, axis=0))
    models = [task.trained(demonstrations=data) for data in (bare, scrambled, task.demonstrations)]
    for model in models[1:]:
        names = differing(models[0].get_parameters(), model.get_parameters())
        expect(not names, f"the spec says that actions are not read, but they change {names[:5]}")


def _other_actions(task: Task) -> Demonstrations:
    other = "Box" if task.action != "Box" else "Discrete"
    return echo_demonstrations(task.observation, other)


def _with_nan(data: Demonstrations) -> Demonstrations | None:
    columns: dict[str, Any] = {name: np.array(column) for name, column in data.columns().items()}
    observations = [name for name in columns if name.startswith("observations")]
    for name in observations:
        if columns[name].dtype.kind == "f":
            columns[name][3] = np.nan
            return Demonstrations.from_columns(columns, data.observation_space, data.action_space)
    return None


def _consumes(source: str) -> Any:
    def applies(spec: AlgorithmSpec) -> bool:
        return source in spec.consumes

    return applies


def _needs_rewarded_data(spec: AlgorithmSpec) -> bool:
    return {"demonstrations", "rewards"} <= spec.consumes


def _reads_no_demonstrations(spec: AlgorithmSpec) -> bool:
    return not learns_from_demonstrator(spec)


CHECKS = (
    Check(check_spec),
    Check(check_needs_demonstrations, reads_demonstrations),
    Check(check_needs_rewards, _needs_rewarded_data),
    Check(check_needs_environment, _consumes("environment")),
    Check(check_needs_expert, _consumes("expert")),
    Check(check_reads_no_demonstrations, _reads_no_demonstrations),
    Check(check_needs_env_or_data),
    Check(check_total_timesteps, learns_from_demonstrator),
    Check(check_bad_demonstrations, reads_demonstrations),
    Check(check_few_demonstrations, reads_demonstrations),
    Check(check_actions_unknown, reads_demonstrations),
)
