"""Balanced batches: equal shares, nothing drawn twice before all were, and resuming exactly."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_il_plus.data.balanced import BalancedSampler
from sb3_il_plus.data.sampling import ActionBatches
from sb3_il_plus.errors import DataError

GROUPS = np.array([0] * 90 + [2] * 7 + [5] * 3)


def sampler(batch_size=12, groups=GROUPS, seed=0):
    return BalancedSampler(groups, batch_size, np.random.default_rng(seed))


@pytest.mark.parametrize("batch_size", [3, 12, 13, 14, 40])
def test_shares_are_equal(batch_size):
    batches = sampler(batch_size)
    counts = np.zeros(3)
    for _ in range(9):
        index = batches.next()
        assert len(index) == batch_size
        of_batch = [np.count_nonzero(GROUPS[index] == group) for group in (0, 2, 5)]
        assert max(of_batch) - min(of_batch) <= 1
        counts += of_batch
        # Those that have one more take turns, so the difference does not grow.
        assert counts.max() - counts.min() <= 1


@given(
    groups=st.lists(st.integers(0, 3), min_size=4, max_size=40),
    batch_size=st.integers(4, 20),
    n_batches=st.integers(1, 8),
)
def test_members_are_drawn_in_turn(groups, batch_size, n_batches):
    groups = np.array(groups)
    batches = sampler(batch_size, groups)
    times = np.zeros(len(groups), dtype=int)
    for _ in range(n_batches):
        np.add.at(times, batches.next(), 1)
    for group in np.unique(groups):
        of_group = times[groups == group]
        assert of_group.max() - of_group.min() <= 1


def test_resuming_draws_what_would_have_been_drawn():
    first, second = sampler(13), sampler(13, seed=1)
    for _ in range(5):
        first.next()
    second.load_state(json.loads(json.dumps(first.state())))
    for _ in range(10):
        assert first.at_end_of_epoch == second.at_end_of_epoch
        np.testing.assert_array_equal(first.next(), second.next())


def test_other_data_begins_anew():
    state = sampler().state()
    other, untouched = (sampler(12, GROUPS[:-1], seed=3) for _ in range(2))
    other.load_state(state)
    np.testing.assert_array_equal(other.next(), untouched.next())


def test_an_epoch_is_as_long_as_the_data():
    batches = sampler(12)
    ends = []
    for _ in range(16):
        batches.next()
        ends.append(batches.at_end_of_epoch)
    assert batches.batches_per_epoch == 8
    assert np.flatnonzero(ends).tolist() == [7, 15]


def test_a_batch_has_a_place_for_every_group():
    with pytest.raises(DataError, match=r"batch_size=2 is too small.*3 groups: \[0, 2, 5\]"):
        sampler(2)


def test_action_batches_are_balanced_on_request():
    batches = ActionBatches(
        GROUPS[:, None].astype(np.float32),
        np.arange(100),
        12,
        np.random.default_rng(0),
        groups=GROUPS,
    )
    epoch = list(batches)
    assert len(epoch) == 8
    for batch in epoch:
        values, counts = np.unique(batch["obs"].numpy(), return_counts=True)
        assert (values.tolist(), counts.tolist()) == ([0, 2, 5], [4, 4, 4])
        np.testing.assert_array_equal(GROUPS[batch["acts"].numpy()], batch["obs"].numpy().ravel())
