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
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_il_plus import BC, DAgger
from sb3_il_plus.adapters.rounds import RoundsAlgorithm
from sb3_il_plus.errors import FileError, InapplicableError, MissingExtraError
from sb3_il_plus.persistence import constructor_arguments
from sb3_il_plus.registry import list_algorithms, registry
from sb3_il_plus.serialization import read_archive
from sb3_il_plus.spec import require
from sb3_il_plus.testing.check import learns_from_demonstrator
from sb3_il_plus.testing.environments import echo_demonstrations, echo_expert, make_echo
from sb3_il_plus.testing.task import Task, differing

FORK = multiprocessing.get_context("fork")
"""A process of its own that need not import torch again, which takes longer than the training."""


def algorithms():
    """Names of all that learn from demonstrations or an expert, now or some day."""
    for spec in filter(learns_from_demonstrator, list_algorithms()):
        try:
            for module in spec.requires:
                require(module, spec.name)
        except MissingExtraError as error:
            yield pytest.param(spec.name, marks=pytest.mark.skip(str(error)))
        else:
            yield spec.name


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
    awaited = len(list(folder.iterdir())) + rng.integers(1, 6)
    deadline = time.monotonic() + 60
    while process.is_alive() and len(list(folder.iterdir())) < awaited:
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
        assert task.load(newest(folder)[0]).num_timesteps <= total_timesteps
    assert n_killed >= 2
    last = FORK.Process(target=script)
    last.start()
    last.join()
    assert last.exitcode == 0
    return finished


@pytest.mark.parametrize("name", list(algorithms()))
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


# -- what a file holds -----------------------------------------------------------------------------

OFF_POLICY = {
    "generator": "sac",
    "generator_kwargs": {"learning_starts": 16, "batch_size": 16, "buffer_size": 500},
}


@pytest.mark.parametrize("arguments", [{}, OFF_POLICY], ids=["on_policy", "off_policy"])
@pytest.mark.parametrize("name", list(algorithms()))
def test_checkpoints_with_vec_normalize_and_replay_buffer(name, arguments, tmp_path):
    task = Task(registry.get(name), tmp_path)
    if arguments and "generator" not in constructor_arguments(task.cls):
        pytest.skip("it has no generator")
    if arguments:
        task = task.within(action="Box")
    callback = CheckpointCallback(
        24, str(tmp_path), "run", save_replay_buffer=True, save_vecnormalize=True
    )
    env = VecNormalize(task.env(), norm_reward=False)
    try:
        model = task.model(env, **arguments)
    except InapplicableError as error:
        pytest.skip(str(error))
    model.learn(task.timesteps, callback=callback)

    env = VecNormalize.load(str(tmp_path / "run_vecnormalize_24_steps.pkl"), task.env())
    resumed = task.load(tmp_path / "run_24_steps.zip", env)
    buffer = tmp_path / "run_replay_buffer_24_steps.pkl"
    assert buffer.exists() == (getattr(model, "replay_buffer", None) is not None)
    if buffer.exists():
        resumed.load_replay_buffer(buffer)
        n = resumed.replay_buffer.size()
        assert n <= 23  # SB3 stores a step after its callbacks
        for column in ("observations", "actions", "dones"):
            kept, seen = (getattr(m.replay_buffer, column)[:n] for m in (resumed, model))
            np.testing.assert_array_equal(kept, seen)
        read_archive(buffer)  # which reads plain JSON and tensors only
    resumed.learn(task.timesteps - resumed.num_timesteps, reset_num_timesteps=False)
    assert resumed.num_timesteps == model.num_timesteps


def learned_rewards(model, task):
    """What a model's reward net pays for some steps of the echo task."""
    venv = model.as_reward_wrapper(task.env())
    venv.action_space.seed(0)
    venv.reset()
    return [venv.step(np.array([venv.action_space.sample()]))[1] for _ in range(20)]


@pytest.mark.parametrize("name", list(algorithms()))
def test_reward_nets_are_reloaded_without_an_environment(name, tmp_path):
    task = Task(registry.get(name), tmp_path)
    if not hasattr(task.cls, "as_reward_wrapper"):
        pytest.skip("it learns no reward")
    model = task.trained()
    model.save(tmp_path / "model.zip")
    # With another seed, nets that the file does not hold would be others.
    rewards = learned_rewards(task.cls.load(tmp_path / "model.zip", seed=1), task)
    np.testing.assert_array_equal(rewards, learned_rewards(model, task))
    assert np.std(rewards) > 0


def draw():
    """The next numbers of the generators that SB3 draws from."""
    return [*th.rand(3).tolist(), *np.random.rand(3)]


class Draw(BaseCallback):
    """Draws when training begins."""

    def _on_training_start(self):
        self.drawn = draw()

    def _on_step(self):
        return False


def test_random_streams_go_on_where_they_were(tmp_path):
    task = Task(registry.get("gail"), tmp_path)
    model = task.trained()
    model.save(tmp_path / "model.zip")
    expected = draw()

    def drawn_after(**learn):
        resumed = task.load(tmp_path / "model.zip", env)
        callback = Draw()
        resumed.learn(16, callback=callback, **learn)
        return callback.drawn

    env = task.env()
    assert drawn_after(reset_num_timesteps=False) == expected
    assert drawn_after(reset_num_timesteps=True) != expected  # a run of its own, from its seed


def test_a_resumed_environment_does_not_begin_with_its_first_episodes_again(tmp_path):
    task = Task(registry.get("gail"), tmp_path)

    def first_observations(model, **learn):
        seen = []
        model.learn(64, callback=lambda at, _: seen.append(at["new_obs"].copy()), **learn)
        return np.array(seen[:32])

    model = task.model()
    first = first_observations(model)
    model.save(tmp_path / "model.zip")
    again, once_more = (
        first_observations(task.load(tmp_path / "model.zip", task.env()), reset_num_timesteps=False)
        for _ in range(2)
    )
    assert not np.array_equal(first, again)
    np.testing.assert_array_equal(again, once_more)


def mean_return(path, task):
    """Of a saved model's policy."""
    mean, _ = evaluate_policy(task.load(path), task.env(), n_eval_episodes=20, warn=False)
    return mean


@pytest.mark.slow
@pytest.mark.parametrize("name", list(algorithms()))
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


# -- variants of behavioural cloning ---------------------------------------------------------------


class Noisy(nn.Sequential):
    """A network that draws from torch's global generator when it trains."""

    def __init__(self, observation_space, features_dim=8):
        super().__init__(nn.Linear(observation_space.shape[0], features_dim), nn.Dropout(0.5))
        self.features_dim = features_dim


def falling(progress_remaining):
    return 1e-2 * progress_remaining


NOT_IN_A_FILE = ("learning_rate", "policy_kwargs")
"""Arguments that can hold functions and classes of the user's own, which are given again."""

VARIANTS = {
    "validation": {"validation_fraction": 0.25, "validation_freq": 3},
    "early_stopping": {
        "validation_fraction": 0.25,
        "validation_freq": 2,
        "early_stopping_patience": 3,
        "learning_rate": 0.3,
    },
    "minibatches": {"minibatch_size": 4},
    "dropout": {"policy_kwargs": {"features_extractor_class": Noisy}},
    "schedule": {"learning_rate": falling},
    "normalized": {"normalize_observations": True},
    "dqn": {"policy_of": "dqn", "loss": "large_margin"},
    "sac": {"policy_of": "sac"},
    "td3": {"policy_of": "td3"},
    "recurrent_ppo": {"policy_of": "recurrent_ppo", "sequence_length": 5},
    "maskable_ppo": {"policy_of": "maskable_ppo", "class_weights": "balanced"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_behavioural_cloning_resumes_exactly_from_every_checkpoint(variant, tmp_path):
    arguments = {"batch_size": 8, "seed": 3, "device": "cpu", **VARIANTS[variant]}
    action = "Box" if variant in ("sac", "td3") else "Discrete"
    data = echo_demonstrations(action=action)
    again = {name: arguments[name] for name in NOT_IN_A_FILE if name in arguments}
    whole = BC("MlpPolicy", None, data, **arguments)
    whole.learn(40, callback=CheckpointCallback(1, str(tmp_path)))
    last = whole.num_timesteps
    assert (last < 40) == (variant == "early_stopping")
    for step in np.random.default_rng(0).integers(1, last, 5):
        resumed = BC.load(tmp_path / f"rl_model_{step}_steps.zip", demonstrations=data, **again)
        assert resumed.num_timesteps == step
        resumed.learn(40 - step, reset_num_timesteps=False)
        assert resumed.num_timesteps == last
        assert differing(whole.get_parameters(), resumed.get_parameters()) == []
        assert whole._state() == resumed._state()


@pytest.mark.parametrize("variant", ["dropout", "schedule", "normalized"])
def test_dagger_resumes_exactly_from_every_checkpoint(variant, tmp_path):
    arguments = {"batch_size": 8, "seed": 3, "device": "cpu", **VARIANTS[variant]}
    rounds = {"rollout_round_min_timesteps": 16, "rollout_round_min_episodes": 1}
    again = {name: arguments[name] for name in NOT_IN_A_FILE if name in arguments}
    whole = DAgger("MlpPolicy", make_echo(), expert=echo_expert(), **rounds, **arguments)
    whole.learn(80, callback=CheckpointCallback(1, str(tmp_path)))
    for step in np.random.default_rng(0).integers(1, 80, 5):
        resumed = DAgger.load(
            tmp_path / f"rl_model_{step}_steps.zip", make_echo(), expert=echo_expert(), **again
        )
        resumed.learn(80 - resumed.num_timesteps, reset_num_timesteps=False)
        assert differing(whole.get_parameters(), resumed.get_parameters()) == []
        assert whole._state() == resumed._state()
        assert whole.demonstrations.fingerprint() == resumed.demonstrations.fingerprint()
