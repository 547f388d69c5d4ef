"""BC into the policies of every SB3 algorithm: they learn, stay SB3's own, and resume exactly."""

import importlib.util

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy

from sb3_il_plus import BC, DAgger, Demonstrations, evaluate, make
from sb3_il_plus.errors import InapplicableError, UnknownNameError, UserError
from sb3_il_plus.testing.environments import (
    HORIZON,
    echo_demonstrations,
    echo_expert,
    make_echo,
)
from sb3_il_plus.testing.task import differing, same_actions

LSTM = {"net_arch": [16], "lstm_hidden_size": 16}

KINDS = [
    ("a2c", "Discrete", "likelihood"),
    ("trpo", "Box", "mse"),
    ("sac", "Box", "likelihood"),
    ("sac", "Box", "mse"),
    ("tqc", "Box", "likelihood"),
    ("td3", "Box", "mse"),
    ("ddpg", "Box", "mse"),
    ("dqn", "Discrete", "cross_entropy"),
    ("dqn", "Discrete", "large_margin"),
    ("qrdqn", "Discrete", "cross_entropy"),
    ("recurrent_ppo", "Discrete", "likelihood"),
    ("recurrent_ppo", "Box", "mse"),
    ("maskable_ppo", "MultiDiscrete", "likelihood"),
    ("maskable_ppo", "Discrete", "mse"),
    pytest.param(
        "crossq",
        "Box",
        "likelihood",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("sb3_contrib.crossq") is None, reason="needs newer sb3-contrib"
        ),
    ),
]


def build(policy_of, action, **kwargs):
    policy_kwargs = LSTM if policy_of == "recurrent_ppo" else {"net_arch": [16]}
    arguments = {
        "env": None,
        "demonstrations": echo_demonstrations("Box", action),
        "batch_size": 16,
        "learning_rate": 3e-3,
        "seed": 0,
        "policy_kwargs": policy_kwargs,
    }
    return BC("MlpPolicy", policy_of=policy_of, **{**arguments, **kwargs})


@pytest.mark.parametrize(("policy_of", "action", "loss"), KINDS)
def test_each_kind_of_policy_learns_from_data_alone(policy_of, action, loss):
    # Of the 8 that the expert gets, random actions get about 4; these reach at least 7.7.
    model = build(policy_of, action, loss=loss).learn(300)
    assert evaluate(model, make_echo("Box", action), 8, seed=0).mean_return > 0.9 * HORIZON


@pytest.mark.parametrize(("policy_of", "action", "loss"), KINDS)
def test_resuming_equals_never_having_stopped(policy_of, action, loss, tmp_path):
    whole = build(policy_of, action, loss=loss, minibatch_size=8).learn(40)
    part = build(policy_of, action, loss=loss, minibatch_size=8).learn(13)
    part.save(tmp_path / "bc")
    resumed = BC.load(tmp_path / "bc", demonstrations=part.demonstrations)
    assert (resumed.policy_of, resumed.loss) == (policy_of, loss)
    resumed.learn(27, reset_num_timesteps=False)
    assert differing(whole.get_parameters(), resumed.get_parameters()) == []


@pytest.mark.parametrize(
    ("algorithm", "action"), [(PPO, "Box"), (A2C, "Box"), (SAC, "Box"), (TD3, "Box"), (DDPG, "Box")]
)
def test_the_weights_move_into_sb3_s_own_algorithm(algorithm, action):
    model = build(algorithm, action).learn(20)
    agent = algorithm("MlpPolicy", make_echo("Box", action), policy_kwargs={"net_arch": [16]})
    assert type(agent.policy) is type(model.policy)
    agent.policy.load_state_dict(model.policy.state_dict())
    observations = make_echo("Box", action, 5).reset()
    assert same_actions(model, agent, observations)


@pytest.mark.parametrize("policy_of", ["sac", "tqc", "td3"])
def test_critics_stay_and_the_target_actor_follows(policy_of):
    model = build(policy_of, "Box")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(5)
    after = model.policy.state_dict()
    changed = {name.split(".")[0] for name in differing(before, after)}
    assert changed == ({"actor", "actor_target"} if policy_of == "td3" else {"actor"})
    for name in [name for name in after if name.startswith("actor_target.")]:
        assert th.equal(after[name], after[name.replace("actor_target", "actor")])


@pytest.mark.parametrize(("policy_of", "net"), [("dqn", "q_net"), ("qrdqn", "quantile_net")])
def test_the_target_network_follows_in_every_update(policy_of, net):
    def check(variables, _):
        policy = model.policy
        target, source = (getattr(policy, name).state_dict() for name in (f"{net}_target", net))
        seen.append(differing(target, source))
        return True

    model, seen = build(policy_of, "Discrete", l2_weight=0.1), []
    model.learn(4, callback=check)
    assert seen == [[]] * 4


@pytest.mark.parametrize("policy_of", ["sac", "td3"])
def test_actions_are_scaled_to_the_bounds_and_back(policy_of):
    space = spaces.Box(np.array([0, -1]), np.array([10, 3]), dtype=np.float32)
    observations = np.random.default_rng(0).uniform(-1, 1, (200, 1)).astype(np.float32)
    actions = np.concatenate([5 + 4 * observations, 1 + observations], axis=1)
    data = Demonstrations.from_arrays(observations, actions, action_space=space)
    model = BC("MlpPolicy", None, data, policy_of=policy_of, learning_rate=3e-3, seed=0).learn(300)
    chosen, _ = model.predict(observations, deterministic=True)
    assert np.abs(chosen - actions).max(axis=0) == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize(("policy_of", "action"), [("sac", "Box"), ("dqn", "Discrete")])
def test_a_learning_rate_schedule_reaches_the_optimiser_that_trains(policy_of, action):
    def watch(variables, _):
        (group,) = model._kind.find_optimizer(model.policy).param_groups
        seen.append(group["lr"])
        return True

    model, seen = build(policy_of, action, learning_rate=lambda left: 0.01 * left), []
    model.learn(5, callback=watch)
    np.testing.assert_allclose(seen, [0.01, 0.008, 0.006, 0.004, 0.002])


@pytest.mark.parametrize("loss", ["likelihood", "mse"])
def test_experts_at_their_bounds_are_cloned(loss):
    """Every action is at a bound, where the inverse tanh is infinite."""
    observations = np.random.default_rng(0).uniform(-1, 1, (200, 1)).astype(np.float32)
    data = Demonstrations.from_arrays(
        observations, np.sign(observations), action_space=spaces.Box(-1, 1, (1,))
    )
    kwargs = {"learning_rate": 3e-3, "policy_kwargs": {"net_arch": [64, 64]}, "seed": 0}
    model = BC("MlpPolicy", None, data, policy_of="sac", loss=loss, **kwargs).learn(300)
    chosen, _ = model.predict(observations, deterministic=True)
    far = np.abs(observations) > 0.1
    assert np.abs(chosen - np.sign(observations))[far].max() < 0.2


def test_a_policy_class_says_itself_whose_it_is():
    data = echo_demonstrations("Box", "Box")
    assert type(BC(SACPolicy, None, data).policy) is SACPolicy
    assert type(make("bc", None, data, policy=SACPolicy).policy) is SACPolicy

    class Mine(DQNPolicy):
        pass

    model = BC(Mine, None, echo_demonstrations("Box", "Discrete"))
    assert type(model.policy) is Mine and model.learn(2).num_timesteps == 2


def test_make_finds_the_policy_of_a_recurrent_algorithm():
    data = echo_demonstrations("Dict", "Discrete")
    model = make("bc", None, data, policy_of="recurrent_ppo", policy_kwargs=LSTM)
    assert type(model.policy).__name__ == "RecurrentMultiInputActorCriticPolicy"
    assert model.learn(3).num_timesteps == 3


def test_arguments_that_are_classes_and_arrays_are_saved(tmp_path):
    model = build(DQN, "Discrete", class_weights=np.array([1.0, 2.0, 3.0, 4.0]), margin=0.5)
    model.save(tmp_path / "bc")
    loaded = BC.load(tmp_path / "bc", demonstrations=model.demonstrations)
    assert loaded.policy_of is DQN and loaded.margin == 0.5
    np.testing.assert_array_equal(loaded._objective.class_weights, [1, 2, 3, 4])


def test_dqn_predicts_greedily_and_sb3_can_train_on_it():
    model = build(DQN, "Discrete").learn(50)
    agent = DQN("MlpPolicy", make_echo(), policy_kwargs={"net_arch": [16]}, learning_starts=10)
    agent.policy.load_state_dict(model.policy.state_dict())
    assert agent.learn(20).num_timesteps == 20


def test_normalised_observations_in_actor_critics_and_targets(tmp_path):
    data = echo_demonstrations("Box", "Box")
    model = BC("MlpPolicy", None, data, policy_of="td3", normalize_observations=True, seed=0)
    assert evaluate(model.learn(400), make_echo("Box", "Box"), 8, seed=0).mean_return > 7
    model.save(tmp_path / "bc")
    observations = make_echo("Box", "Box", 4).reset()
    assert same_actions(model, BC.load(tmp_path / "bc"), observations)


@pytest.mark.parametrize(("policy_of", "action"), [("sac", "Box"), ("dqn", "Discrete")])
def test_dagger_trains_other_policies_too(policy_of, action):
    model = DAgger(
        "MlpPolicy",
        make_echo("Box", action),
        expert=echo_expert("Box", action),
        policy_of=policy_of,
        policy_kwargs={"net_arch": [16]},
        learning_rate=3e-3,
        minibatch_size=8,
        n_epochs=10,
        rollout_round_min_timesteps=64,
        seed=0,
    ).learn(256)
    assert evaluate(model, make_echo("Box", action), 8, seed=0).mean_return > 0.9 * HORIZON


def test_pairs_that_do_not_fit_are_refused_with_the_reason():
    discrete, box = echo_demonstrations(), echo_demonstrations("Box", "Box")
    with pytest.raises(InapplicableError, match=r"cannot train a SACPolicy here: sac handles Box"):
        BC("MlpPolicy", None, discrete, policy_of="sac")
    with pytest.raises(InapplicableError, match=r"cannot train a DQNPolicy here: dqn handles Disc"):
        BC(DQNPolicy, None, box)
    with pytest.raises(InapplicableError, match=r"loss='likelihood' does not fit TD3Policy, whose"):
        BC("MlpPolicy", None, box, policy_of="td3", loss="likelihood")
    with pytest.raises(InapplicableError, match=r"'cross_entropy' and 'large_margin'; loss='auto'"):
        BC("MlpPolicy", None, discrete, policy_of="dqn", loss="mse")
    with pytest.raises(InapplicableError, match=r"policy_of='gail' is of the family 'imitation'"):
        BC("MlpPolicy", None, discrete, policy_of="gail")
    with pytest.raises(UnknownNameError, match=r"no policy called 'MlpLstmPolicy'; did you mean '"):
        BC("MlpLstmPolicy", None, discrete)
    with pytest.raises(InapplicableError, match=r"ARSPolicy is no policy that can be trained on"):
        BC("MlpPolicy", None, discrete, policy_of="ars")
    unbounded = Demonstrations.from_arrays(
        np.zeros((4, 1)), np.zeros((4, 1)), action_space=spaces.Box(-np.inf, np.inf, (1,))
    )
    with pytest.raises(
        InapplicableError, match=r"need finite bounds of actions, not Box\(-inf, inf"
    ):
        BC("MlpPolicy", None, unbounded, policy_of="sac")
    for policy_of in ("recurrent_ppo", "maskable_ppo"):
        with pytest.raises(InapplicableError, match=r"DAgger cannot train a \w+: while "):
            DAgger("MlpPolicy", make_echo(), policy_of=policy_of)
    with pytest.raises(UserError, match=r"minibatch_size=5 must be a divisor of batch_size=16"):
        build("ppo", "Discrete", minibatch_size=5)
