"""From random actions with rewards, each algorithm learns what is good; cloning cannot."""

import numpy as np
import pytest
from offline_data import pendulum
from random_echo import random_echo
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_il_plus import (
    AWAC,
    BCQ,
    CQL,
    CRR,
    EDAC,
    IQL,
    SACN,
    TD3BC,
    XQL,
    CalQL,
    OfflineSAC,
    OfflineTD3,
    ReBRAC,
)
from sb3_il_plus.testing.environments import HORIZON, make_echo

SMALL = {"net_arch": [32, 32]}

EAGER = {
    TD3BC: {"alpha": 40.0},
    ReBRAC: {"beta1": 0.001, "beta2": 0.0, "tau": 0.02},
    OfflineTD3: {},
    SACN: {"n_critics": 3},
    EDAC: {"n_critics": 3, "eta": 0.01},
    BCQ: {"phi": 0.3, "n_target_actions": 4, "policy_kwargs": {**SMALL, "vae_arch": [32]}},
    CRR: {"beta": 0.05, "target_update_interval": 20},
    XQL: {"loss_temp": 0.2, "beta": 10.0, "decay_actor_learning_rate": False, "reward_scale": 1.0},
    OfflineSAC: {},
    IQL: {"expectile": 0.9, "decay_actor_learning_rate": False},
    AWAC: {"lam": 0.05},
    CQL: {"cql_alpha": 0.2, "cql_n_actions": 3, "actor_learning_rate": None},
    CalQL: {"cql_alpha": 0.2, "cql_n_actions": 3, "actor_learning_rate": None},
}
"""Hyperparameters that trust values more than such actions."""


@pytest.fixture(scope="module")
def random_data():
    return random_echo(150)


@pytest.mark.parametrize("algorithm", EAGER, ids=lambda algorithm: algorithm.__name__)
def test_it_beats_the_policy_that_made_the_data(algorithm, random_data):
    model = algorithm(
        "MlpPolicy",
        None,
        random_data,
        learning_rate=3e-3,
        batch_size=64,
        gamma=0.8,
        seed=0,
        device="cpu",
        **{"policy_kwargs": SMALL, **EAGER[algorithm]},
    ).learn(500)
    returns, _ = evaluate_policy(
        model, make_echo("Box", "Box", seed=1), 20, return_episode_rewards=True, warn=False
    )
    assert random_data.episode_returns.mean() == pytest.approx(HORIZON / 2, abs=0.2)
    # After as many updates two or three seeds returned 5.7 (CQL) to 8.0 (TD3+BC), and differed by
    # at most 0.9 (CRR: 6.2 to 7.1).
    assert np.mean(returns) > random_data.episode_returns.mean() + 1


SWING_UP = {
    ReBRAC: {"beta1": 0.005, "beta2": 0.0, "policy_delay": 1},
    SACN: {"n_critics": 3},
    EDAC: {"n_critics": 3, "eta": 0.1},
    BCQ: {
        "phi": 0.5,
        "n_target_actions": 5,
        "policy_kwargs": {"net_arch": [64, 64], "vae_arch": [64, 64]},
    },
    CRR: {"beta": 0.05, "target_update_interval": 1, "n_critics": 2},
    XQL: {"loss_temp": 0.1, "beta": 100.0, "decay_actor_learning_rate": False},
    OfflineSAC: {},
    OfflineTD3: {},
}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", SWING_UP, ids=lambda algorithm: algorithm.__name__)
def test_random_torques_are_enough_to_swing_up_better(algorithm):
    data = pendulum("random")
    shared = {
        "learning_rate": 3e-3,
        "batch_size": 128,
        "gamma": 0.95,
        "tau": 0.02,
        "reward_scale": 0.1,
        "policy_kwargs": {"net_arch": [64, 64]},
    }
    model = algorithm(
        "MlpPolicy", None, data, seed=0, device="cpu", **{**shared, **SWING_UP[algorithm]}
    ).learn(1000)
    env = make_vec_env("Pendulum-v1", 10, seed=5)
    returns, _ = evaluate_policy(model, env, 10, return_episode_rewards=True, warn=False)
    # The data's is -1280. Other seeds returned -180 to -480, of OfflineTD3 and XQL -790.
    assert np.mean(returns) > data.episode_returns.mean() + 200
