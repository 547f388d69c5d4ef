"""The discrete algorithms give the results of the plain version."""

import pytest
import torch as th
from alike import expect_alike
from plain_discrete import (
    PlainDiscreteAWAC,
    PlainDiscreteBCQ,
    PlainDiscreteCQL,
    PlainDiscreteCRR,
    PlainDiscreteIQL,
    PlainQLearning,
)
from plain_updates import EPSILON

from sb3_il_plus import (
    DiscreteAWAC,
    DiscreteBCQ,
    DiscreteCQL,
    DiscreteCRR,
    DiscreteIQL,
    OfflineDQN,
)
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.testing.environments import echo_demonstrations

QUICK = {
    "batch_size": 16,
    "learning_rate": 1e-3,
    "policy_kwargs": {"net_arch": [32, 32], "optimizer_kwargs": {"eps": EPSILON}},
    "seed": 3,
    "device": "cpu",
}
PLAIN = {
    "dqn": (OfflineDQN, PlainQLearning, {}),
    "dqn-hard_targets": (OfflineDQN, PlainQLearning, {"tau": 1.0, "target_update_interval": 7}),
    "cql": (DiscreteCQL, PlainDiscreteCQL, {"alpha": 0.7}),
    "bcq": (DiscreteBCQ, PlainDiscreteBCQ, {}),
    "bcq-strict": (DiscreteBCQ, PlainDiscreteBCQ, {"threshold": 0.8, "logit_weight": 0.1}),
    "iql": (DiscreteIQL, PlainDiscreteIQL, {"decay_actor_learning_rate": False}),
    "awac": (DiscreteAWAC, PlainDiscreteAWAC, {"lam": 0.3}),
    "crr-exp-mean": (DiscreteCRR, PlainDiscreteCRR, {}),
    "crr-exp-max": (DiscreteCRR, PlainDiscreteCRR, {"advantage_type": "max", "n_critics": 2}),
    "crr-binary-mean": (
        DiscreteCRR,
        PlainDiscreteCRR,
        {"weight_type": "binary", "target_update_interval": 7},
    ),
    "crr-binary-max": (
        DiscreteCRR,
        PlainDiscreteCRR,
        {"weight_type": "binary", "advantage_type": "max", "tau": 0.1},
    ),
}


@pytest.fixture(scope="module")
def data() -> Demonstrations:
    """Of the echo task, with choices that are wrong half of the time."""
    return echo_demonstrations("Box", "Discrete", n_episodes=20).corrupt(seed=0, wrong_actions=0.5)


@pytest.mark.parametrize("case", PLAIN)
def test_a_hundred_updates_equal_those_of_the_plain_version(case, data):
    algorithm, plain_version, arguments = PLAIN[case]
    model, twin = (algorithm("MlpPolicy", None, data, **QUICK, **arguments) for _ in range(2))
    plain = expect_alike(model, twin, plain_version)
    if hasattr(model, "critic"):
        for ours, theirs in (
            (model.critic, plain.critics),
            (model.critic_target, plain.target_critics),
        ):
            for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
                assert th.allclose(left, right, atol=1e-5, rtol=0)
