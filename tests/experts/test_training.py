"""Experts are trained once, checked, and kept: by real trainings and real processes."""

import json
import os
import shutil
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.errors import FileError, InapplicableError, UnknownNameError, UserError
from sb3_il_plus.evaluation import evaluate
from sb3_il_plus.experts import training
from sb3_il_plus.experts.training import TRAINED_IN, cache_folder, train_expert
from sb3_il_plus.experts.zoo import importlib

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("rl_zoo3") is None, reason="rl_zoo3 is missing"),
    pytest.mark.filterwarnings("ignore:the expert reaches a return"),
]

QUICK = {
    "total_timesteps": 3000,
    "n_eval_episodes": 5,
    "hyperparameters": {"n_steps": 64, "n_epochs": 10, "batch_size": 128, "learning_rate": 0.003},
}


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return folder, train_expert("CartPole-v1", cache_dir=folder, **QUICK)


@pytest.fixture
def cache(trained_once, tmp_path):
    """A cache folder of the test's own, with one expert in it."""
    return shutil.copytree(trained_once[0], tmp_path / "cache")


@pytest.fixture
def no_training(monkeypatch):
    """Fail where something is trained."""
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it was trained"))


def test_an_expert_is_trained_measured_and_kept(trained_once, no_training):
    folder, expert = trained_once
    facts = expert.metadata
    assert facts["env_id"] == facts["trained_in"] == "CartPole-v1"
    assert facts["algorithm"] == "ppo"
    assert facts["seed"] == 0
    assert facts["total_timesteps"] == 3072, "whole rollouts of 8 x 64 steps"
    assert facts["hyperparameters_source"] == "RL Zoo's ppo for CartPole-v1"
    assert facts["hyperparameters"]["gae_lambda"] == 0.8
    assert facts["hyperparameters"]["n_epochs"] == 10
    assert facts["reward_threshold"] == 475
    assert facts["mean_return"] > facts["random_return"] + 20
    again = evaluate(expert, "CartPole-v1", 5, seed=0)
    assert (facts["mean_return"], facts["std_return"]) == (again.mean_return, again.std_return)
    json.dumps(facts)

    files = [path.name for path in folder.iterdir() if path.suffix != ".lock"]
    assert len(files) == 1
    assert files[0].startswith("ppo-CartPole-v1-")

    kept = train_expert("CartPole-v1", cache_dir=folder, **QUICK)
    assert kept.metadata == facts
    batch = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    np.testing.assert_array_equal(kept.predict(batch)[0], expert.predict(batch)[0])


def test_the_same_seed_gives_the_same_expert_and_leaves_the_generators_alone(trained_once, cache):
    th.manual_seed(3)
    np.random.seed(3)
    before = th.get_rng_state(), np.random.get_state()[1].copy()
    first = trained_once[1]
    second, other = (
        train_expert("CartPole-v1", seed=seed, cache_dir=cache, retrain=True, **QUICK)
        for seed in (0, 1)
    )
    assert th.equal(th.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert first.metadata["training_seconds"] != second.metadata["training_seconds"]
    same, different = (expert.policy.parameters_to_vector() for expert in (second, other))
    np.testing.assert_array_equal(first.policy.parameters_to_vector(), same)
    assert not np.array_equal(same, different)


def test_a_progress_bar_is_shown_when_asked_for(tmp_path, capfd):
    with pytest.raises(UserError, match="no better than random"):
        train_expert("CartPole-v1", cache_dir=tmp_path, total_timesteps=1, progress_bar=True)
    shown = "".join(capfd.readouterr())
    assert "100%" in shown or "256" in shown


def test_statistics_are_kept_where_the_zoo_normalises(tmp_path):
    changes = {"n_envs": 2, "n_steps": 64, "learning_rate": "lin_0.002"}
    arguments = {
        "algorithm": "a2c",
        "hyperparameters": {"normalize": True, **changes},
        "cache_dir": tmp_path,
        "total_timesteps": 10_000,
        "n_eval_episodes": 5,
    }
    expert = train_expert("CartPole-v1", **arguments)
    assert expert.statistics is not None
    assert not isinstance(expert.actor, VecNormalize)
    kept = train_expert("CartPole-v1", **arguments)
    np.testing.assert_array_equal(kept.statistics.mean, expert.statistics.mean)
    assert kept.metadata["hyperparameters"]["learning_rate"] == "lin_0.002"
    result = evaluate(kept, "CartPole-v1", 5, seed=0)
    assert result.mean_return == expert.metadata["mean_return"]


def test_what_decides_the_result_decides_the_file(monkeypatch):
    def name(env_id="CartPole-v1", algorithm="ppo", seed=0, version="2.2.1", **settings):
        monkeypatch.setattr(training.stable_baselines3, "__version__", version)
        hyperparameters = training.Hyperparameters(settings, "a test")
        return training.Training(env_id, algorithm, hyperparameters, seed).file_name()

    names = [
        name(),
        name(env_id="seals/CartPole-v0"),
        name(algorithm="a2c"),
        name(seed=1),
        name(version="9.9"),
        name(n_timesteps=5),
        name(policy_kwargs={"activation_fn": th.nn.ReLU}),
        name(policy_kwargs={"activation_fn": th.nn.Tanh}),
    ]
    assert len(set(names)) == len(names)
    assert name(seed=1) == names[3]
    assert all("/" not in file for file in names)


def test_a_damaged_file_is_trained_again_with_a_warning(cache, monkeypatch):
    (file,) = cache.glob("*.zip")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.warns(UserWarning, match="the cached expert is damaged and is trained again"):
        train_expert("CartPole-v1", cache_dir=cache, **QUICK)
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it was trained again"))
    train_expert("CartPole-v1", cache_dir=cache, **QUICK)


def test_fixed_horizon_experts_are_trained_in_the_form_that_ends_early(tmp_path):
    pytest.importorskip("seals")
    expert = train_expert("seals/CartPole-v0", cache_dir=tmp_path, **QUICK)
    assert expert.metadata["trained_in"] == "CartPole-v1"
    assert expert.metadata["reward_threshold"] == 475
    assert expert.observation_space == gym.make("seals/CartPole-v0").observation_space
    assert evaluate(expert, "seals/CartPole-v0", 2, seed=0).lengths.tolist() == [500, 500]


@pytest.mark.parametrize("env_id", sorted(TRAINED_IN))
def test_both_forms_pay_the_same(env_id):
    """The reason why an expert of one is an expert of the other."""
    pytest.importorskip("seals")

    class Rule:
        observation_space = action_space = None

        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            if "CartPole" in env_id:
                return (observation[:, 2] + observation[:, 3] > 0).astype(int), state
            return np.where(observation[:, 1] < 0, 0, 2), state

    fixed = evaluate(Rule(), env_id, 20, seed=0)
    ordinary = evaluate(Rule(), TRAINED_IN[env_id], 20, seed=0)
    assert len(set(fixed.lengths)) == 1
    if "CartPole" in env_id:  # a fallen pole may swing up again and be paid once more
        solved = ordinary.returns == 500
        assert solved.sum() > 3
        np.testing.assert_array_equal(fixed.returns[solved], 500)
    else:
        np.testing.assert_array_equal(fixed.returns, ordinary.returns)


# -- the cache folder ------------------------------------------------------------------------------


def test_the_folder_can_be_chosen(tmp_path, monkeypatch):
    assert cache_folder(tmp_path / "mine") == tmp_path / "mine"
    monkeypatch.setenv("SB3_IL_PLUS_CACHE", str(tmp_path / "root"))
    assert cache_folder() == tmp_path / "root" / "experts"
    monkeypatch.delenv("SB3_IL_PLUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "sb3_il_plus" / "experts"


def test_a_folder_that_cannot_be_written_is_named_before_training(tmp_path, no_training):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileError, match=r"cannot write to the cache folder .*cache_dir=.*CACHE"):
        train_expert("CartPole-v1", cache_dir=tmp_path / "file" / "experts")


SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sb3_il_plus import train_expert
expert = train_expert("CartPole-v1", cache_dir=sys.argv[1], **json.loads(sys.argv[2]))
print("trained in", expert.metadata["training_seconds"])
"""


def test_two_processes_train_it_once(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), json.dumps(QUICK)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    outputs = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(outputs) == 1, "each took its own time, so each trained"
    assert outputs.pop().startswith("trained in")
    assert len(list(tmp_path.glob("*.zip"))) == 1
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".zip", ".lock")]


# -- what is refused -------------------------------------------------------------------------------


def test_an_agent_no_better_than_random_is_an_error_and_not_kept(tmp_path):
    with pytest.raises(
        UserError, match=r"no better than random actions \(\d+\.\d .*total_timesteps="
    ):
        train_expert("CartPole-v1", cache_dir=tmp_path, total_timesteps=1, n_eval_episodes=5)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.filterwarnings("default:the expert reaches a return")
def test_an_agent_below_the_threshold_is_a_warning_each_time(cache, no_training):
    with pytest.warns(UserWarning, match=r"reaches a return of .* below the 475\.0"):
        train_expert("CartPole-v1", cache_dir=cache, **QUICK)


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        ({"env_id": "CartPol-v1"}, UnknownNameError, "CartPole-v1"),
        ({"algorithm": "pppo"}, UnknownNameError, "'ppo'"),
        ({"algorithm": "gail"}, InapplicableError, "'gail' also needs demonstrations.*ppo"),
        ({"algorithm": "sac"}, InapplicableError, "no expert for CartPole-v1: sac handles Box"),
        ({"env_id": "Pendulum-v1", "algorithm": "dqn"}, InapplicableError, "dqn handles Discrete"),
        ({"total_timesteps": 0}, UserError, "total_timesteps=0"),
        ({"n_eval_episodes": 0}, UserError, "n_eval_episodes=0"),
        (
            {"hyperparameters": {"learning_rate": lambda progress: 0.1}},
            UserError,
            "'learning_rate' holds a function.*lin_0",
        ),
    ],
)
def test_bad_input_is_refused_before_training(arguments, error, complaint, tmp_path, no_training):
    with pytest.raises(error, match=complaint):
        train_expert(**{"env_id": "CartPole-v1", "cache_dir": tmp_path, **arguments})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"n_step": 5},
        {"policy": "NoPolicy"},
        {"normalize": {"clip": 1}},
        {"policy_kwargs": {"x": 1}},
    ],
)
def test_wrong_hyperparameters_are_named(changes, tmp_path):
    with pytest.raises(UserError, match="ppo refuses its hyperparameters: "):
        train_expert("CartPole-v1", cache_dir=tmp_path, hyperparameters=changes)
