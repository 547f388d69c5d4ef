"""Losses of the discrete algorithms against numbers that NumPy works out on its own."""

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_il_plus.offline.awac import advantage_weights
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.categorical import Probabilities, lowest
from sb3_il_plus.offline.discrete import ChoiceCritics, of_choices
from sb3_il_plus.offline.discrete_bcq import best_allowed
from sb3_il_plus.offline.discrete_cql import conservative_gap
from sb3_il_plus.offline.discrete_crr import crr_weights
from sb3_il_plus.offline.offline_dqn import double_q_target

RNG = np.random.default_rng(0)


def tensor(values):
    return th.as_tensor(np.asarray(values), dtype=th.float32)


class Scripted:
    """Stands in for critics: a table in place of learned values."""

    def __init__(self, table):
        self.table = tensor(table)

    def fixed_values(self, observations):
        return self.table


def test_double_q_target_chooses_by_one_network_and_values_by_the_other():
    batch = Batch(
        observations=th.zeros(3, 1),
        actions=th.zeros(3, dtype=th.int64),
        next_observations=th.zeros(3, 1),
        rewards=tensor([1.0, 2.0, 3.0]),
        discounts=tensor([0.9, 0.9, 0.0]),
        noise={},
        extras={},
    )
    chooses = Scripted([[[1.0, 5.0], [4.0, 0.0], [0.0, 1.0]]])
    values = Scripted([[[30.0, 10.0], [20.0, 40.0], [7.0, 8.0]]])
    target = double_q_target(batch, chooses, values)
    assert target.tolist() == pytest.approx([1 + 0.9 * 10, 2 + 0.9 * 20, 3])


def test_critics_are_their_networks():
    th.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(2)]
    observations, choices = th.randn(5, 3), th.tensor([0, 3, 1, 2, 2])
    expected = [
        [net(row)[choice].item() for row, choice in zip(observations, choices, strict=True)]
        for net in networks
    ]
    critics = ChoiceCritics(*networks)
    for values in (critics.values(observations), critics.fixed_values(observations)):
        assert values.shape == (2, 5, 4)
        assert np.allclose(of_choices(values, choices).detach(), expected, atol=1e-6)
    found = lowest(critics.fixed_values(observations), choices)
    assert np.allclose(found, np.min(expected, axis=0), atol=1e-6)
    single = ChoiceCritics(networks[0])
    assert single.values(observations).shape == (1, 5, 4)


def test_conservative_gap():
    values, choices = RNG.normal(size=(1, 6, 3)), RNG.integers(3, size=6)
    of_data = values[:, np.arange(6), choices]
    expected = (np.log(np.exp(values).sum(-1)) - of_data).mean()
    found = conservative_gap(tensor(values), tensor(of_data))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("threshold", "best"),
    [(0.0, [0, 0]), (0.3, [1, 0]), (0.79, [1, 2]), (0.99, [2, 2])],
)
def test_the_best_of_the_choices_that_are_likely_enough(threshold, best):
    # Relative to the likeliest: 0.125, 0.8, 1; and 0.75, 0.25, 1.
    likely = np.array([[0.1, 0.64, 0.8], [0.3, 0.1, 0.4]])
    values = tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert best_allowed(values, tensor(np.log(likely)), threshold).tolist() == best


def test_what_an_actor_does():
    logits, values = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    probabilities = Probabilities(tensor(logits).log_softmax(-1))
    assert np.allclose(probabilities.mean(tensor(values)), (shares * values).sum(1), atol=1e-6)
    choices = np.array([2, 0, 1, 1])
    expected = np.log(shares[np.arange(4), choices])
    assert np.allclose(probabilities.of(th.from_numpy(choices)), expected, atol=1e-6)


def test_weights_of_crr():
    advantages = tensor([-1.0, 0.0, 0.5, 9.0])
    assert crr_weights(advantages, "binary", 1.0, 20.0).tolist() == [0, 1, 1, 1]
    found = crr_weights(advantages, "exp", 0.5, 20.0)
    assert found.tolist() == pytest.approx([np.exp(-2), 1, np.exp(1), 20])


def test_weights_of_awac():
    advantages = np.array([-1.0, 0.5, 9.0])
    raw = np.exp(advantages / 2)
    found = advantage_weights(tensor(advantages), 2.0, True, 100.0)
    assert np.allclose(found, raw / raw.mean(), rtol=1e-5)
    found = advantage_weights(tensor(advantages), 2.0, False, 50.0)
    assert np.allclose(found, np.minimum(raw, 50), rtol=1e-5)
