"""From random actions in CartPole, each discrete algorithm learns to keep the pole up longer."""

import pytest
from offline_data import cartpole

from sb3_il_plus import (
    DiscreteAWAC,
    DiscreteBCQ,
    DiscreteCQL,
    DiscreteCRR,
    DiscreteIQL,
    OfflineDQN,
    evaluate,
)

EAGER = {
    OfflineDQN: {},
    DiscreteCQL: {"alpha": 0.5},
    DiscreteBCQ: {},
    DiscreteIQL: {
        "beta": 10.0,
        "expectile": 0.8,
        "decay_actor_learning_rate": False,
        "reward_scale": 0.1,
    },
    DiscreteAWAC: {"lam": 0.1},
    DiscreteCRR: {"weight_type": "binary", "tau": 1.0, "target_update_interval": 20},
}
"""Hyperparameters that trust values more than such actions."""


@pytest.mark.parametrize("algorithm", EAGER, ids=lambda algorithm: algorithm.__name__)
def test_it_beats_the_policy_that_made_the_data(algorithm):
    data = cartpole("random", n_timesteps=2000)
    model = algorithm(
        "MlpPolicy",
        None,
        data,
        learning_rate=3e-3,
        batch_size=64,
        gamma=0.97,
        policy_kwargs={"net_arch": [32, 32]},
        seed=0,
        device="cpu",
        **{"tau": 0.05, **EAGER[algorithm]},
    ).learn(500)
    mean = data.episode_returns.mean()
    assert mean == pytest.approx(21, abs=2)
    # After as many updates three seeds returned 55 (AWAC) to 500 (CQL).
    assert evaluate(model, "CartPole-v1", 4, seed=7).mean_return > 1.7 * mean
