"""What the discrete algorithms share: data, refusals, acting, and SB3 models of them."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from offline_data import cartpole
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy

from sb3_il_plus import (
    Demonstrations,
    DiscreteAWAC,
    DiscreteBCQ,
    DiscreteCQL,
    DiscreteCRR,
    DiscreteIQL,
    OfflineDQN,
)
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.handover.to_sb3 import HandOverWarning
from sb3_il_plus.offline.discrete_bcq import BCQPolicy

BY_VALUES = (OfflineDQN, DiscreteCQL, DiscreteBCQ)
BY_ACTOR = (DiscreteIQL, DiscreteAWAC, DiscreteCRR)
QUICK = {"batch_size": 32, "policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def data():
    return cartpole("random", n_timesteps=500)


def trained(algorithm, data, **changes):
    return algorithm("MlpPolicy", None, data, **{**QUICK, **changes}).learn(20)


# -- data and arguments ----------------------------------------------------------------------------


def test_batches_hold_the_numbers_of_choices(data):
    batch = OfflineDQN("MlpPolicy", None, data, **QUICK)._batches.sample()
    assert batch.actions.shape == (32,) and batch.actions.dtype == th.int64
    assert set(batch.actions.tolist()) == {0, 1}
    assert batch.noise == {}


@pytest.mark.parametrize(
    ("algorithm", "arguments", "words"),
    [
        (OfflineDQN, {"tau": 0.0}, "tau=0.0 must lie within"),
        (OfflineDQN, {"target_update_interval": 0}, "target_update_interval=0 must be at least 1"),
        (DiscreteCQL, {"alpha": -1.0}, "alpha=-1.0 must not be negative"),
        (DiscreteBCQ, {"threshold": 1.0}, "threshold=1.0 must lie within"),
        (DiscreteIQL, {"expectile": 1.0}, "expectile=1.0 must lie within"),
        (DiscreteAWAC, {"lam": 0.0}, "lam=0.0 must be greater than 0"),
        (DiscreteAWAC, {"n_critics": 0}, "n_critics=0 must be at least 1"),
        (DiscreteCRR, {"weight_type": "square"}, "weight_type='square' must be 'binary' or 'exp'"),
        (DiscreteCRR, {"advantage_type": "min"}, "advantage_type='min' must be 'mean' or 'max'"),
        (DiscreteCRR, {"beta": 0.0}, "beta=0.0 must be greater than 0"),
    ],
)
def test_bad_arguments_are_refused(algorithm, arguments, words, data):
    with pytest.raises(UserError, match=words):
        algorithm("MlpPolicy", None, data, **{**QUICK, **arguments})


def test_other_actions_are_refused_with_the_reason(data):
    box = gym.make("Pendulum-v1")
    with pytest.raises(
        InapplicableError, match="discrete_cql handles Discrete actions, not Box: its"
    ):
        DiscreteCQL("MlpPolicy", box)
    shifted = Demonstrations.from_arrays(
        data.observations[:11],
        data.actions[:10] + 1,
        np.ones(10),
        episode_lengths=[10],
        observation_space=data.observation_space,
        action_space=spaces.Discrete(2, start=1),
    )
    with pytest.raises(InapplicableError, match="begins with 1: shift the actions"):
        OfflineDQN("MlpPolicy", None, shifted, **QUICK)


# -- acting ----------------------------------------------------------------------------------------


def test_policies_are_sb3s(data):
    for algorithm in BY_VALUES:
        assert isinstance(trained(algorithm, data).policy, DQNPolicy)
    for algorithm in BY_ACTOR:
        assert type(trained(algorithm, data).policy) is ActorCriticPolicy


def test_bcq_acts_by_values_among_what_it_imitates(data):
    model = trained(DiscreteBCQ, data, threshold=0.6)
    with th.no_grad():
        model.policy.imitation_net[-1].weight.zero_()
        model.policy.imitation_net[-1].bias.copy_(th.tensor([0.0, np.log(2)]))
        model.policy.q_net.q_net[-1].weight.zero_()
        model.policy.q_net.q_net[-1].bias.copy_(th.tensor([1.0, 0.0]))
    observations = data.observations[:5]
    assert model.predict(observations)[0].tolist() == [1] * 5  # 0 is worth more, and too rare
    assert BCQPolicy(**model.policy._get_constructor_parameters()).threshold == 0.6
    model.policy.threshold = 0.4
    assert model.predict(observations)[0].tolist() == [0] * 5


# -- SB3 models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", BY_VALUES)
def test_a_dqn_goes_on_with_the_values(algorithm, data):
    model = trained(algorithm, data, normalize_observations=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HandOverWarning)
        online = model.to_sb3(env=gym.make("CartPole-v1"))
    is_ours = any(issubclass(each.category, HandOverWarning) for each in caught)
    assert is_ours == (algorithm is DiscreteBCQ)
    assert type(online) is DQN
    assert online.replay_buffer.pos == len(data)
    observations = th.tensor(data.observations[:50])
    features = model._acting.extract_features(observations, model._extractor)
    for stack, network in (
        (model.critics, online.policy.q_net),
        (model.target_critics, online.policy.q_net_target),
    ):
        assert th.allclose(network(observations), stack.fixed_values(features)[0], atol=1e-4)
    online.learn(3)
    assert online._n_updates == 3 and online.replay_buffer.pos == len(data) + 3
    assert online.exploration_rate == pytest.approx(0.05)


@pytest.mark.filterwarnings("ignore::sb3_il_plus.handover.to_sb3.HandOverWarning")
def test_to_sb3_takes_the_optimiser_along(data):
    model = trained(DiscreteBCQ, data)
    online = model.to_sb3()
    # The same update on both sides has the same effect.
    ours, theirs = (list(each.policy.q_net.parameters()) for each in (model, online))
    for parameter, own in zip(theirs, ours, strict=True):
        assert th.equal(parameter, own)
        parameter.grad = th.ones_like(parameter)
    online.policy.optimizer.step()
    model.critics.flat.grad = th.ones_like(model.critics.flat)
    model.policy.optimizer.step()
    for parameter, own in zip(theirs, ours, strict=True):
        assert th.allclose(parameter, own, atol=1e-7)


@pytest.mark.parametrize("algorithm", BY_ACTOR)
def test_a_ppo_goes_on_with_the_actor(algorithm, data):
    model = trained(algorithm, data, normalize_observations=True)
    online = model.to_sb3(env=gym.make("CartPole-v1"), n_steps=32, batch_size=32)
    assert type(online) is PPO
    expected, _ = model.predict(data.observations[:50], deterministic=True)
    assert np.array_equal(online.predict(data.observations[:50], deterministic=True)[0], expected)
    online.learn(32)
    assert online.num_timesteps == 32
    with pytest.raises(InapplicableError, match="DQN cannot go on with the ActorCriticPolicy"):
        model.to_sb3(DQN)


def test_other_networks_of_actor_and_critic(data):
    kwargs = {"net_arch": {"pi": [8], "vf": [12, 12]}, "activation_fn": th.nn.Tanh}
    model = trained(DiscreteAWAC, data, policy_kwargs=kwargs)
    assert [layer.out_features for layer in model.critic[0] if isinstance(layer, th.nn.Linear)] == [
        12,
        12,
        2,
    ]
    assert model.actor.flat.numel() == 4 * 8 + 8 + 8 * 2 + 2
    with pytest.raises(InapplicableError, match="share_features_extractor=False"):
        trained(DiscreteAWAC, data, policy_kwargs={"share_features_extractor": False})
