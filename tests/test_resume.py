"""Runs that are killed: the newest checkpoint is whole, and going on from it loses nothing.

Every algorithm of the registry that learns from demonstrations or an expert is trained in
processes that SIGKILL ends at random moments, each of which goes on from the newest checkpoint.
Where no environment has a say, or rounds are seeded as DAgger's are, the result has to be that of a
run that was never killed, bit for bit.
"""

import multiprocessing
import os
import re
import signal
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from every_algorithm import NAMES, named
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_il_plus import BC
from sb3_il_plus.adapters.rounds import RoundsAlgorithm
from sb3_il_plus.errors import FileError
from sb3_il_plus.registry import registry
from sb3_il_plus.serialization import read_archive
from sb3_il_plus.testing.environments import echo_demonstrations
from sb3_il_plus.testing.task import Task, differing

FORK = multiprocessing.get_context("fork")
"""A process of its own that need not import torch again, which takes longer than the training."""


def is_exact(spec):
    """Whether resuming equals never having stopped: no environment, or one that rounds seed."""
    return "environment" not in spec.consumes or issubclass(spec.load(), RoundsAlgorithm)


def newest(folder):
    """The checkpoint that was completed last, if any, and its replay buffer, if there are such."""
    models = sorted(folder.glob("*.zip"), key=lambda path: path.stat().st_mtime_ns)
    buffers = {path.stem.replace("replay_buffer_", ""): path for path in folder.glob("*buffer*")}
    if buffers:  # which is written after its model
        models = [path for path in models if path.stem in buffers]
    model = models[-1] if models else None
    return model, buffers.get(model.stem) if model else None


def go_on(task, folder, total_timesteps, finished, **changes):
    """What a user's script does: begin, or go on from the newest checkpoint, until it is done."""
    warnings.simplefilter("ignore")
    env = task.env() if "environment" in task.spec.consumes else None
    checkpoint, buffer = newest(folder)
    model = task.load(checkpoint, env) if checkpoint else task.model(env, **changes)
    if buffer:
        model.load_replay_buffer(buffer)
    callback = CheckpointCallback(total_timesteps // 24, str(folder), save_replay_buffer=True)
    missing = total_timesteps - model.num_timesteps
    if missing > 0:
        model.learn(missing, callback=callback, reset_num_timesteps=checkpoint is None)
    model.save(finished)


def run_until_killed(rng, folder, script):
    """Kill a process at a random moment after it wrote some files; return whether it came to that.

    :param folder: where it writes
    """
    process = FORK.Process(target=script)
    process.start()
    awaited = len(list(folder.glob("[!.]*"))) + rng.integers(1, 6)
    deadline = time.monotonic() + 60
    while process.is_alive() and len(list(folder.glob("[!.]*"))) < awaited:
        assert time.monotonic() < deadline, "it writes nothing"
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.03))
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def killed_and_resumed(task, folder, total_timesteps, seed, **changes):
    """Train in processes that are killed a few times; return the model in the end."""
    folder.mkdir()
    finished = folder.parent / f"{folder.name}_finished.zip"
    rng = np.random.default_rng(seed)
    script = partial(go_on, task, folder, total_timesteps, finished, **changes)
    n_killed = 0
    while n_killed < 4 and run_until_killed(rng, folder, script):
        n_killed += 1
        # Whatever was going on, no half file looks like a checkpoint.
        if (checkpoint := newest(folder)[0]) is not None:
            assert task.load(checkpoint).num_timesteps <= total_timesteps
    assert n_killed >= 2
    last = FORK.Process(target=script)
    last.start()
    last.join()
    assert last.exitcode == 0
    return finished


@pytest.mark.parametrize("name", [named(name) for name in NAMES])
def test_killed_at_random_and_resumed(name, tmp_path):
    seed = sum(map(ord, name))
    task = Task(registry.get(name), tmp_path, seed=seed)
    total_timesteps = 10 * task.timesteps
    finished = killed_and_resumed(task, tmp_path / "killed", total_timesteps, seed)
    resumed = task.load(finished)
    assert total_timesteps <= resumed.num_timesteps
    if not is_exact(task.spec):
        return
    (tmp_path / "whole").mkdir()
    go_on(task, tmp_path / "whole", total_timesteps, tmp_path / "whole_finished.zip")
    whole = task.load(tmp_path / "whole_finished.zip")
    assert differing(whole.get_parameters(), resumed.get_parameters()) == []
    assert whole._state() == resumed._state()
    data = [read_archive(path) for path in (finished, tmp_path / "whole_finished.zip")]
    assert differing(*(archive.tensors.get("demonstrations", {}) for archive in data)) == []


def save_for_ever(model, path):
    while True:
        model.save(path)


def test_killed_while_writing_it_leaves_the_old_file(tmp_path):
    path, rng = tmp_path / "last.zip", np.random.default_rng(0)
    wide = {"net_arch": [300, 300]}  # so that most of the time is spent writing
    model = BC("MlpPolicy", None, echo_demonstrations(), policy_kwargs=wide, seed=0).learn(5)
    model.save(path)
    size = path.stat().st_size
    for _ in range(8):
        before = path.stat().st_mtime_ns
        process = FORK.Process(target=save_for_ever, args=(model, path))
        process.start()
        while path.stat().st_mtime_ns == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert differing(BC.load(path).get_parameters(), model.get_parameters()) == []
    halves = [found for found in tmp_path.iterdir() if found.stat().st_size < size]
    assert halves, "no process was killed in the middle of writing"
    for half in halves:
        assert half.name.startswith(".") and half.suffix != ".zip"
        with pytest.raises(FileError, match="is not a complete model file"):
            BC.load(half)


def test_the_script_of_the_docs(tmp_path, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "saving.md"
    _, script, *_ = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for large, small in {"100_000": "300", "5_000": "128", "seed=0": "seed=0, **quick"}.items():
        assert large in script
        script = script.replace(large, small)
    monkeypatch.chdir(tmp_path)
    task = Task(registry.get("gail"), tmp_path)
    quick = {"generator_kwargs": {"n_steps": 64}, "demo_batch_size": 16}
    runs = []
    for _ in range(3):
        names = {"env": task.env(), "demos": task.demonstrations, "quick": quick}
        exec(script, names)
        runs.append((names["missing"], names["model"].num_timesteps))
    # The file of step 256 is of the rollout from 192 to 256; that of step 320 of the last one.
    assert runs == [(300, 320), (108, 320), (44, 320)]


def mean_return(path, task):
    """Of a saved model's policy."""
    mean, _ = evaluate_policy(task.load(path), task.env(), n_eval_episodes=20, warn=False)
    return mean


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_killed_and_resumed_it_learns_as_well(name, tmp_path):
    spec = registry.get(name)
    if is_exact(spec):
        pytest.skip("it ends at the same model, bit for bit")
    task = Task(spec, tmp_path)
    total_timesteps = 42 * task.timesteps
    path = killed_and_resumed(task, tmp_path / "run", total_timesteps, 0, learning_rate=3e-3)
    task.model(learning_rate=3e-3).learn(total_timesteps).save(tmp_path / "whole.zip")
    # AIRL, the slowest, reaches the expert's 8 in this time with each of 8 seeds, killed or not.
    assert mean_return(path, task) >= mean_return(tmp_path / "whole.zip", task) - 1.2
