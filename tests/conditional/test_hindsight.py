"""Relabelled goals: achieved by the same episode, at the right time, with nothing else changed."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_il_plus import Demonstrations
from sb3_il_plus.conditional import relabel_goals
from sb3_il_plus.errors import DataError, InapplicableError, UserError

GOALS = spaces.Box(-1000, 1000, (2,), np.float32)
NEVER = -1.0


@st.composite
def episodes(draw, goal="command"):
    """What is achieved is (episode, step), so each goal says where it comes from."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    achieved = [[(number, step) for step in range(n + 1)] for number, n in enumerate(lengths)]
    n_rows, n_steps = sum(lengths) + len(lengths), sum(lengths)
    ends = np.cumsum(lengths) - 1
    return Demonstrations.from_arrays(
        {
            "state": np.arange(n_rows, dtype=np.float32)[:, None],
            "achieved_goal": np.concatenate(achieved).astype(np.float32),
            goal: np.full((n_rows, 2), NEVER, np.float32),
        },
        np.linspace(-1, 1, n_steps, dtype=np.float32)[:, None],
        np.arange(n_steps, dtype=np.float64),
        episode_lengths=lengths,
        terminations=np.isin(np.arange(n_steps), ends),
        observation_space=spaces.Dict(
            {"state": spaces.Box(-1000, 1000, (1,)), "achieved_goal": GOALS, goal: GOALS}
        ),
        action_space=spaces.Box(-1, 1, (1,)),
    )


def origins(data, copies):
    """Of each copied step: episode, step, how many its episode has, and the goal's two numbers."""
    steps = np.arange(len(data)) - data.offsets[data.episode_index]
    times = len(copies) // len(data)
    index = np.tile(data.episode_index, times)
    goals = copies.observations_at(np.arange(len(copies)))["command"]
    return index, np.tile(steps, times), data.episode_lengths[index], goals[:, 0], goals[:, 1]


@settings(max_examples=40, deadline=None)
@given(episodes(), st.sampled_from(["future", "final", "episode"]), st.integers(1, 3))
def test_goals_were_achieved_by_the_same_episode(data, strategy, n_copies):
    copies = relabel_goals(data, n_copies, strategy, seed=0, keep_original=False)
    episode, step, length, goal_episode, goal_step = origins(data, copies)
    np.testing.assert_array_equal(goal_episode, episode)
    if strategy == "final":
        np.testing.assert_array_equal(goal_step, length)
    else:
        assert (goal_step > (step if strategy == "future" else 0)).all()
        assert (goal_step <= length).all()


@settings(max_examples=40, deadline=None)
@given(episodes(), st.sampled_from(["future", "final", "episode"]), st.integers(1, 3))
def test_nothing_else_changes(data, strategy, n_copies):
    times = 1 if strategy == "final" else n_copies
    copies = relabel_goals(data, n_copies, strategy, seed=0, keep_original=False)
    assert len(copies) == times * len(data)
    every, all_copies = np.arange(len(data)), np.arange(len(copies))
    for look in ("observations_at", "next_observations_at"):
        before, after = getattr(data, look)(every), getattr(copies, look)(all_copies)
        for entry in ("state", "achieved_goal"):
            np.testing.assert_array_equal(after[entry], np.tile(before[entry], (times, 1)))
    np.testing.assert_array_equal(copies.actions, np.tile(data.actions, (times, 1)))
    np.testing.assert_array_equal(copies.terminations, np.tile(data.terminations, times))
    now, then = (copies.observations_at(all_copies), copies.next_observations_at(all_copies))
    np.testing.assert_array_equal(now["command"], then["command"], "one goal before and after")


@settings(max_examples=20, deadline=None)
@given(episodes(goal="desired_goal"), st.integers(0, 9))
def test_the_original_comes_first(data, seed):
    both = relabel_goals(data, 2, seed=seed)
    original = both[: data.n_episodes]
    assert original.fingerprint() == dataclasses.replace(data, rewards=None).fingerprint()
    assert both.rewards is None
    assert both.fingerprint() == relabel_goals(data, 2, seed=seed).fingerprint()


class Steps:
    """Rewards by the distance in steps, and ends where there is none."""

    def compute_reward(self, achieved, desired, info):
        assert len(info) == len(achieved)
        return -np.abs(achieved - desired).sum(axis=-1)

    def compute_terminated(self, achieved, desired, info):
        return bool((achieved == desired).all())


@settings(max_examples=30, deadline=None)
@given(episodes(), st.sampled_from(["future", "final"]))
def test_rewards_are_those_of_the_new_goals(data, strategy):
    both = relabel_goals(data, 1, strategy, seed=0, env=Steps())
    original, copies = both[: data.n_episodes], both[data.n_episodes :]
    reached = original.next_observations_at(np.arange(len(data)))["achieved_goal"]
    np.testing.assert_array_equal(original.rewards, -np.abs(reached - NEVER).sum(axis=1))
    assert not original.terminations.any(), "the goals of the original are never reached"
    _, step, _, _, goal_step = origins(data, copies)
    np.testing.assert_array_equal(copies.rewards, step + 1 - goal_step)
    np.testing.assert_array_equal(copies.terminations, copies.rewards == 0)


def some():
    return Demonstrations.from_arrays(
        {"achieved_goal": np.zeros((3, 2)), "command": np.zeros((3, 2))},
        np.zeros((2, 1), np.float32),
        episode_lengths=[2],
        action_space=spaces.Box(-1, 1, (1,)),
    )


def test_steps_draw_different_goals():
    n = 200
    achieved = np.arange(n + 1.0)[:, None]
    data = Demonstrations.from_arrays(
        {"achieved_goal": achieved, "command": np.zeros_like(achieved)},
        np.zeros((n, 1), np.float32),
        episode_lengths=[n],
        action_space=spaces.Box(-1, 1, (1,)),
    )
    copies = relabel_goals(data, 20, seed=0, keep_original=False)
    ahead = copies.observations_at(np.arange(20 * n))["command"][::n, 0]
    assert ahead.min() < 30 and ahead.max() > 170, "of the first step: near goals, and far ones"


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"strategy": "past"}, UserError, "strategy='past' must be one of 'future', 'final', 'ep"),
        ({"n_copies": 0}, UserError, "n_copies=0 must be at least 1"),
        ({"env": object()}, InapplicableError, "has no compute_reward"),
    ],
)
def test_arguments_that_do_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        relabel_goals(some(), seed=0, **arguments)


def test_rewards_of_another_shape():
    class Single:
        def compute_reward(self, achieved, desired, info):
            return 0.0

    with pytest.raises(DataError, match=r"gave rewards of shape \(\) for 10 goals"):
        relabel_goals(some(), seed=0, env=Single())


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"command": GOALS}, r"\['achieved_goal'\] are missing"),
        ({"achieved_goal": GOALS}, r"\['desired_goal'\] are missing"),
        ({"achieved_goal": GOALS, "command": spaces.Discrete(3)}, "two Box spaces of one shape"),
        ({"achieved_goal": GOALS, "command": spaces.Box(-1, 1, (3,))}, "two Box spaces of one"),
    ],
)
def test_observations_without_goals(entries, message):
    space = spaces.Dict(entries)
    data = Demonstrations.from_arrays(
        {key: np.stack([entry.sample()] * 2) for key, entry in entries.items()},
        np.zeros((1, 1), np.float32),
        episode_lengths=[1],
        observation_space=space,
        action_space=spaces.Box(-1, 1, (1,)),
    )
    with pytest.raises(InapplicableError, match=message):
        relabel_goals(data, seed=0)
