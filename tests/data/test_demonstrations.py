"""Selecting, joining and reading transitions agree with what the episodes say."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import assert_equal, demonstrations

from sb3_il_plus.data import Demonstrations, columns
from sb3_il_plus.errors import DataError


def rows_of(observations):
    """Each row as bytes, for comparing arrays and dicts alike."""
    return [
        [column[i : i + 1].tobytes() for _, column in columns.named(observations)]
        for i in range(columns.length(observations))
    ]


@given(demonstrations())
def test_next_observations_are_the_observations_one_step_later(demos):
    index = np.arange(len(demos))
    now = rows_of(demos.observations_at(index))
    after = rows_of(demos.next_observations_at(index))
    for number, episode in enumerate(demos.episodes()):
        start, stop = demos.offsets[number], demos.offsets[number + 1]
        assert [*now[start:stop], after[stop - 1]] == rows_of(episode.observations)
        assert after[start : stop - 1] == now[start + 1 : stop]


@given(demonstrations(), st.data())
def test_selecting_is_joining_single_episodes(demos, data):
    numbers = data.draw(st.lists(st.integers(0, demos.n_episodes - 1), min_size=1, max_size=4))
    joined = Demonstrations.concatenate([demos[number] for number in numbers])
    assert_equal(demos[numbers], joined)
    assert_equal(demos[np.array(numbers)], joined)
    assert_equal(demos[:], demos)


@given(demonstrations(min_episodes=2), st.floats(0.01, 0.99), st.integers(0, 5))
def test_split_is_a_partition_of_the_episodes(demos, fraction, seed):
    kept, held_out = demos.split(fraction, seed)
    assert kept.n_episodes + held_out.n_episodes == demos.n_episodes
    fingerprints = [demos[i].fingerprint() for i in range(demos.n_episodes)]
    parts = [part[i].fingerprint() for part in (kept, held_out) for i in range(part.n_episodes)]
    assert sorted(parts) == sorted(fingerprints)
    assert_equal(demos.split(fraction, seed)[0], kept)


@given(demonstrations(), st.integers(1, 4), st.integers(0, 2))
def test_subsampled_steps_keep_their_own_next_observation(demos, every, offset):
    steps = [
        (number, step)
        for number, episode in enumerate(demos.episodes())
        for step in range(offset, len(episode), every)
    ]
    if not steps:
        with pytest.raises(DataError, match="every episode is shorter than offset"):
            demos.subsample(every, offset)
        return
    thinned = demos.subsample(every, offset)
    assert thinned.n_episodes == len(thinned) == len(steps)
    for (number, step), kept in zip(steps, thinned.episodes(), strict=True):
        whole = demos.episode(number)
        assert rows_of(kept.observations) == rows_of(whole.observations)[step : step + 2]
        assert np.array_equal(kept.actions[0], whole.actions[step])
        last = step == len(whole) - 1
        assert (kept.terminated, kept.truncated) == (
            (whole.terminated, whole.truncated) if last else (False, False)
        )


@given(demonstrations())
def test_columns_build_the_same_demonstrations(demos):
    spaces = demos.observation_space, demos.action_space
    assert_equal(Demonstrations.from_columns(demos.columns(), *spaces, demos.metadata), demos)


@given(demonstrations())
def test_copies_for_other_processes_are_equal(demos):
    assert_equal(pickle.loads(pickle.dumps(demos)), demos)
    copied = copy.deepcopy(demos)
    assert_equal(copied, demos)
    assert not copied.actions.flags.writeable


@given(demonstrations(), st.data())
def test_the_fingerprint_tells_data_apart(demos, data):
    changed = demos.columns()
    name = data.draw(st.sampled_from(sorted(changed.keys() - {"offsets"})))
    column = changed[name].copy()
    position = np.unravel_index(data.draw(st.integers(0, column.size - 1)), column.shape)
    column[position] = ~column[position] if column.dtype == bool else column[position] + 1
    changed[name] = column
    other = Demonstrations.from_columns(changed, demos.observation_space, demos.action_space)
    assert other.fingerprint() != demos.fingerprint()


def small(**changes):
    arguments = {
        "observations": np.arange(10.0).reshape(5, 2),
        "actions": np.zeros(3, int),
        "rewards": np.array([1.0, 2.0, -4.0]),
        "terminations": np.array([False, True, False]),
        "truncations": np.array([False, False, True]),
        "offsets": np.array([0, 2, 3]),
        "observation_space": None,
        "action_space": None,
    }
    return Demonstrations(**{**arguments, **changes})


def test_columns_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        small().actions[0] = 1
    with pytest.raises(TypeError):
        small().metadata["seed"] = 1


def test_returns():
    demos = small()
    assert demos.episode_returns.tolist() == [3.0, -4.0]
    assert repr(demos) == "Demonstrations(2 episodes, 3 transitions, return -0.5 ± 3.5)"
    assert_equal(demos.top(0.5), demos[0])
    assert_equal(demos.filter_by_return(maximum=0), demos[1])
    assert_equal(demos.sample_episodes(2, seed=0), demos)
    with pytest.raises(DataError, match="no rewards, so their returns are unknown"):
        small(rewards=None).top(0.5)


def test_single_episodes():
    demos = small()
    assert len(demos.episode(-1)) == 1 and demos.episode(-1).truncated
    with pytest.raises(IndexError, match="episode 2 of 2"):
        demos.episode(2)
    with pytest.raises(DataError, match="selects none of 2"):
        demos[5:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": np.zeros(0)}, "the demonstrations are empty"),
        ({"offsets": np.array([0])}, "the demonstrations are empty"),
        ({"offsets": np.array([0.0, 3.0])}, "offsets must be an array of integers, not float64"),
        ({"offsets": np.array([0, 2])}, "run from 0 to 2, but there are 3 actions"),
        ({"offsets": np.array([1, 3])}, "run from 1 to 3, but there are 3 actions"),
        ({"offsets": np.array([0, 2, 2, 3])}, "episode 1 has no steps"),
        (
            {"observations": np.zeros((4, 2))},
            "observations has 4 rows; 3 transitions in 2 episodes",
        ),
        ({"observations": {"a": np.zeros(5), "b": np.zeros(4)}}, r"observations\['b'\] has 4 rows"),
        ({"observations": {}}, "observations is a dict without entries"),
        ({"rewards": np.zeros((3, 1))}, r"rewards has shape \(3, 1\); 3 actions need \(3,\)"),
        ({"rewards": np.array(["a"] * 3)}, "rewards must be an array of numbers"),
        ({"terminations": np.zeros(3)}, "terminations must be an array of booleans, not float64"),
        ({"truncations": np.zeros(2, bool)}, r"truncations has shape \(2,\)"),
        ({"actions": np.array([None] * 3)}, "actions must be an array of numbers, not object"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda d: d.split(1.0, 0), "cannot hold out 1.0 of 2 episodes"),
        (lambda d: d[0].split(0.5, 0), "cannot hold out 0.5 of 1 episodes"),
        (lambda d: d.top(0), "fraction=0 must lie within"),
        (lambda d: d.subsample(0), "every=0 must be positive"),
        (lambda d: d.sample_episodes(3, 0), "cannot draw 3 of 2 episodes"),
        (lambda d: Demonstrations.concatenate([]), "cannot join an empty list"),
        (
            lambda d: Demonstrations.from_columns({}, None, None),
            "columns missing: .*'observations'",
        ),
    ],
)
def test_requests_that_make_no_sense(function, message):
    with pytest.raises(DataError, match=message):
        function(small())
