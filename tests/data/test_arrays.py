"""People's own arrays become demonstrations, or an error that says what is wrong and where."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from strategies import assert_equal, demonstrations

from sb3_il_plus.data import Demonstrations, columns
from sb3_il_plus.data.arrays import REPEATED_FINAL
from sb3_il_plus.errors import DataError, UnknownNameError

from_arrays = Demonstrations.from_arrays
ENDED = [(True, False), (False, True), (True, True)]


def spaces_of(demos):
    return {"observation_space": demos.observation_space, "action_space": demos.action_space}


@given(demonstrations(ends=ENDED))
def test_all_forms_agree(demos):
    every, rewards = np.arange(len(demos)), demos.rewards
    flags = {"terminations": demos.terminations, "truncations": demos.truncations}
    facts = {**spaces_of(demos), "metadata": demos.metadata}
    flat = from_arrays(demos.observations, demos.actions, rewards, **flags, **facts)
    assert_equal(flat, demos)
    with_next = from_arrays(
        demos.observations_at(every),
        demos.actions,
        rewards,
        **flags,
        **facts,
        next_observations=demos.next_observations_at(every),
    )
    assert_equal(with_next, demos)

    episodes = list(demos.episodes())
    per_episode = {
        "rewards": None if rewards is None else [episode.rewards for episode in episodes],
        "terminations": [episode.terminated for episode in episodes],
        "truncations": [episode.truncated for episode in episodes],
        **facts,
    }
    actions = [episode.actions for episode in episodes]
    lists = from_arrays([episode.observations for episode in episodes], actions, **per_episode)
    assert_equal(lists, demos)
    lists_with_next = from_arrays(
        [columns.take(episode.observations, slice(None, -1)) for episode in episodes],
        actions,
        **per_episode,
        next_observations=[
            columns.take(episode.observations, slice(1, None)) for episode in episodes
        ],
    )
    assert_equal(lists_with_next, demos)


@given(demonstrations())
def test_without_next_observations_the_last_one_is_repeated(demos):
    every = np.arange(len(demos))
    repeated = from_arrays(
        demos.observations_at(every),
        demos.actions,
        episode_lengths=demos.episode_lengths,
        **spaces_of(demos),
    )
    ends = demos.offsets[1:] - 1
    np.testing.assert_equal(repeated.next_observations_at(ends), repeated.observations_at(ends))
    assert repeated.metadata[REPEATED_FINAL] is True
    assert repeated.truncations[ends].all() and not repeated.terminations.any()


def test_plain_lists_with_an_environment_id():
    demos = from_arrays([[0.0] * 4, [0.1] * 4, [0.2] * 4], [0, 1], env="CartPole-v1")
    assert len(demos) == 2 and demos.n_episodes == 1
    assert demos.action_space == spaces.Discrete(2)
    assert demos.observation_space.shape == (4,)


def test_stacked_episodes_of_equal_length():
    demos = from_arrays(np.zeros((3, 6, 4)), np.zeros((3, 5), int), env="CartPole-v1")
    assert demos.episode_lengths.tolist() == [5, 5, 5]


def test_observations_as_a_list_of_dicts():
    rows = [{"a": np.zeros(2), "b": 0} for _ in range(3)]
    demos = from_arrays(rows, [0, 1], action_space=spaces.Discrete(2))
    assert demos.observations["a"].shape == (3, 2) and demos.observations["b"].shape == (3,)


def test_spaces_are_guessed_from_observations_only():
    images = np.zeros((3, 8, 8, 3), np.uint8)
    demos = from_arrays(
        {"camera": images, "state": np.zeros((3, 2))}, [0, 1], action_space=spaces.Discrete(2)
    )
    assert demos.observation_space["camera"] == spaces.Box(0, 255, (8, 8, 3), np.uint8)
    assert demos.observation_space["state"] == spaces.Box(-np.inf, np.inf, (2,))


def test_ends():
    demos = from_arrays(
        np.zeros((6, 1)),
        np.zeros(6, int),
        terminations=[0, 1, 0, 0, 0, 0],
        truncations=np.array([0.0, 0, 0, 1, 0, 0]),
        action_space=spaces.Discrete(2),
    )
    assert demos.offsets.tolist() == [0, 2, 4, 6]
    assert np.flatnonzero(demos.terminations).tolist() == [1]
    assert np.flatnonzero(demos.truncations).tolist() == [3, 5]


def test_flags_of_each_step_of_each_episode():
    demos = from_arrays(
        [np.zeros((2, 1)), np.zeros((3, 1))],
        [np.zeros(1, int), np.zeros(2, int)],
        terminations=[[False], [False, True]],
        action_space=spaces.Discrete(2),
    )
    assert demos.terminations.tolist() == [False, False, True]
    assert demos.truncations.tolist() == [True, False, False]


def call(**changes):
    """Two episodes of three steps, flat, with something changed."""
    arguments = {
        "observations": np.arange(24.0).reshape(6, 4),
        "actions": np.array([0, 1, 0, 1, 0, 1]),
        "terminations": np.array([0, 0, 1, 0, 0, 1], bool),
        "env": "CartPole-v1",
    }
    return from_arrays(**{**arguments, **changes})


def altered(array, position, value):
    array = np.array(array)
    array[position] = value
    return array


OBSERVATIONS = np.arange(24.0).reshape(6, 4)
BOX = {"env": None, "action_space": spaces.Box(-1, 1, (2,))}
CASES = {
    "NaN": (
        {"observations": altered(OBSERVATIONS, (4, 2), np.nan)},
        r"observations: episode 1, step 1, component \(2,\) is nan, which is not finite",
    ),
    "infinite reward": (
        {"rewards": [0, 0, 0, 0, -np.inf, 0]},
        "rewards: episode 1, step 1 is -inf",
    ),
    "NaN action": (
        {**BOX, "actions": altered(np.zeros((6, 2)), (3, 1), np.nan)},
        r"actions: episode 1, step 0, component \(1,\) is nan, which is not finite",
    ),
    "action outside Discrete": (
        {"actions": np.array([0, 1, 0, 1, 2, 1])},
        r"actions: episode 1, step 1 is 2, which lies outside Discrete\(2\)",
    ),
    "action outside Box": (
        {**BOX, "actions": altered(np.zeros((6, 2)), (2, 0), 1.5)},
        r"actions: episode 0, step 2, component \(0,\) is 1.5, which lies outside Box.*np.clip",
    ),
    "action outside MultiDiscrete": (
        {
            "env": None,
            "actions": np.ones((6, 2), int),
            "action_space": spaces.MultiDiscrete([2, 2], start=[0, 2]),
        },
        r"actions: episode 0, step 0, component \(1,\) is 1, which lies outside MultiDiscrete",
    ),
    "float actions": (
        {"actions": np.zeros(6)},
        r"actions: has dtype float64, which the space Discrete\(2\) cannot hold",
    ),
    "action shape": (
        {"actions": np.zeros((6, 1), int)},
        r"actions: a row has shape \(1,\), the space Discrete\(2\) has \(\)",
    ),
    "action shape with unknown observations": (
        {"env": None, "action_space": spaces.Discrete(2), "actions": [[0]] * 6},
        r"actions: a row has shape \(1,\), the space Discrete\(2\) has \(\)",
    ),
    "observation shape": (
        {"observations": np.zeros((6, 3))},
        r"observations: a row has shape \(3,\), the space Box.* has \(4,\)",
    ),
    "too few observations": (
        {"observations": np.zeros((5, 4))},
        "observations has 5 rows and actions 6 in 2 episodes; each episode needs as many",
    ),
    "missing boundary": (
        {"terminations": None, "next_observations": OBSERVATIONS + 100},
        r"next_observations\[0\] differs from observations\[1\] although no episode ends at index",
    ),
    "next observations of another shape": (
        {"next_observations": np.zeros((6, 3))},
        r"next_observations has shape \(6, 3\), observations has \(6, 4\)",
    ),
    "both final and next observations": (
        {"observations": np.zeros((8, 4)), "next_observations": OBSERVATIONS},
        "observations hold each episode's final one already; leave next_observations out",
    ),
    "flag inside an episode": (
        {"episode_lengths": [6]},
        "terminations: episode 0, step 2 is true, but the episode goes on after it",
    ),
    "flag length": (
        {"truncations": np.zeros(5, bool)},
        r"truncations needs one bool per step, shape \(6,\); got shape \(5,\)",
    ),
    "flag value": (
        {"terminations": [0, 0, 1, 0, 0, 2]},
        r"terminations: step 5 is 2, which is no flag",
    ),
    "episode lengths": (
        {"episode_lengths": [3, 4]},
        "episode_lengths add up to 7, but there are 6 actions",
    ),
    "empty episode": (
        {"terminations": None, "episode_lengths": [3, 0, 3]},
        "episode 1 has no steps",
    ),
    "empty": ({"actions": [], "observations": []}, "actions is empty"),
    "reward shape": ({"rewards": np.zeros((6, 1))}, r"rewards has shape \(6, 1\); 6 actions need"),
    "text": ({"actions": ["left"] * 6}, "actions: is <U4 of shape .* not an array of numbers"),
    "ragged rows": (
        {"observations": [[1.0] * 4, [1.0] * 3]},
        "observations: rows that differ cannot form one array",
    ),
    "scalar": ({"actions": 5}, r"actions: is int64 of shape \(\), not an array of numbers"),
    "no action space": ({"env": None}, "the action space is unknown: pass env='YourEnv-v0'"),
    "dict for a Box": (
        {"observations": {"a": OBSERVATIONS}},
        r"the data has the columns observations\['a'\]; the space Box.* needs observations",
    ),
    "dict of other keys": (
        {
            "env": None,
            "action_space": spaces.Discrete(2),
            "observations": {"a": OBSERVATIONS},
            "observation_space": spaces.Dict(b=spaces.Box(-1, 1, (4,))),
        },
        r"has the columns observations\['a'\]; the space .* needs observations\['b'\]",
    ),
    "text space": (
        {
            "env": None,
            "action_space": spaces.Discrete(2),
            "observation_space": spaces.Tuple([spaces.Discrete(2)]),
        },
        "is of a kind that Stable-Baselines3 does not handle",
    ),
}


@pytest.mark.parametrize(("changes", "message"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(DataError, match=message):
        call(**changes)


EPISODES = {
    "observations": [np.zeros((3, 4)), np.zeros((4, 4))],
    "actions": [np.zeros(2, int), np.zeros(3, int)],
    "rewards": None,
    "terminations": None,
}
EPISODE_CASES = {
    "lengths that only add up": (
        {"observations": [np.zeros((4, 4)), np.zeros((3, 4))]},
        "observations of episode 0: 4 rows where 2 are expected",
    ),
    "one final observation missing": (
        {"observations": [np.zeros((3, 4)), np.zeros((3, 4))]},
        "observations of episode 1: 3 rows where 4 are expected",
    ),
    "rewards": (
        {"rewards": [np.zeros(2), np.zeros(2)]},
        "rewards of episode 1: 2 rows where 3 are expected",
    ),
    "number of episodes": (
        {"observations": [np.zeros((3, 4))]},
        "observations has 1 entries for 2 episodes",
    ),
    "number of flags": ({"terminations": [True]}, "terminations has 1 entries for 2 episodes"),
    "flags of an episode": (
        {"terminations": [[True], [False, False, True]]},
        r"terminations of episode 0 needs one bool per step, shape \(2,\); got shape \(1,\)",
    ),
    "shapes of rows": (
        {"observations": [np.zeros((3, 4)), np.zeros((4, 5))]},
        "observations: the episodes do not fit each other",
    ),
    "keys": (
        {"observations": [{"a": np.zeros(3)}, {"b": np.zeros(4)}]},
        "observations: the episodes do not fit each other: 'a'",
    ),
    "episode lengths": (
        {"episode_lengths": [3, 2]},
        r"episode_lengths is \[3, 2\], but the actions have lengths \[2, 3\]",
    ),
    "ragged": (
        {"actions": [[[1, 2], [3]], [0, 1, 0]]},
        "actions of episode 0: rows that differ cannot form one array",
    ),
}


@pytest.mark.parametrize(("changes", "message"), EPISODE_CASES.values(), ids=EPISODE_CASES.keys())
def test_what_is_wrong_with_an_episode_is_named(changes, message):
    with pytest.raises(DataError, match=message):
        from_arrays(**{**EPISODES, **changes}, env="CartPole-v1")


def test_several_problems_are_told_at_once():
    with pytest.raises(DataError, match=r"observations: .*; actions: .*; rewards: "):
        call(
            observations=np.full((6, 4), np.inf), actions=np.full(6, 9), rewards=np.full(6, np.nan)
        )


def test_every_episode_of_wrong_length_is_named():
    observations = [np.zeros((4, 2)), np.zeros((3, 2)), np.zeros((6, 2))]
    with pytest.raises(
        DataError,
        match=r"observations of episode 1: 3 rows where 4.*observations of episode 2: 6 rows where"
        r".*rewards of episode 0: 2 rows where 3",
    ):
        Demonstrations.from_arrays(
            observations,
            [np.zeros(3, int)] * 3,
            [np.zeros(2), np.zeros(3), np.zeros(3)],
            action_space=spaces.Discrete(2),
        )


def test_unknown_environment():
    with pytest.raises(UnknownNameError, match="did you mean 'CartPole-v1'"):
        call(env="CartPoll-v1")
