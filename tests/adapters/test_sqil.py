"""SQIL: what is in its batches, what one update does with them, and that it learns."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch as th
from doc_pages import run_page
from imitation.algorithms.sqil import SQIL as UpstreamSQIL
from scripted_experts import CARTPOLE, PENDULUM, balance
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import collect, evaluate, make
from sb3_il_plus.adapters.sqil import SQIL
from sb3_il_plus.data.replay_mixing import concatenate
from sb3_il_plus.environments import make_env, make_vec
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.evaluation import evaluate_random
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

SMALL = {"learning_starts": 50, "batch_size": 32, "buffer_size": 2_000}


def build(demos, env=CARTPOLE, n_envs=2, **kwargs):
    kwargs = {"generator_kwargs": SMALL, "seed": 0, "policy_kwargs": {"net_arch": [16]}, **kwargs}
    return SQIL("MlpPolicy", make_vec(env, n_envs, seed=0), demos, **kwargs)


def test_half_of_a_batch_is_the_experts_with_reward_one(cartpole_demos):
    model = build(cartpole_demos).learn(200)
    batch = model.generator_model.replay_buffer.sample(64)
    np.testing.assert_array_equal(batch.rewards[:32], np.zeros((32, 1)))
    np.testing.assert_array_equal(batch.rewards[32:], np.ones((32, 1)))
    index = np.arange(len(cartpole_demos))
    known = np.column_stack(
        [
            cartpole_demos.observations_at(index),
            cartpole_demos.actions,
            cartpole_demos.next_observations_at(index),
        ]
    )
    drawn = np.column_stack([batch.observations, batch.actions, batch.next_observations])[32:]
    assert {row.tobytes() for row in drawn.astype(known.dtype)} <= {row.tobytes() for row in known}


def test_expert_actions_are_scaled_as_sb3_stores_the_learners(pendulum_demos):
    model = build(pendulum_demos, PENDULUM)
    assert isinstance(model.generator_model, SAC)
    assert np.abs(pendulum_demos.actions).max() > 1.9
    stored = model.generator_model.replay_buffer.expert_buffer.actions[0]
    np.testing.assert_allclose(stored, pendulum_demos.actions / 2, atol=1e-6)


def test_a_time_limit_is_not_terminal_on_either_side():
    demos = echo_demonstrations("Box", "Discrete")  # ends are truncations
    model = SQIL("MlpPolicy", make_echo(seed=0), demos, generator_kwargs=SMALL, seed=0).learn(60)
    buffer = model.generator_model.replay_buffer
    assert buffer.dones.sum() == 7, "60 steps are seven episodes of eight, and a beginning"
    assert buffer.sample(400).dones.max() == 0
    model.set_demonstrations(dataclasses.replace(demos, terminations=demos.truncations))
    assert buffer.sample(400).dones[:200].max() == 0
    assert buffer.expert_buffer.dones.sum() == demos.n_episodes


def test_one_update_is_the_huber_loss_of_q_learning(cartpole_demos):
    model = build(cartpole_demos, n_envs=1).learn(50)
    generator = model.generator_model
    np.random.seed(3)
    batch = generator.replay_buffer.sample(32)
    q = generator.q_net(batch.observations).detach().numpy()
    following = generator.q_net_target(batch.next_observations).detach().numpy()
    rewards = np.repeat([0.0, 1.0], 16)
    terminal = batch.dones.numpy()[:, 0]
    target = rewards + 0.99 * (1 - terminal) * following.max(axis=1)
    error = np.abs(q[np.arange(32), batch.actions[:, 0]] - target)
    expected = np.where(error < 1, error**2 / 2, error - 0.5).mean()
    np.random.seed(3)
    generator.train(gradient_steps=1, batch_size=32)
    assert generator.logger is model.trainer.logger
    assert model.logger.name_to_value["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_vec_normalize_shows_both_halves_the_same_and_leaves_rewards(cartpole_demos):
    env = VecNormalize(make_vec(CARTPOLE, 2, seed=0))
    model = SQIL("MlpPolicy", env, cartpole_demos, generator_kwargs=SMALL, seed=0).learn(200)
    batch = model.generator_model.replay_buffer.sample(2000, env)
    raw = np.array(cartpole_demos.observations_at(np.arange(len(cartpole_demos))))
    expected = env.normalize_obs(raw)
    drawn = batch.observations[1000:].numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), expected.mean(axis=0), atol=0.1)
    np.testing.assert_array_equal(batch.rewards[1000:], np.ones((1000, 1)))


def test_empty_fields_of_batches_stay_empty():
    # Newer versions of SB3 have a field `discounts` that may be None, which th.cat refuses.
    half = ReplayBufferSamples(*[th.ones(2, 1)] * 4, None)
    joined = concatenate(half, half)
    assert joined[-1] is None and joined.observations.shape == (4, 1)


@pytest.mark.parametrize("generator", ["dqn", "qrdqn", "sac", "td3", "ddpg", "tqc"])
def test_off_policy_generators_learn_save_and_load(
    generator, cartpole_demos, pendulum_demos, tmp_path
):
    discrete = generator in ("dqn", "qrdqn")
    demos, env = (cartpole_demos, CARTPOLE) if discrete else (pendulum_demos, PENDULUM)
    kwargs = {**SMALL, "train_freq": 10}
    model = build(demos, env, generator=generator, generator_kwargs=kwargs).learn(100)
    assert model.num_timesteps == 100 and model._n_updates > 0
    assert isinstance(model.trainer, UpstreamSQIL)
    assert model.trainer.rl_algo is model.generator_model
    model.save(tmp_path / "model")
    loaded = SQIL.load(tmp_path / "model", env=make_vec(env, 2), demonstrations=demos)
    assert loaded.generator == generator
    observations = np.array(demos.observations[:50])
    np.testing.assert_array_equal(
        *(m.predict(observations, deterministic=True)[0] for m in (model, loaded))
    )
    with pytest.warns(
        UserWarning, match="SQIL goes on at timestep 100 with an empty replay buffer"
    ):
        assert loaded.learn(100, reset_num_timesteps=False).num_timesteps == 200


def test_the_generator_follows_from_the_actions(cartpole_demos, pendulum_demos):
    for source in ({"env": make_vec(CARTPOLE)}, {"env": None, "demonstrations": cartpole_demos}):
        assert isinstance(make("sqil", **source).generator_model, DQN)
    for source in ({"env": PENDULUM}, {"env": None, "demonstrations": pendulum_demos}):
        assert isinstance(make("sqil", **source).generator_model, SAC)


def test_exploration_runs_over_the_whole_training(cartpole_demos):
    kwargs = {**SMALL, "exploration_fraction": 1.0, "train_freq": 64}
    model = build(cartpole_demos, n_envs=1, generator_kwargs=kwargs).learn(2048)
    rates = [row["rollout/exploration_rate"] for row in model.history]
    steps = np.array([row["timesteps"] for row in model.history])
    assert list(steps) == [512, 1024, 1536, 2048]
    np.testing.assert_allclose(rates, 1 - 0.95 * steps / 2048, atol=1e-6)


def test_goes_on_only_with_demonstrations(cartpole_demos, tmp_path):
    trained = build(cartpole_demos).learn(104)
    trained.save(tmp_path / "sqil")
    trained.save_replay_buffer(tmp_path / "sqil")
    model = SQIL.load(tmp_path / "sqil", env=make_vec(CARTPOLE, 2))
    assert model.predict(np.zeros(4, dtype=np.float32))[0].shape == ()
    with pytest.raises(UserError, match="SQIL has no demonstrations to learn from"):
        model.learn(100)
    model.set_demonstrations(cartpole_demos)
    model.load_replay_buffer(tmp_path / "sqil")
    assert model.learn(96, reset_num_timesteps=False).num_timesteps == 200
    assert model.replay_buffer.size() * 2 == 200


def test_refusals_name_the_reason(cartpole_demos):
    with pytest.raises(InapplicableError, match=r"replay buffer, which PPO does not.*'dqn' or"):
        build(cartpole_demos, generator="ppo")
    with pytest.raises(InapplicableError, match="'replay_buffer_class', but SQIL's replay buffer"):
        build(cartpole_demos, generator_kwargs={"replay_buffer_class": None})
    with pytest.raises(InapplicableError, match="SAC cannot be the generator"):
        build(cartpole_demos, generator="sac")
    with pytest.raises(InapplicableError, match="sqil handles Box and Discrete actions, not Multi"):
        SQIL("MlpPolicy", make_echo("Box", "MultiDiscrete"))


def test_the_code_of_its_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {
        'train_expert("seals/CartPole-v0")': "balance",
        "learn(20_000)": "learn(600)",
    }
    shown = run_page("sqil", changes, balance=balance)
    assert shown["model"].num_timesteps == 600
    assert (tmp_path / "sqil_cartpole.replay").exists()


@pytest.mark.slow
def test_learns_in_three_seeds():
    def env(n_envs, seed):  # 100 steps instead of 500, which takes seconds to learn
        return make_vec_env(partial(make_env, CARTPOLE, max_episode_steps=100), n_envs, seed)

    demos = collect(balance, env(5, 0), n_episodes=10, seed=0)
    random = evaluate_random(env(5, 0), 20, seed=7).mean_return
    kwargs = {"buffer_size": 20_000, "batch_size": 64, "target_update_interval": 250, "gamma": 0.98}
    returns = []
    for seed in range(3):
        model = SQIL(
            "MlpPolicy",
            env(1, seed),
            demos,
            learning_rate=1e-3,
            generator_kwargs={**kwargs, "learning_starts": 300, "train_freq": 4},
            seed=seed,
        ).learn(8_000)
        returns.append(evaluate(model, env(5, 0), 10, seed=100).mean_return)
    assert random < 35
    # All three seeds reached 100, the expert's return, when this was written.
    assert min(returns) > 80, returns
