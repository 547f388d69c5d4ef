"""Checks: what `predict` takes and returns, in every space that the spec claims."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Env, spaces

from sb3_il_plus.environments import policy_alias
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.testing.check import Check, expect, expect_error, learns_from_demonstrator
from sb3_il_plus.testing.environments import CODES, EchoEnv
from sb3_il_plus.testing.task import Task, same_actions


def check_claimed_observations(task: Task) -> None:
    """It learns from observations of every claimed space, acts on them, and can be loaded again."""
    for name in _known(task.spec.observation_spaces):
        expect_works(task.within(observation=name))


def check_claimed_actions(task: Task) -> None:
    """It learns and predicts actions of every claimed space, and can be loaded again."""
    for name in _known(task.spec.action_spaces):
        expect_works(task.within(action=name))


def check_unclaimed_spaces(task: Task) -> None:
    """Spaces that the spec does not claim are refused before anything is built."""
    for role, claimed in (
        ("observation", task.spec.observation_spaces),
        ("action", task.spec.action_spaces),
    ):
        for name in CODES.keys() - set(claimed):
            expect_refused(task, task.within(**{role: name}), f"a {name} {role} space")


def check_predict_in_vec_env(task: Task) -> None:
    """Predictions step the environment that they were made for."""
    env = task.env(3)
    model = task.trained(task.env())
    observations = env.reset()
    for _ in range(3):
        actions, _ = model.predict(observations)
        observations, rewards, _, _ = env.step(actions)
    expect(np.shape(rewards) == (3,), f"three environments returned rewards {rewards}")
    expect(
        model.policy.training is False,
        "model.policy is still in training mode after learn() and predict()",
    )


def check_predict_leaves_observations(task: Task) -> None:
    """`predict` does not write into what it is given."""
    model = task.model()
    given, untouched = task.observations(), task.observations()
    model.predict(given)
    pairs = (
        [(given[key], untouched[key]) for key in given]
        if isinstance(given, dict)
        else [(given, untouched)]
    )
    expect(all(np.array_equal(left, right) for left, right in pairs), "predict() changed its input")


def _known(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in CODES]


def expect_works(task: Task) -> None:
    """In the task's spaces, it learns, predicts, and does the same when it is saved and loaded."""
    where = f"with {task.observation} observations and {task.action} actions"
    try:
        model = task.trained()
    except Exception as error:
        raise AssertionError(f"{where}, learning raised {type(error).__name__}: {error}") from error
    batch = task.observations(5)
    _expect_actions(model, batch, _single(task), where)
    model.save(task.folder / "model.zip")
    expect(
        same_actions(model, task.load(task.folder / "model.zip"), batch),
        f"{where}, a loaded model chooses other actions",
    )


def _expect_actions(model: Any, batch: Any, single: Any, where: str) -> None:
    space = model.action_space
    for observation, shape in ((single, ()), (batch, (5,))):
        action, _ = model.predict(observation, deterministic=True)
        again, _ = model.predict(observation, deterministic=True)
        expect(np.array_equal(action, again), f"{where}, deterministic actions differ")
        kind = np.asarray(action).dtype
        # SB3's Bernoulli distribution gives MultiBinary actions as floats.
        kind_fits = kind == space.dtype or isinstance(space, spaces.MultiBinary)
        expect(
            np.shape(action) == (*shape, *space.shape) and kind_fits,
            f"{where}, predict() returned shape {np.shape(action)} and dtype {kind} for "
            f"{'a batch of 5' if shape else 'one observation'}; "
            f"expected {(*shape, *space.shape)} and {space.dtype}",
        )
        for one in action if shape else [action]:
            expect(space.contains(one), f"{where}, the action {one!r} is not in {space}")


def expect_refused(task: Task, other: Task, what: str) -> None:
    """In the spaces of `other`, it is refused when it is built.

    :param what: which spaces these are, for the message
    """
    env: Env = EchoEnv(other.observation, other.action)
    with expect_error(InapplicableError, doing=f"make() with {what}"):
        task.model(env, without="demonstrations")
    if learns_from_demonstrator(task.spec):
        with expect_error(InapplicableError, doing=f"the constructor with {what}"):
            task.cls(policy_alias(env.observation_space), env)


def _single(task: Task) -> Any:
    return task.env_class(task.observation, task.action).reset(seed=task.seed)[0]


CHECKS = (
    Check(check_claimed_observations),
    Check(check_claimed_actions),
    Check(check_unclaimed_spaces),
    Check(check_predict_in_vec_env),
    Check(check_predict_leaves_observations),
)
