"""Policies and algorithms that know nothing of commands, made conditional by their features."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC

from sb3_il_plus import evaluate, make
from sb3_il_plus.conditional import BranchedPolicy, CommandBlocks
from sb3_il_plus.conditional.driving import DrivingEnv
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo

SPACE = spaces.Dict(
    {"state": spaces.Box(-1, 1, (2,), np.float32), "command": spaces.Discrete(3)},
)
KWARGS = {"net_arch": [16], "features_extractor_class": CommandBlocks}


def test_features_stand_in_the_block_of_their_command():
    features = CommandBlocks(SPACE)
    state = th.tensor([[0.5, -1.0], [2.0, 3.0]])
    command = th.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    blocks = features({"state": state, "command": command})
    assert blocks.tolist() == [
        [0, 0, 0, 0, 0, 0, 0.5, -1, 1],
        [2, 3, 1, 0, 0, 0, 0, 0, 0],
    ]
    assert features.features_dim == 9
    assert not list(features.parameters())


@pytest.mark.parametrize("name", ["iql", "td3_bc"])
def test_offline_algorithms_do_as_they_are_told(name, tmp_path):
    """The second bit of the right answer is the command, and the first one is shown."""
    data = echo_demonstrations("Dict", "Box", n_episodes=32)
    model = make(
        name, None, demonstrations=data, policy_kwargs=KWARGS, learning_rate=3e-3, seed=0
    ).learn(300)
    assert evaluate(model, make_echo("Dict", "Box"), 8, seed=0).mean_return > 0.9 * HORIZON
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip")
    observed = data.observations_at(np.arange(8))
    actions = model.predict(observed, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(observed, deterministic=True)[0], actions)
    told_otherwise = {**observed, "command": 1 - observed["command"]}
    others = loaded.predict(told_otherwise, deterministic=True)[0]
    assert np.all(np.sign(others[:, 1]) != np.sign(actions[:, 1]))


def test_sac_learns_with_it():
    model = SAC("MultiInputPolicy", DrivingEnv(), policy_kwargs=KWARGS, learning_starts=10, seed=0)
    model.learn(20)
    assert isinstance(model.actor.features_extractor, CommandBlocks)


def test_what_does_not_fit():
    goals = spaces.Dict({**SPACE.spaces, "command": spaces.Box(-1, 1, (2,))})
    with pytest.raises(InapplicableError, match="CommandBlocks has something of its own for each"):
        CommandBlocks(goals)


@pytest.mark.parametrize("name, action", [("iql", "Box"), ("discrete_cql", "Discrete")])
def test_policies_of_another_kind(name, action):
    data = echo_demonstrations("Dict", action, n_episodes=4)
    message = "BranchedPolicy is of another kind than the policies of .*'MultiInputPolicy'"
    with pytest.raises(InapplicableError, match=message):
        make(name, None, demonstrations=data, batch_size=8, policy=BranchedPolicy)
