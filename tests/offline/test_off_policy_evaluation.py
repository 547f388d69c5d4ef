"""What a policy is worth, told from data: against values worked out from the task itself."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from offline_data import MIXED, balance, cartpole, pendulum, swing_up

from sb3_il_plus import (
    BC,
    CQL,
    TD3BC,
    DecisionTransformer,
    Demonstrations,
    DiscreteIQL,
    OfflineDQN,
    fitted_q_evaluation,
    initial_state_value,
)
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.offline.divergence import DivergenceWarning
from sb3_il_plus.offline.evaluation import ValueEstimate
from sb3_il_plus.testing.environments import EchoEnv, echo_demonstrations, echo_expert

GAMMA = 0.9
QUICK = {
    "n_updates": 600,
    "learning_rate": 2e-3,
    "net_arch": (32, 32),
    "batch_size": 128,
    "tau": 0.1,
    "device": "cpu",
}
TINY = {"batch_size": 16, "policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}
RIGHT = np.eye(4)
"""Probabilities of saying what is shown: states and choices are numbered by their bits."""


def random_data(action, n_episodes):
    """Episodes of random actions in the echo task."""
    env = EchoEnv("Box", action)
    env.action_space.seed(0)
    observations, actions, rewards = [], [], []
    for episode in range(n_episodes):
        path, over = [env.reset(seed=episode)[0]], False
        while not over:
            actions.append(env.action_space.sample())
            seen, reward, _, over, _ = env.step(actions[-1])
            path.append(seen)
            rewards.append(reward)
        observations.append(np.stack(path))
    steps = (n_episodes, -1)
    return Demonstrations.from_arrays(
        observations,
        list(np.reshape(actions, (*steps, *env.action_space.shape))),
        list(np.reshape(rewards, steps)),
        truncations=[True] * n_episodes,
        env=env,
    )


def number(observation):
    return int((observation > 0) @ [2, 1])


def exact_value(probabilities, data):
    """Of the echo task that never ends, from the data's initial states: a linear system."""
    transitions, rewards = np.zeros((4, 4)), np.zeros(4)
    for state in range(4):
        for choice in range(4):
            shown, said = (np.array([each // 2, each % 2]) for each in (state, choice))
            probability = probabilities[state, choice]
            rewards[state] += probability * (1 - np.abs(said - shown).mean())
            transitions[state, 2 * said[1] + 1 - said[0]] += probability
    values = np.linalg.solve(np.eye(4) - GAMMA * transitions, rewards)
    return np.mean([values[number(episode.observations[0])] for episode in data.episodes()])


@pytest.fixture(scope="module")
def choices():
    return random_data("Discrete", 60)


@pytest.fixture(scope="module")
def vectors():
    return random_data("Box", 100)


# -- against exact values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probabilities", "deterministic"),
    [
        (RIGHT, True),
        (RIGHT[::-1], True),
        (np.tile(RIGHT[1], (4, 1)), True),
        (0.5 * RIGHT + 0.5 / 4, False),
    ],
    ids=["right", "wrong", "always the same", "right half of the time"],
)
def test_values_of_choices(probabilities, deterministic, choices):
    rng = np.random.default_rng(0)
    estimate = fitted_q_evaluation(
        lambda observation: rng.choice(4, p=probabilities[number(observation)]),
        choices,
        gamma=GAMMA,
        deterministic=deterministic,
        n_actions=40,
        **QUICK,
    )
    # Of values between 0 and 10, they were at most 0.05 off.
    assert estimate.mean == pytest.approx(exact_value(probabilities, choices), abs=0.3)
    assert estimate.low <= estimate.mean <= estimate.high
    assert estimate.values.shape == (60,)


@pytest.mark.parametrize(("strength", "exact"), [(0.9, 9.5), (0.5, 7.5), (-0.5, 2.5), (0.0, 5.0)])
def test_values_of_continuous_actions(strength, exact, vectors):
    rng = np.random.default_rng(0)

    def policy(observation):
        if strength == 0:
            return rng.uniform(-1, 1, 2).astype(np.float32)
        return strength * observation

    estimate = fitted_q_evaluation(
        policy, vectors, gamma=GAMMA, deterministic=strength != 0, **QUICK
    )
    # They were at most 0.17 off.
    assert estimate.mean == pytest.approx(exact, abs=0.5)


# -- against returns -------------------------------------------------------------------------------


def discounted_return(env_id, policy, gamma, data):
    """Mean over episodes that begin where those of the data do."""
    env, returns = gym.make(env_id), []
    for episode in data.episodes():
        env.reset(seed=0)
        observation = episode.observations[0]
        is_cartpole = len(observation) == 4
        cosine, sine, turning = observation[:3]
        state = observation if is_cartpole else [np.arctan2(sine, cosine), turning]
        env.unwrapped.state = np.array(state, dtype=np.float64)
        total, weight, over = 0.0, 1.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy(observation))
            total += weight * reward
            weight *= gamma
            over = terminated or truncated
        returns.append(total)
    return np.mean(returns)


def anything(space):
    space.seed(0)
    return lambda observation: space.sample()


def often_anything(policy, space):
    rng, sample = np.random.default_rng(0), anything(space)
    return lambda seen: sample(seen) if rng.random() < 0.6 else policy(seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "data", "gamma", "expert", "slack"),
    [
        ("CartPole-v1", cartpole, 0.98, balance, 4.0),
        ("Pendulum-v1", pendulum, 0.95, swing_up, 15.0),
    ],
    ids=["cartpole", "pendulum"],
)
def test_policies_are_ranked_as_their_returns_are(env_id, data, gamma, expert, slack):
    recorded = data(MIXED, n_timesteps=3000)
    actions = gym.make(env_id).action_space
    policies = (anything(actions), often_anything(expert, actions), expert)
    returns = [discounted_return(env_id, policy, gamma, recorded) for policy in policies]
    estimates = [
        fitted_q_evaluation(
            policy,
            recorded,
            gamma=gamma,
            deterministic=policy is expert,
            n_actions=5,
            **{**QUICK, "n_updates": 2000, "learning_rate": 1e-3, "net_arch": (64, 64)},
        ).mean
        for policy in policies
    ]
    assert sorted(returns) == returns and sorted(estimates) == estimates
    assert np.allclose(estimates, returns, atol=slack)


# -- what is asked and refused ---------------------------------------------------------------------


def test_the_same_seed_gives_the_same_estimate(choices):
    model = OfflineDQN("MlpPolicy", None, choices, **TINY).learn(10)
    few = {**QUICK, "n_updates": 20}
    first, again, other = (
        fitted_q_evaluation(model, choices, seed=seed, **few) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.values, again.values) and first.low == again.low
    assert not np.array_equal(first.values, other.values)


@pytest.mark.parametrize("action", ["Box", "Discrete"])
def test_entries_of_a_dict_are_read(action):
    data, few = echo_demonstrations("Dict", action), {**QUICK, "n_updates": 300}
    estimate = fitted_q_evaluation(echo_expert("Dict", action), data, gamma=GAMMA, **few)
    assert estimate.mean == pytest.approx(1 / (1 - GAMMA), rel=0.1)  # each step is worth 1


def test_values_that_no_return_can_have_are_warned_of(choices):
    with pytest.warns(DivergenceWarning, match="more than ten times what any return can be"):
        fitted_q_evaluation(
            lambda observation: 0, choices, n_updates=50, learning_rate=30.0, gamma=0.5
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_updates": 0}, "n_updates=0 must be at least 1"),
        ({"gamma": 1.0}, r"gamma=1.0 must lie within \[0, 1\)"),
        ({"confidence": 1.0}, r"confidence=1.0 must lie within \(0, 1\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, words, choices):
    with pytest.raises(UserError, match=words):
        fitted_q_evaluation(lambda observation: 0, choices, **arguments)


def test_what_cannot_be_valued_is_refused(choices):
    rewardless = Demonstrations.from_columns(
        {name: column for name, column in choices.columns().items() if name != "rewards"},
        choices.observation_space,
        choices.action_space,
    )
    with pytest.raises(DataError, match="values are fitted to rewards"):
        fitted_q_evaluation(lambda observation: 0, rewardless)
    cloned = BC("MlpPolicy", None, choices, **TINY)
    with pytest.raises(
        InapplicableError, match=r"BC has no critics; fitted_q_evaluation\(\) needs none"
    ):
        initial_state_value(cloned)
    remembers = DecisionTransformer("MlpPolicy", None, choices, batch_size=4, seed=0)
    with pytest.raises(InapplicableError, match="has a memory, and states of the data are shown"):
        fitted_q_evaluation(remembers, choices)
    with pytest.raises(
        InapplicableError, match=r"values are fitted to vectors, and .* holds images"
    ):
        fitted_q_evaluation(lambda observation: 0, echo_demonstrations("Image", "Discrete"))
    several = Demonstrations.from_arrays(
        np.zeros((3, 1), np.float32),
        np.zeros((2, 2), np.int64),
        np.ones(2),
        episode_lengths=[2],
        observation_space=spaces.Box(-1, 1, (1,)),
        action_space=spaces.MultiDiscrete([2, 2]),
    )
    with pytest.raises(InapplicableError, match="for Box and Discrete actions, not MultiDiscrete"):
        fitted_q_evaluation(lambda observation: [0, 0], several)


# -- what the model itself believes ----------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [OfflineDQN, DiscreteIQL, TD3BC, CQL])
def test_initial_values_are_the_lowest_of_the_critics(algorithm, choices, vectors):
    data = vectors if algorithm in (TD3BC, CQL) else choices
    model = algorithm("MlpPolicy", None, data, reward_scale=0.5, **TINY).learn(20)
    estimate = initial_state_value(model)
    observation, _ = model.policy.obs_to_tensor(data.observations[:1])
    action, _ = model.predict(data.observations[:1], deterministic=True)
    if algorithm in (TD3BC, CQL):
        values = model.policy.critic(observation, th.as_tensor(action))
    elif algorithm is OfflineDQN:
        values = [model.policy.q_net(observation)[0, action[0]]]
    else:
        values = [network(observation)[0, action[0]] for network in model.critic]
    lowest = min(value.item() for value in values)
    assert estimate.values[0] == pytest.approx(lowest / 0.5, abs=1e-5)
    assert estimate.values.shape == (data.n_episodes,)
    assert initial_state_value(model, data[:3]).values.shape == (3,)


def test_an_estimate_reads_well():
    assert str(ValueEstimate(np.array([1.0, 2.0]), 1.2, 1.8)) == "1.50 [1.20, 1.80]"
