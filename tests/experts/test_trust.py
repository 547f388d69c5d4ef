"""`trust=True`: SB3's own loader reads what the safe reader refuses, and a warning says so."""

import base64
import json
import os
import pickle
import warnings
import zipfile

import cloudpickle
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import load_expert
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError
from sb3_il_plus.evaluation import evaluate
from sb3_il_plus.experts.trusted import TrustWarning


class OwnPolicy(ActorCriticPolicy):
    """A policy class of somebody else's."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """An agent with a policy class that is not on the list."""
    path = tmp_path_factory.mktemp("own") / "agent.zip"
    model = PPO(OwnPolicy, "CartPole-v1", n_steps=8, batch_size=8, seed=0, device="cpu")
    model.save(path)
    return path, model


def test_without_it_the_error_names_it(agent):
    with pytest.raises(FileError, match=r"OwnPolicy, which is not on the list.*trust=True"):
        load_expert(agent[0], "CartPole-v1")


@pytest.mark.parametrize("env", [None, "CartPole-v1"])
def test_with_it_sb3_loads_and_the_warning_names_what_was_unpickled(agent, env):
    path, model = agent
    with pytest.warns(
        TrustWarning, match=r"executes what it holds\. It names .*OwnPolicy.* because"
    ):
        expert = load_expert(path, env, algorithm="ppo", trust=True)
    assert isinstance(expert.policy, OwnPolicy)
    assert expert.metadata["trusted"] is True
    observations = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        expert.predict(observations)[0], model.predict(observations, deterministic=True)[0]
    )
    assert len(evaluate(expert, "CartPole-v1", 2, seed=0).returns) == 2


def test_the_algorithm_comes_from_rl_zoos_file_or_is_asked_for(agent, tmp_path):
    path, _ = agent
    with pytest.raises(FileError, match=r"not on the list.*name the algorithm.*algorithm='ppo'"):
        load_expert(path, trust=True)
    copy = tmp_path / "agent.zip"
    copy.write_bytes(path.read_bytes())
    (tmp_path / "args.yml").write_text("algo: ppo")
    with pytest.warns(TrustWarning):
        load_expert(copy, "CartPole-v1", trust=True)


def test_what_can_be_read_safely_is_never_unpickled(tmp_path, monkeypatch):
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "agent.zip")
    for module, name in ((pickle, "loads"), (cloudpickle, "loads")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it unpickled"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrustWarning)
        load_expert(tmp_path / "agent.zip", "CartPole-v1", trust=True)


def test_it_does_execute(agent, tmp_path):
    """The payload of the other tests is one: with trust=True, and only then, it runs."""
    target = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {target}",)

    path = tmp_path / "agent.zip"
    with zipfile.ZipFile(agent[0]) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                data = json.loads(content)
                hidden = base64.b64encode(pickle.dumps(Payload())).decode()
                data["extra"] = {":type:": "x", ":serialized:": hidden}
                content = json.dumps(data).encode()
            new.writestr(name, content)
    (tmp_path / "args.yml").write_text("algo: ppo")
    with pytest.raises(FileError, match="OwnPolicy"):
        load_expert(path, "CartPole-v1")
    assert not target.exists()
    with pytest.warns(TrustWarning, match=r"posix\.system|nt\.system"):
        load_expert(path, "CartPole-v1", trust=True)
    assert target.exists()


def test_statistics(tmp_path):
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "agent.zip")
    venv = VecNormalize(make_vec("CartPole-v1"), clip_obs=3.0)
    venv.note = np.sqrt  # not on the list, and harmless
    venv.save(str(tmp_path / "vecnormalize.pkl"))
    with pytest.raises(FileError, match=r"numpy\.sqrt|_ufunc_reconstruct.*trust=True"):
        load_expert(tmp_path / "agent.zip")
    with pytest.warns(TrustWarning, match=r"vecnormalize\.pkl is unpickled"):
        expert = load_expert(tmp_path / "agent.zip", trust=True)
    np.testing.assert_array_equal(expert.statistics.mean, venv.obs_rms.mean)
    assert expert.statistics.clip_obs == 3.0


def test_what_sb3_cannot_load_either_is_an_error(agent, tmp_path):
    path = tmp_path / "agent.zip"
    with zipfile.ZipFile(agent[0]) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"x" if name == "policy.pth" else old.read(name))
    (tmp_path / "args.yml").write_text("algo: ppo")
    with (
        pytest.warns(TrustWarning),
        pytest.raises(FileError, match="SB3's own loader cannot read it either"),
    ):
        load_expert(path, "CartPole-v1", trust=True)


def test_the_global_generators_are_left_alone(agent, tmp_path):
    path = tmp_path / "agent.zip"
    path.write_bytes(agent[0].read_bytes())
    (tmp_path / "args.yml").write_text("algo: ppo")
    th.manual_seed(1)
    expected = th.rand(1)
    th.manual_seed(1)
    with pytest.warns(TrustWarning):
        load_expert(path, "CartPole-v1", trust=True)
    assert th.rand(1) == expected
