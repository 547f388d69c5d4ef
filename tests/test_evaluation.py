"""One evaluator: true rewards, reproducible, and without side effects."""

import random

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import InapplicableError, UnknownNameError, UserError
from sb3_il_plus.evaluation import evaluate, evaluate_random
from sb3_il_plus.experts.expert import as_expert


class Countdown(gym.Env):
    """Rewards 1 + action per step, for a random number of steps."""

    observation_space = spaces.Box(0, 100, (1,))
    action_space = spaces.Discrete(2)
    closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 20))
        return np.array([self.left], np.float32), {}

    def step(self, action):
        self.left -= 1
        observation = np.array([self.left], np.float32)
        return observation, 1.0 + action, self.left == 0, False, {}

    def close(self):
        self.closed = True


def always(action, env):
    return as_expert(lambda observation: action, env.observation_space, env.action_space)


def trained(norm_obs=True):
    venv = VecNormalize(make_vec("CartPole-v1", 2, seed=0), norm_obs=norm_obs)
    model = PPO("MlpPolicy", venv, n_steps=256, batch_size=128, n_epochs=4, seed=0, device="cpu")
    return model.learn(4096), venv


def test_returns_and_lengths_per_episode():
    env = Countdown()
    result = evaluate(always(1, env), env, n_episodes=6, seed=0)
    assert result.returns.shape == result.lengths.shape == (6,)
    np.testing.assert_array_equal(result.returns, 2.0 * result.lengths)
    assert result.mean_return == result.returns.mean()
    assert result.std_return == result.returns.std()
    assert "over 6 episodes" in str(result)


def test_the_same_seed_gives_the_same_result_and_another_one_does_not():
    model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    for deterministic in (True, False):
        first, second, other = (
            evaluate(model, "CartPole-v1", 8, seed=seed, deterministic=deterministic, n_envs=2)
            for seed in (3, 3, 4)
        )
        np.testing.assert_array_equal(first.returns, second.returns)
        assert not np.array_equal(first.returns, other.returns)


def test_the_global_generators_are_left_alone():
    def draw():
        return th.rand(1).item(), np.random.rand(), random.random()

    def reseed():
        th.manual_seed(5)
        np.random.seed(5)
        random.seed(5)

    model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    reseed()
    expected = draw()
    reseed()
    evaluate(model, "CartPole-v1", 2, seed=1, deterministic=False)
    assert draw() == expected


def test_it_equals_sb3s_evaluate_policy():
    model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    venv = make_vec("CartPole-v1", 3)
    ours = evaluate(model, venv, 9, seed=7)
    from sb3_il_plus.randomness import child_seed

    venv.seed(child_seed(7, "evaluation"))
    theirs, lengths = evaluate_policy(model, venv, 9, return_episode_rewards=True)
    np.testing.assert_array_equal(ours.returns, theirs)
    np.testing.assert_array_equal(ours.lengths, lengths)


def test_a_model_with_vec_normalize_is_worth_the_same_however_it_is_given():
    model, venv = trained()
    expert = as_expert(model, venv.observation_space, venv.action_space)
    results = [
        evaluate(model, "CartPole-v1", 4, seed=1, n_envs=2),
        evaluate(model, venv, 4, seed=1),
        evaluate(expert, "CartPole-v1", 4, seed=1, n_envs=2),
        evaluate(expert, venv, 4, seed=1),
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result.returns, results[0].returns)
    assert results[0].mean_return > 25, "normalisation was lost"


def test_vec_normalize_neither_learns_nor_scales():
    model, venv = trained()
    mean, count = venv.obs_rms.mean.copy(), venv.ret_rms.count
    result = evaluate(model, venv, 2, seed=0)
    np.testing.assert_array_equal(venv.obs_rms.mean, mean)
    assert venv.ret_rms.count == count
    assert venv.training and venv.norm_reward
    np.testing.assert_array_equal(result.returns, result.lengths)

    unmonitored = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    result = evaluate(always(0, unmonitored), unmonitored, 2, seed=0)
    np.testing.assert_array_equal(result.returns, result.lengths)


def test_true_rewards_come_from_the_monitor():
    env = gym.wrappers.TransformReward(Monitor(Countdown()), lambda reward: -100.0)
    result = evaluate(always(0, env), env, 3, seed=0)
    np.testing.assert_array_equal(result.returns, result.lengths)


def test_no_episode_is_favoured_for_being_short():
    venv = DummyVecEnv([Countdown] * 4)
    result = evaluate(always(0, venv), venv, 400, seed=0)
    assert abs(result.mean_return - np.mean(np.arange(2, 20))) < 1.0


def test_an_env_of_the_callers_stays_open():
    env = Countdown()
    evaluate(always(0, env), env, 1)
    assert not env.closed


def test_the_random_policy():
    first, second = (evaluate_random("CartPole-v1", 20, 0) for _ in range(2))
    np.testing.assert_array_equal(first.returns, second.returns)
    assert 15 < first.mean_return < 35
    pendulum = evaluate_random("Pendulum-v1", 2, seed=1, n_envs=2)
    assert pendulum.returns.shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        ({"n_episodes": 0}, UserError, "n_episodes=0"),
        ({"env": 3}, UserError, "env=3 is neither"),
        ({"env": "CartPol-v1"}, UnknownNameError, "CartPole-v1"),
        ({"env": "Pendulum-v1"}, InapplicableError, "'PPO' was made for the observation space"),
        ({"model": print}, InapplicableError, "as_expert"),
    ],
)
def test_bad_input(arguments, error, complaint):
    defaults = {"model": PPO("MlpPolicy", "CartPole-v1", device="cpu"), "env": "CartPole-v1"}
    with pytest.raises(error, match=complaint):
        evaluate(**{**defaults, **arguments})
