"""Hindsight: wherever an episode led, it shows how to get there.

    more = relabel_goals(data, n_copies=4, seed=0)
    model = ConditionalBC("GoalPolicy", None, more)

Andrychowicz et al. 2017, arXiv:1707.01495 (HER), section 3.3 and 4.5; for cloning, Ghosh et al.
2021, arXiv:1912.06088 (GCSL).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from sb3_il_plus.conditional.commands import COMMAND, DESIRED_GOAL
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.entries import as_entries, with_entry, without_entries
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.randomness import child_generator

ACHIEVED_GOAL = "achieved_goal"
"""Entry of a Dict observation that says which goal would be reached now."""

Strategy = Literal["future", "final", "episode"]


def relabel_goals(
    demonstrations: Demonstrations,
    n_copies: int = 4,
    strategy: Strategy = "future",
    *,
    seed: int,
    env: Any = None,
    keep_original: bool = True,
) -> Demonstrations:
    """Add copies of all steps, whose goals are replaced by goals that their episode achieved.

    With `"final"`, that is the last one, and copies are whole episodes. With `"future"` (one that
    is achieved after the step, the paper's best) and `"episode"` (any of the episode's), every step
    has a goal of its own, so copies are fragments of one step.

    :param demonstrations: observations are Dicts with the entries `"achieved_goal"` and `"command"`
        (or `"desired_goal"`), of equal shape
    :param n_copies: of every step; the paper's k, of which it has 4 and 8 as the best. `"final"`
        leaves no choice, so there is one
    :param strategy: `"future"`, `"final"` or `"episode"`
    :param seed: of the choice
    :param env: has gymnasium-robotics' `compute_reward`, with which the rewards of all steps are
        computed anew, and `compute_terminated`, if it has that, for their ends; without it rewards
        are left out, as those that were given are none for other goals
    :param keep_original: whether the demonstrations themselves come first
    :raises InapplicableError: an entry is missing, their shapes differ, or `env` computes no reward
    :raises UserError: there is no such strategy, or `n_copies` does not fit it
    """
    goal = _goal_entry(demonstrations)
    if strategy not in get_args(Strategy):
        known = ", ".join(map(repr, get_args(Strategy)))
        raise UserError(f"strategy={strategy!r} must be one of {known}")
    if n_copies < 1:
        raise UserError(f"n_copies={n_copies} must be at least 1")
    rng = child_generator(seed, "hindsight")
    n_copies = 1 if strategy == "final" else n_copies
    copies = [_copy(demonstrations, goal, strategy, rng) for _ in range(n_copies)]
    parts = [dataclasses.replace(demonstrations, rewards=None), *copies]
    relabelled = Demonstrations.concatenate(parts if keep_original else copies)
    return relabelled if env is None else _rewarded(relabelled, goal, env)


def _goal_entry(data: Demonstrations) -> str:
    entries = as_entries(data.observation_space)
    goal = COMMAND if COMMAND in entries else DESIRED_GOAL
    if missing := {goal, ACHIEVED_GOAL} - set(entries):
        raise InapplicableError(
            f"hindsight needs the entries {ACHIEVED_GOAL!r} and {COMMAND!r} or {DESIRED_GOAL!r} of "
            f"the observations, which have {sorted(entries)}: {sorted(missing)} are missing"
        )
    spaces_of = entries[goal], entries[ACHIEVED_GOAL]
    if (
        not all(isinstance(s, spaces.Box) for s in spaces_of)
        or len({s.shape for s in spaces_of}) > 1
    ):
        raise InapplicableError(
            f"what is achieved, {spaces_of[1]}, cannot be a goal of {spaces_of[0]}: that needs "
            "two Box spaces of one shape"
        )
    return goal


def _copy(
    data: Demonstrations, goal: str, strategy: Strategy, rng: np.random.Generator
) -> Demonstrations:
    """All steps once, with other goals."""
    ends = data.offsets[1:][data.episode_index]
    rows = data.observation_rows(np.arange(len(data)))
    last = rows + ends - np.arange(len(data))
    if strategy == "final":
        copied, chosen = data, last[data.offsets[:-1]]
    else:
        # Rows are those of observations; the first one that a step can lead to is the next.
        first = (
            rows + 1
            if strategy == "future"
            else last - data.episode_lengths[data.episode_index] + 1
        )
        copied, chosen = data.subsample(1), rng.integers(first, last + 1)
    assert isinstance(data.observations, dict)
    space: Any = as_entries(data.observation_space)[goal]
    goals = data.observations[ACHIEVED_GOAL][chosen].astype(space.dtype)
    relabelled = with_entry(
        without_entries(copied, [goal]),
        goal,
        np.repeat(goals, copied.episode_lengths + 1, axis=0),
        space,
    )
    return dataclasses.replace(relabelled, rewards=None, metadata=data.metadata)


def _rewarded(data: Demonstrations, goal: str, env: Any) -> Demonstrations:
    """With the rewards, and ends, that the environment gives for what is achieved."""
    world = getattr(env, "unwrapped", env)
    if not hasattr(world, "compute_reward"):
        raise InapplicableError(
            f"{env} has no compute_reward(achieved_goal, desired_goal, info), as goal-conditioned "
            "environments have"
        )
    following: Any = data.next_observations_at(np.arange(len(data)))
    achieved, goals = following[ACHIEVED_GOAL], following[goal]
    infos = np.array([{} for _ in range(len(data))])
    rewards = np.asarray(world.compute_reward(achieved, goals, infos), dtype=np.float64)
    if rewards.shape != (len(data),):
        raise DataError(
            f"compute_reward() of {env} gave rewards of shape {rewards.shape} for {len(data)} goals"
        )
    if not hasattr(world, "compute_terminated"):
        return dataclasses.replace(data, rewards=rewards)
    reached = np.array(
        [bool(world.compute_terminated(*row, {})) for row in zip(achieved, goals, strict=True)]
    )
    at_end = np.zeros(len(data), dtype=bool)
    at_end[data.offsets[1:] - 1] = True
    return dataclasses.replace(data, rewards=rewards, terminations=reached & at_end)
