"""Sequences cover every transition once, and padding weighs nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_il_plus.data.sequences import SequenceBatches, windows
from sb3_il_plus.errors import DataError


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    longest=st.none() | st.integers(1, 12),
)
def test_windows_cover_every_step_of_each_episode_once(lengths, longest):
    starts, sizes = windows(np.array(lengths), longest)
    covered = [
        step
        for start, size in zip(starts, sizes, strict=True)
        for step in range(start, start + size)
    ]
    assert covered == list(range(sum(lengths)))
    assert sizes.min() >= 1 and sizes.max() <= (longest or max(lengths))
    ends = set(np.cumsum(lengths).tolist())
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        assert not ends & set(range(start + 1, start + size)), "a window crosses an episode's end"


def batches(batch_size=6, minibatch_size=None, sequence_length=None) -> SequenceBatches:
    lengths = np.array([2, 3, 1, 3])
    observations = np.arange(9, dtype=np.float32)[:, None]
    return SequenceBatches(
        observations,
        np.arange(9),
        lengths,
        sequence_length,
        batch_size,
        np.random.default_rng(0),
        minibatch_size=minibatch_size,
    )


def test_padding_repeats_the_last_step_and_weighs_nothing():
    rows = batches().rows(np.array([0, 1]))
    assert rows["acts"].tolist() == [[0, 1, 1], [2, 3, 4]]
    assert rows["obs"].shape == (2, 3, 1)
    weights = rows["weights"].numpy()
    np.testing.assert_allclose(weights, [[1.2, 1.2, 0.0], [1.2, 1.2, 1.2]])
    assert weights.mean() == pytest.approx(1)


def test_parts_weigh_each_step_of_their_batch_the_same():
    split = batches(batch_size=9, minibatch_size=3)
    assert (split.batch_size, split.minibatch_size) == (3, 1)
    index = np.array([1, 2, 0])
    parts = list(split.parts(index))
    # Upstream averages the parts' means over rows by their numbers of sequences.
    per_step = [float(part["weights"].max()) / part["weights"].numel() / 3 for part in parts]
    np.testing.assert_allclose(per_step, 1 / 6)


def test_a_batch_has_as_many_sequences_as_fit():
    assert batches(batch_size=2).batch_size == 1
    assert batches(batch_size=9).batch_size == 3
    assert batches(batch_size=9, sequence_length=2).batch_size == 4
    assert batches(batch_size=9, sequence_length=1).batch_size == 9
    assert batches(batch_size=8, minibatch_size=4, sequence_length=1).minibatch_size == 4
    assert batches(batch_size=9, minibatch_size=6, sequence_length=1).minibatch_size == 3
    with pytest.raises(DataError, match="batch_size=10 does not fit 9 transitions"):
        batches(batch_size=10)


def test_in_order_gives_every_step_once():
    parts = list(batches(batch_size=6).in_order())
    assert [n for n, _ in parts] == [5, 4]
    steps = np.concatenate([rows["acts"][rows["weights"] > 0] for _, rows in parts])
    assert steps.tolist() == list(range(9))


def test_an_epoch_is_every_sequence_once_and_goes_on_where_it_was():
    first, second = batches(batch_size=3), batches(batch_size=3)
    epoch = np.concatenate([rows["acts"][rows["weights"] > 0] for rows in first])
    assert sorted(epoch.tolist()) == list(range(9))
    iterator = iter(second)
    seen = [next(iterator)["acts"].tolist() for _ in range(2)]
    resumed = batches(batch_size=3)
    resumed.sampler.load_state(second.sampler.state())
    rest = [rows["acts"].tolist() for rows in resumed]
    assert [len(seen), len(rest)] == [2, 2]
    assert [rows["acts"].tolist() for rows in batches(batch_size=3)] == seen + rest
