"""Replay buffers in files of ours: complete, exact, and nothing that could be executed."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.save_util import save_to_pkl

from sb3_il_plus.adapters import replay_files
from sb3_il_plus.errors import FileError

VECTORS = spaces.Box(-1, 1, (3,), np.float32)
DICTS = spaces.Dict({"a": VECTORS, "b": spaces.Discrete(4)})
ACTIONS = spaces.Box(-2, 2, (2,), np.float32)


def filled(n_steps, buffer_size=20, n_envs=2, observation_space=VECTORS, **kwargs):
    """A buffer that has seen `n_steps` random steps of each copy."""
    cls = DictReplayBuffer if isinstance(observation_space, spaces.Dict) else ReplayBuffer
    buffer = cls(buffer_size, observation_space, ACTIONS, "cpu", n_envs, **kwargs)
    rng = np.random.default_rng(n_steps)

    def observe():
        vectors = rng.uniform(-1, 1, (n_envs, 3))
        return vectors if cls is ReplayBuffer else {"a": vectors, "b": rng.integers(0, 4, n_envs)}

    for _ in range(n_steps):
        over = rng.random(n_envs) < 0.3
        infos = [{"TimeLimit.truncated": bool(rng.random() < 0.5)} for _ in range(n_envs)]
        actions = rng.uniform(-1, 1, (n_envs, 2))
        buffer.add(observe(), observe(), actions, rng.normal(size=n_envs), over, infos)
    return buffer


def samples(buffer, seed=0):
    np.random.seed(seed)
    drawn = buffer.sample(64)
    entries = (
        [*drawn.observations.values(), *drawn.next_observations.values()]
        if isinstance(drawn.observations, dict)
        else [drawn.observations, drawn.next_observations]
    )
    return [part.numpy() for part in [*entries, drawn.actions, drawn.dones, drawn.rewards]]


@pytest.mark.parametrize("n_steps", [4, 10, 17])  # partly filled, full, wrapped around
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"observation_space": DICTS},
        {"optimize_memory_usage": True, "handle_timeout_termination": False},
    ],
    ids=["vectors", "dicts", "memory"],
)
def test_what_is_loaded_samples_as_what_was_saved(n_steps, options, tmp_path):
    buffer, other = filled(n_steps, **options), filled(3, **options)
    replay_files.save(buffer, tmp_path / "buffer")
    replay_files.load(other, tmp_path / "buffer")
    assert (other.pos, other.full) == (buffer.pos, buffer.full)
    for mine, theirs in zip(samples(other), samples(buffer), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["buffer.replay"]


def test_only_what_is_filled_is_written(tmp_path):
    replay_files.save(filled(10, buffer_size=200_000), tmp_path / "large.pkl")
    assert (tmp_path / "large.pkl").stat().st_size < 20_000


def test_streams_are_written_and_read():
    stream = io.BytesIO()
    replay_files.save(filled(5), stream)
    other = filled(2)
    replay_files.load(other, stream)
    assert other.pos == 5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"buffer_size": 40}, "buffer_size 10, this generator's buffer has 20"),
        ({"n_envs": 1, "buffer_size": 10}, "n_envs 2, this generator's buffer has 1"),
        ({"observation_space": DICTS}, "observation_space .* this generator's buffer has"),
    ],
)
def test_a_buffer_of_another_kind_is_refused_and_left_as_it_was(options, reason, tmp_path):
    replay_files.save(filled(5), tmp_path / "buffer")
    other = filled(3, **options)
    before = samples(other)
    with pytest.raises(FileError, match=reason):
        replay_files.load(other, tmp_path / "buffer")
    for mine, theirs in zip(samples(other), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Harmful:
    executed = False

    def __reduce__(self):
        return setattr, (Harmful, "executed", True)


def test_pickles_are_refused_and_not_executed(tmp_path):
    save_to_pkl(tmp_path / "sb3.pkl", filled(3))
    (tmp_path / "harmful.pkl").write_bytes(pickle.dumps(Harmful()))
    for name in ("sb3.pkl", "harmful.pkl"):
        with pytest.raises(FileError, match=r"not a replay buffer .* SB3 saves are pickles"):
            replay_files.load(filled(1), tmp_path / name)
    assert not Harmful.executed


def test_what_is_damaged_missing_or_a_model_is_refused(tmp_path):
    replay_files.save(filled(5), tmp_path / "buffer")
    content = (tmp_path / "buffer.replay").read_bytes()
    (tmp_path / "cut.replay").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match="not a replay buffer that sb3_il_plus saved"):
        replay_files.load(filled(1), tmp_path / "cut")
    with pytest.raises(FileError, match=r"missing\.replay is not a replay buffer"):
        replay_files.load(filled(1), tmp_path / "missing")
    model = tmp_path / "model.zip"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("data", '{"format_version": 1, "algorithm": "gail", "tensors": []}')
    with pytest.raises(FileError, match="holds a model of 'gail', not a replay buffer"):
        replay_files.load(filled(1), model)


def test_rows_that_contradict_the_header_are_refused(tmp_path):
    buffer = filled(5)
    replay_files.save(buffer, tmp_path / "buffer")
    with zipfile.ZipFile(tmp_path / "buffer.replay") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["data"] = entries["data"].replace(b'"pos": 5', b'"pos": 7')
    with zipfile.ZipFile(tmp_path / "changed.replay", "w") as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    with pytest.raises(FileError, match="damaged: ValueError: observations of shape"):
        replay_files.load(filled(1), tmp_path / "changed")
