"""Random batches hold the transitions that the data has, wherever they are kept."""

import json

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import demonstrations

from sb3_il_plus.data import Demonstrations, records
from sb3_il_plus.data import columns as col
from sb3_il_plus.data.batches import TransitionSampler
from sb3_il_plus.data.records import InFiles, InMemory
from sb3_il_plus.errors import DataError


def numbered(n_episodes=5, length=7):
    """Observation 100 e + t, in three components; every second episode terminates."""
    start = 100.0 * np.arange(n_episodes)[:, None] + np.arange(length + 1)
    return Demonstrations.from_arrays(
        [np.stack([row, row, row], axis=1) for row in start],
        [np.full((length, 2), 0.01 * e) for e in range(n_episodes)],
        [row[:-1] for row in start],
        terminations=np.arange(n_episodes) % 2 == 0,
        action_space=spaces.Box(-1, 1, (2,)),
    )


@pytest.fixture(params=["memory", "files"])
def data(request, tmp_path):
    demos = numbered()
    if request.param == "memory":
        return demos
    return Demonstrations.load(demos.save(tmp_path / "data.mapped"))


def plain(batch):
    """One array for each column."""
    flat = {}
    for name, value in batch._asdict().items():
        for label, tensor in col.named(value, name):
            flat[label] = tensor.numpy()
    return flat


def expected(demos, index):
    """The same transitions, by the methods that everything else uses."""
    columns = {
        **dict(col.named(demos.observations_at(index))),
        **dict(col.named(demos.next_observations_at(index), "next_observations")),
        "actions": demos.actions[index],
    }
    for name, column in columns.items():
        if column.dtype.kind == "f":
            columns[name] = column.astype(np.float32)
        elif column.dtype.kind in "iu" and column.dtype != np.uint8:
            columns[name] = column.astype(np.int64)
    columns["rewards"] = demos.rewards[index, None].astype(np.float32)
    columns["terminations"] = demos.terminations[index, None].astype(np.float32)
    return columns


@given(demos=demonstrations(), seed=st.integers(0, 9))
def test_whatever_the_columns_are(demos, seed, tmp_path_factory):
    assume(demos.rewards is not None)
    path = demos.save(tmp_path_factory.mktemp("batches") / "data.mapped")
    index = np.random.default_rng(seed).integers(len(demos), size=20)
    for source in (InMemory(demos, th.device("cpu")), InFiles(Demonstrations.load(path), "cpu")):
        found = plain(source.gather(index))
        for name, column in expected(demos, index).items():
            assert found[name].dtype == column.dtype, name
            np.testing.assert_array_equal(found[name], column, strict=True)


def test_batches_hold_real_transitions(data):
    sampler = TransitionSampler(data, batch_size=8, device="cpu", seed=0)
    seen = set()
    for _ in range(100):
        batch = sampler.sample()
        now, after = batch.observations[:, 0], batch.next_observations[:, 0]
        assert batch.observations.shape == (8, 3) and batch.actions.shape == (8, 2)
        assert th.equal(after, now + 1)
        assert th.equal(batch.rewards, now[:, None])
        assert th.allclose(batch.actions[:, 0], 0.01 * (now // 100))
        ends = (now % 100 == 6) & (now // 100 % 2 == 0)
        assert th.equal(batch.terminations[:, 0], ends.float())
        seen |= set(now.tolist())
    assert len(seen) == len(data)


def test_every_transition_is_as_likely(data):
    sampler = TransitionSampler(data, batch_size=35, device="cpu", seed=1)
    drawn = np.concatenate([sampler.sample().rewards[:, 0].numpy() for _ in range(2000)])
    _, counts = np.unique(drawn, return_counts=True)
    assert len(counts) == 35
    # 2000 of each are expected, with a standard deviation of 44.
    assert abs(counts - 2000).max() < 5 * 44
    steps = drawn.reshape(2000, 35)
    assert abs(np.corrcoef(steps[:-1, 0], steps[1:, 0])[0, 1]) < 0.1


def test_the_same_seed_draws_the_same(data):
    def draw(seed):
        sampler = TransitionSampler(data, batch_size=4, device="cpu", seed=seed)
        return th.stack([sampler.sample().rewards for _ in range(10)])

    assert th.equal(draw(0), draw(0))
    assert not th.equal(draw(0), draw(1))


@pytest.mark.parametrize("n_before", [0, 1, 50])
def test_going_on_where_the_state_was_taken(data, n_before):
    first = TransitionSampler(data, batch_size=3, device="cpu", seed=0)
    for _ in range(n_before):
        first.sample()
    state = json.loads(json.dumps(first.state()))
    second = TransitionSampler(data, batch_size=3, device="cpu", seed=99)
    second.load_state(state)
    for _ in range(first.n_ahead + 1):
        assert th.equal(first.sample().observations, second.sample().observations)


def test_states_of_other_samplers(data):
    state = TransitionSampler(data, batch_size=3, device="cpu").state()
    with pytest.raises(DataError, match="taken with batch_size=3, this sampler has 4"):
        TransitionSampler(data, batch_size=4, device="cpu").load_state(state)
    with pytest.raises(DataError, match="taken with n=35, this sampler has 7"):
        TransitionSampler(data[1], batch_size=3, device="cpu").load_state(state)


def test_batches_are_the_callers_own(data):
    before = data.fingerprint()
    sampler = TransitionSampler(data, batch_size=35, device="cpu", seed=0)
    for _ in range(sampler.n_ahead):
        batch = sampler.sample()
        batch.observations.zero_(), batch.next_observations.zero_(), batch.rewards.zero_()
    assert data.fingerprint() == before
    assert sampler.sample().rewards.sum() > 0


def test_files_are_swept_in_parts(tmp_path, monkeypatch):
    """As data larger than memory is: the parts make no difference."""
    demos = numbered()
    mapped = Demonstrations.load(demos.save(tmp_path / "data.mapped"))
    index = np.random.default_rng(0).integers(len(demos), size=50)
    whole = InFiles(mapped, th.device("cpu")).gather(index)
    monkeypatch.setattr(records, "_SWEPT_BYTES", 100)
    released = []
    monkeypatch.setattr(col, "release", released.append)
    source = InFiles(mapped, th.device("cpu"))
    for ours, theirs in zip(source.gather(index), whole, strict=True):
        assert th.equal(ours, theirs)
    assert len(released) > 2 * len(demos.columns())


def test_which_store_is_used(tmp_path):
    demos = numbered()
    mapped = Demonstrations.load(demos.save(tmp_path / "data.mapped"))
    for source, kind in ((demos, InMemory), (mapped, InFiles), (mapped[1:3], InFiles)):
        assert type(TransitionSampler(source, device="cpu")._transitions) is kind


def test_what_cannot_be_sampled():
    demos = numbered()
    columns = demos.columns()
    del columns["rewards"]
    unrewarded = Demonstrations.from_columns(columns, demos.observation_space, demos.action_space)
    with pytest.raises(DataError, match="transitions with rewards are needed"):
        TransitionSampler(unrewarded)
    with pytest.raises(DataError, match="batch_size=0 must be at least 1"):
        TransitionSampler(demos, batch_size=0)


@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a GPU")
def test_the_device_makes_no_difference(data):
    samplers = [TransitionSampler(data, 8, device, seed=0) for device in ("cpu", "cuda")]
    for _ in range(5):
        ours, theirs = (sampler.sample() for sampler in samplers)
        assert theirs.observations.device.type == "cuda"
        for first, second in zip(ours, theirs, strict=True):
            assert th.equal(first, second.cpu())
