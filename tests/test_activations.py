"""Activation functions by name, in any algorithm's policy."""

import gymnasium as gym
import pytest
from torch import nn

from sb3_il_plus import make
from sb3_il_plus.activations import activation_named, with_activation
from sb3_il_plus.errors import UnknownNameError


def test_a_policy_is_built_with_it_and_the_model_keeps_the_name():
    env = gym.make("CartPole-v1")
    model = make("bc", env, policy_kwargs={"activation_fn": "ReLU", "net_arch": [4]})
    kinds = [type(layer) for layer in model.policy.mlp_extractor.policy_net]
    assert kinds == [nn.Linear, nn.ReLU]
    assert model.policy_kwargs == {"activation_fn": "ReLU", "net_arch": [4]}


def test_what_is_no_name_is_left_alone():
    given = {"activation_fn": nn.ELU, "net_arch": [4]}
    assert with_activation(given) == given and with_activation(given) is not given
    assert with_activation({}) == {}


@pytest.mark.parametrize("name", ["relu", "Module", "F", "Tensor"])
def test_other_names_are_refused(name):
    assert activation_named(name) is None
    with pytest.raises(UnknownNameError, match=f"torch has no activation called '{name}'"):
        with_activation({"activation_fn": name})
