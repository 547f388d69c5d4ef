"""Adding entries to observations, and leaving some out."""

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus import Demonstrations
from sb3_il_plus.data.entries import with_entry, without_entries
from sb3_il_plus.errors import DataError

LENGTHS = [2, 3]


@pytest.fixture
def data():
    return Demonstrations.from_arrays(
        [np.zeros((n + 1, 2), np.float32) for n in LENGTHS],
        [np.zeros(n, np.int64) for n in LENGTHS],
        action_space=spaces.Discrete(2),
    )


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0, 1, 2, 3, 0, 1, 2], [0, 1, 2, 3, 0, 1, 2]),  # one for each observation
        ([0, 1, 2, 3, 0], [0, 1, 1, 2, 3, 0, 0]),  # for each step
        ([3, 1], [3, 3, 3, 1, 1, 1, 1]),  # for each episode
    ],
)
def test_values_of_an_entry(data, values, expected):
    more = with_entry(data, "phase", values, spaces.Discrete(4))
    assert sorted(more.observation_space) == ["observation", "phase"]
    assert more.observations["phase"].tolist() == expected
    np.testing.assert_array_equal(more.observations["observation"], data.observations)
    np.testing.assert_array_equal(more.offsets, data.offsets)


def test_an_entry_is_left_out_again(data):
    more = with_entry(data, "phase", [3, 1], spaces.Discrete(4))
    less = without_entries(more, ["phase"])
    assert less.observation_space == spaces.Dict({"observation": data.observation_space})
    np.testing.assert_array_equal(less.observations["observation"], data.observations)


@pytest.mark.parametrize(
    "values, message",
    [
        ([1, 2, 3], "'phase' has 3 values; give one for each of 7 observations, 5 steps or 2 ep"),
        (3, "'phase' has 0 values"),
        ([0, 4], r"observations\['phase'\]: episode 1, step 0 is 4, which lies outside"),
        ([0.5, 1.0], "has dtype float64"),
    ],
)
def test_values_that_do_not_fit(data, values, message):
    with pytest.raises(DataError, match=message):
        with_entry(data, "phase", values, spaces.Discrete(4))


def test_entries_that_cannot_be_added_or_left_out(data):
    more = with_entry(data, "phase", [3, 1], spaces.Discrete(4))
    with pytest.raises(DataError, match="have an entry 'phase' already"):
        with_entry(more, "phase", [3, 1], spaces.Discrete(4))
    with pytest.raises(DataError, match="no entry 'phse'; did you mean 'phase'"):
        without_entries(more, ["phse"])
    with pytest.raises(DataError, match="no entry would be left"):
        without_entries(more, ["phase", "observation"])
    with pytest.raises(DataError, match="have no entries to leave out"):
        without_entries(data, ["phase"])
