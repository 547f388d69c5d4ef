"""An agent stopped early is the later expert at an earlier time, and all it saw is kept."""

import shutil
from contextlib import closing

import numpy as np
import pytest

from sb3_il_plus.data.vec_env import VecEnvRecorder
from sb3_il_plus.errors import UserError
from sb3_il_plus.evaluation import evaluate
from sb3_il_plus.experts import medium
from sb3_il_plus.experts.medium import train_medium
from sb3_il_plus.experts.training import Training, train
from sb3_il_plus.experts.zoo import importlib

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("rl_zoo3") is None, reason="rl_zoo3 is missing"
)

SETTINGS = {
    "total_timesteps": 6000,
    "seed": 1,
    "hyperparameters": {"n_steps": 64, "n_epochs": 10, "batch_size": 128, "learning_rate": 0.003},
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return folder, *train_medium("CartPole-v1", target_return=60.0, cache_dir=folder, **SETTINGS)


def test_it_is_stopped_when_it_reaches_the_return(stopped):
    _, agent, replay = stopped
    assert 512 < len(replay) == agent.metadata["total_timesteps"] < 4000
    found = evaluate(agent, "CartPole-v1", 20, seed=5, deterministic=False)
    assert 45 < found.mean_return < 250  # the new agent has 22, the expert 500
    assert agent.metadata["stopped_at"] == 60.0
    assert 45 < agent.metadata["mean_return"] < 250


def test_it_saw_what_the_expert_saw_before(stopped):
    replay = stopped[2]
    training = Training.tuned("CartPole-v1", "ppo", **SETTINGS)
    with closing(VecEnvRecorder(training.make_vec())) as venv:
        train(training, venv)
        longer = venv.demonstrations()
    whole = int((replay.terminations | replay.truncations).sum())
    assert whole > 20
    assert replay[:whole].fingerprint() == longer[:whole].fingerprint()


def test_what_is_kept_is_not_trained_again(stopped, tmp_path, monkeypatch):
    folder, agent, replay = stopped
    cache = shutil.copytree(folder, tmp_path / "cache")
    options = {"target_return": 60.0, "cache_dir": cache, **SETTINGS}
    with monkeypatch.context() as patched:
        patched.setattr(medium, "train", lambda *_, **__: pytest.fail("it was trained"))
        again, seen = train_medium("CartPole-v1", **options)
        assert seen.fingerprint() == replay.fingerprint()
        observations = replay.observations[:50]
        np.testing.assert_array_equal(
            again.predict(observations)[0], agent.predict(observations)[0]
        )
    (folder,) = cache.glob("*.mapped")
    shutil.rmtree(folder)
    assert train_medium("CartPole-v1", **options)[1].fingerprint() == replay.fingerprint()


def test_a_return_that_is_never_reached(tmp_path):
    options = {**SETTINGS, "total_timesteps": 600, "cache_dir": tmp_path}
    with pytest.raises(UserError, match=r"in CartPole-v1 after 600 steps, less than the 500.0 at"):
        train_medium("CartPole-v1", target_return=500.0, **options)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
