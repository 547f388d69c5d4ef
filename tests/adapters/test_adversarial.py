"""GAIL and AIRL: rewards are the papers' formulas, both learn, and SB3's tools work on them."""

import warnings

import numpy as np
import pytest
import torch as th
from scripted_experts import CARTPOLE, PENDULUM
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import AIRL, GAIL, collect, evaluate, train_expert
from sb3_il_plus.adapters.reward_inputs import DemonstrationNorm
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.evaluation import evaluate_random
from sb3_il_plus.tables.presets import tuned_settings

QUICK = {"n_steps": 64, "batch_size": 64, "n_epochs": 2}


def build(cls, demos, n_envs=2, **kwargs):
    kwargs = {"generator_kwargs": QUICK, "demo_batch_size": 64, "seed": 0, **kwargs}
    return cls("MlpPolicy", make_vec(CARTPOLE, n_envs), demos, **kwargs)


def as_batch(demos, n=9):
    index = np.arange(n)
    return (
        demos.observations_at(index),
        demos.actions[index],
        demos.next_observations_at(index),
        np.zeros(n, dtype=bool),
    )


def test_gail_reward_is_minus_log_one_minus_d(cartpole_demos):
    model = build(GAIL, cartpole_demos)
    batch = as_batch(cartpole_demos)
    with th.no_grad():
        logits = model.discriminator(*model.discriminator.preprocess(*batch)).numpy()
    d = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(model.reward_net.predict(*batch), -np.log(1 - d), rtol=1e-4)


def test_airl_logit_is_shaped_reward_minus_log_probability(cartpole_demos):
    model = build(AIRL, cartpole_demos, generator_kwargs={**QUICK, "gamma": 0.9})
    batch = as_batch(cartpole_demos)
    net = model.discriminator
    assert net.discount_factor == 0.9, "the shaping has to use the generator's discount"
    tensors = net.preprocess(*batch)
    with th.no_grad():
        reward = net.base(*tensors).numpy()
        now, after = (net.potential(tensors[i]).flatten().numpy() for i in (0, 2))
        log_probability = model.policy.evaluate_actions(
            *map(th.as_tensor, map(np.array, batch[:2]))
        )[1]
        logits = model.trainer.logits_expert_is_high(*tensors, log_probability).numpy()
    expected = reward + 0.9 * after - now - log_probability.numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4)
    np.testing.assert_allclose(model.reward_net.predict(*batch), reward, rtol=1e-5)


def test_one_discriminator_step_is_adam_on_the_cross_entropy(cartpole_demos):
    model = build(GAIL, cartpole_demos, normalize_reward_inputs=None, n_disc_updates_per_round=1)
    model.trainer.train_gen()
    expert = model._draw_expert_batch()
    generated = as_batch(cartpole_demos[3:4], 64)
    names = ("obs", "acts", "next_obs", "dones")
    before = th.cat([p.detach().flatten().clone() for p in model.discriminator.parameters()])
    tensors = model.discriminator.preprocess(
        *(
            np.concatenate([expert[name], value])
            for name, value in zip(names, generated, strict=True)
        )
    )
    logits = model.discriminator(*tensors)
    signs = th.cat([th.ones(64), -th.ones(64)])
    loss = th.log1p(th.exp(-signs * logits)).mean()
    gradients = th.autograd.grad(loss, list(model.discriminator.parameters()))
    statistics = model.trainer.train_disc(
        expert_samples=expert, gen_samples=dict(zip(names, generated, strict=True))
    )
    assert statistics["disc_loss"] == pytest.approx(float(loss), rel=1e-5)
    after = th.cat([p.detach().flatten() for p in model.discriminator.parameters()])
    gradient = th.cat([g.flatten() for g in gradients])
    # Adam's first step is the learning rate against the sign of each gradient.
    moved = gradient.abs() > 1e-5
    th.testing.assert_close(
        (after - before)[moved], -1e-3 * gradient[moved].sign(), rtol=1e-2, atol=1e-6
    )


@pytest.mark.parametrize("cls", [GAIL, AIRL])
def test_logs_both_sides_under_sb3_s_names(cls, cartpole_demos):
    model = build(
        cls,
        cartpole_demos,
        n_envs=8,
        learning_rate=1e-3,
        generator_kwargs={"n_steps": 64, "batch_size": 64, "n_epochs": 10, "gamma": 0.95},
    ).learn(4608)
    last = model.history[-1]
    assert {
        "train/disc_loss",
        "train/disc_accuracy_expert",
        "train/disc_accuracy_generator",
    } <= last.keys()
    assert {"train/value_loss", "rollout/ep_rew_mean", "rollout/ep_rew_wrapped_mean"} <= last.keys()


@pytest.mark.parametrize("cls", [GAIL, AIRL])
def test_predicts_saves_loads_and_goes_on(cls, cartpole_demos, tmp_path):
    model = build(cls, cartpole_demos).learn(512)
    observations = np.array(cartpole_demos.observations[:100])
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", env=make_vec(CARTPOLE, 2), demonstrations=cartpole_demos)
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0],
        loaded.predict(observations, deterministic=True)[0],
    )
    batch = as_batch(cartpole_demos)
    np.testing.assert_array_equal(
        model.reward_net.predict(*batch), loaded.reward_net.predict(*batch)
    )
    np.testing.assert_array_equal(  # the running statistics of the reward travel, too
        model.reward_normalizer.predict_processed(*batch, update_stats=False),
        loaded.reward_normalizer.predict_processed(*batch, update_stats=False),
    )
    loaded.learn(256, reset_num_timesteps=False)
    assert loaded.num_timesteps == 768


@pytest.mark.parametrize("cls", [GAIL, AIRL])
def test_the_same_discriminator_update_after_loading(cls, cartpole_demos, tmp_path):
    model = build(cls, cartpole_demos).learn(256)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", env=make_vec(CARTPOLE, 2), demonstrations=cartpole_demos)
    names = ("obs", "acts", "next_obs", "dones")
    generated = dict(zip(names, as_batch(cartpole_demos, 64), strict=True))
    for each in (model, loaded):
        each.trainer.train_disc(expert_samples=each._draw_expert_batch(), gen_samples=generated)
    for name, value in model.discriminator.state_dict().items():
        assert th.equal(value, loaded.discriminator.state_dict()[name]), name


def test_predicts_without_an_environment_and_takes_one_later(cartpole_demos, tmp_path):
    build(GAIL, cartpole_demos, n_envs=3).learn(192).save(tmp_path / "gail")
    model = GAIL.load(tmp_path / "gail")
    assert model.predict(np.zeros(4, dtype=np.float32))[0].shape == ()
    with pytest.raises(UserError, match="learns in an environment and has none"):
        model.learn(100)
    before = model.get_parameters()
    model.set_env(make_vec(CARTPOLE, 3))
    for name, value in before["policy"].items():
        assert th.equal(value, model.policy.state_dict()[name])
    model.set_demonstrations(cartpole_demos)
    assert model.learn(192, reset_num_timesteps=False).num_timesteps == 384


def test_sb3_callbacks_see_our_model_and_stop_it(cartpole_demos, tmp_path):
    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            assert isinstance(self.model, GAIL)
            assert self.model.num_timesteps == self.num_timesteps
            return self.num_timesteps < 200

    evaluation = EvalCallback(
        make_vec(CARTPOLE),
        eval_freq=50,
        n_eval_episodes=1,
        verbose=0,
        best_model_save_path=tmp_path,
    )
    checkpoint = CheckpointCallback(save_freq=32, save_path=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # gymnasium 1.4, of the environment's own spaces.
        warnings.filterwarnings("ignore", ".*precision lowered by casting")
        model = build(GAIL, cartpole_demos).learn(
            10_000, callback=[evaluation, checkpoint, Watch()]
        )
    assert model.num_timesteps == 200
    assert len(
        evaluation.evaluations_results if evaluation.log_path else [evaluation.last_mean_reward]
    )
    assert GAIL.load(tmp_path / "best_model").predict(np.zeros(4, dtype=np.float32))
    # Of a rollout in progress nothing is learned yet, so resuming repeats it.
    assert GAIL.load(tmp_path / "rl_model_128_steps").num_timesteps == 0
    assert GAIL.load(tmp_path / "rl_model_192_steps").num_timesteps == 128


def test_generator_and_discriminator_share_one_tensorboard_run(cartpole_demos, tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    build(GAIL, cartpole_demos, tensorboard_log=str(tmp_path)).learn(512, tb_log_name="gail")
    (folder,) = tmp_path.iterdir()
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    assert {"train/disc_loss", "train/value_loss"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/disc_loss")] == [128, 256, 384, 512]


def test_a_logger_of_the_users_gets_everything(cartpole_demos, tmp_path):
    model = build(GAIL, cartpole_demos)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(256)
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    assert "train/disc_accuracy_generator" in header and "train/approx_kl" in header


def test_schedules_run_over_the_whole_training(cartpole_demos):
    # Upstream's generator restarts its progress every round, so its schedules stay at their end.
    model = build(GAIL, cartpole_demos, learning_rate=lambda remaining: 1e-3 * remaining)
    model.learn(512)
    rates = [row["train/learning_rate"] for row in model.history]
    np.testing.assert_allclose(rates, [0.75e-3, 0.5e-3, 0.25e-3, 0], atol=1e-9)


@pytest.mark.parametrize(("cls", "generator"), [(GAIL, "sac"), (GAIL, TD3), (AIRL, SAC)])
def test_off_policy_generators(cls, generator, pendulum_demos, tmp_path):
    kwargs = {
        "generator_kwargs": {"learning_starts": 50, "batch_size": 32},
        "gen_train_timesteps": 100,
    }
    env = make_vec(PENDULUM, seed=0)
    model = cls("MlpPolicy", env, pendulum_demos, generator=generator, seed=0, **kwargs).learn(300)
    # TD3 of SB3 2.2 rolls out whole episodes, of 200 steps here.
    whole_episodes = model.generator_model.train_freq.unit is TrainFrequencyUnit.EPISODE
    assert model.num_timesteps == (400 if whole_episodes else 300)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", env=make_vec(PENDULUM), demonstrations=pendulum_demos)
    observations = np.array(pendulum_demos.observations[:20])
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0],
        loaded.predict(observations, deterministic=True)[0],
    )
    before = loaded.num_timesteps
    assert loaded.learn(100, reset_num_timesteps=False).num_timesteps >= before + 100


def test_trpo_as_in_the_paper(cartpole_demos):
    model = build(
        GAIL, cartpole_demos, generator="trpo", generator_kwargs={"n_steps": 64, "batch_size": 64}
    )
    assert model.learn(256).num_timesteps == 256


def test_reward_wrapper_trains_a_fresh_agent(cartpole_demos):
    model = build(AIRL, cartpole_demos).learn(256)
    venv = model.as_reward_wrapper(make_vec(CARTPOLE, 2))
    venv.reset()
    _, rewards, _, infos = venv.step(np.array([0, 1]))
    assert rewards.shape == (2,) and infos[0]["original_env_rew"] == 1.0
    assert (
        PPO("MlpPolicy", venv, n_steps=32, batch_size=32, n_epochs=1).learn(64).num_timesteps == 64
    )


def test_vec_normalize_shows_both_sides_the_same(cartpole_demos):
    env = VecNormalize(make_vec(CARTPOLE, 2, seed=0), norm_reward=False)
    model = GAIL(
        "MlpPolicy", env, cartpole_demos, generator_kwargs=QUICK, demo_batch_size=64, seed=0
    )
    model.learn(512)
    raw = cartpole_demos.observations_at(np.arange(len(cartpole_demos)))
    expected = env.normalize_obs(np.array(raw)).mean(axis=0)
    drawn = np.concatenate([model._draw_expert_batch()["obs"] for _ in range(50)]).mean(axis=0)
    np.testing.assert_allclose(drawn, expected, atol=0.1)


def test_reward_inputs_take_the_demonstrations_statistics_and_keep_them(cartpole_demos, tmp_path):
    model = build(GAIL, cartpole_demos, normalize_reward_inputs="demonstrations")
    (layer,) = (m for m in model.discriminator.modules() if isinstance(m, DemonstrationNorm))
    observations = cartpole_demos.observations_at(np.arange(len(cartpole_demos)))
    inputs = np.concatenate([observations, np.eye(2)[cartpole_demos.actions]], axis=1)
    np.testing.assert_allclose(layer.mean, inputs.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(layer.std, inputs.std(axis=0), rtol=1e-2)
    model.learn(256)  # the learner's data leave them alone
    np.testing.assert_allclose(layer.mean, inputs.mean(axis=0), rtol=1e-3, atol=1e-5)
    model.save(tmp_path / "gail")
    batch = as_batch(cartpole_demos)
    loaded = GAIL.load(tmp_path / "gail")  # without the demonstrations
    expected = model.reward_net.predict(*batch)
    np.testing.assert_array_equal(loaded.reward_net.predict(*batch), expected)
    with pytest.raises(UserError, match="normalize_reward_inputs='batch' must be"):
        build(GAIL, cartpole_demos, normalize_reward_inputs="batch")


def test_fewer_demonstrations_than_a_batch_are_drawn_again(cartpole_demos):
    scarce = cartpole_demos[:1].subsample(100)  # five transitions
    model = build(GAIL, scarce, demo_batch_size=64, horizon="allow").learn(128)
    assert len(model._draw_expert_batch()["obs"]) == 64


def test_variable_horizon_is_refused_before_training(cartpole_demos):
    model = GAIL("MlpPolicy", "CartPole-v1", cartpole_demos, generator_kwargs=QUICK, seed=0)
    with pytest.raises(InapplicableError, match=r"differ in length .* horizon='allow'"):
        model.learn(100_000)
    assert model.num_timesteps == 0
    with pytest.raises(UserError, match="horizon='sometimes'"):
        build(GAIL, cartpole_demos, horizon="sometimes")
    allowed = GAIL(
        "MlpPolicy", "CartPole-v1", cartpole_demos, generator_kwargs=QUICK, horizon="allow", seed=0
    )
    assert allowed.learn(64).num_timesteps == 64


def test_refusals_name_the_reason(cartpole_demos, pendulum_demos):
    with pytest.raises(InapplicableError, match="AIRL needs the probability of an action"):
        AIRL("MlpPolicy", PENDULUM, pendulum_demos, generator="td3")
    with pytest.raises(InapplicableError, match=r"PPO.*cannot be the generator|unexpected keyword"):
        build(GAIL, cartpole_demos, generator_kwargs={"buffer_size": 10})
    with pytest.raises(InapplicableError, match="family 'imitation'"):
        build(GAIL, cartpole_demos, generator="bc")
    with pytest.raises(InapplicableError, match=r"DQN|Discrete"):
        GAIL("MlpPolicy", PENDULUM, pendulum_demos, generator=DQN)
    with pytest.raises(DataError, match="does not fit"):
        GAIL("MlpPolicy", PENDULUM, cartpole_demos)


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "least"), [(GAIL, 0.95), (AIRL, 0.80)])
def test_imitates_a_trained_expert_over_seeds(cls, least):
    demonstrations = collect(train_expert(CARTPOLE), CARTPOLE, n_episodes=10, seed=0)
    settings = tuned_settings(cls.get_spec(), CARTPOLE)
    returns = []
    for seed in range(3):
        venv = make_vec(CARTPOLE, settings.n_envs)
        model = cls("MlpPolicy", venv, demonstrations, seed=seed, **settings.hyperparameters)
        model.learn(settings.timesteps)
        returns.append(evaluate(model, CARTPOLE, 20, seed=100, n_envs=5).mean_return)
    at_random = evaluate_random(CARTPOLE, 20, seed=100).mean_return
    expert = demonstrations.episode_returns.mean()
    assert (np.mean(returns) - at_random) / (expert - at_random) >= least


def test_evaluate_policy_of_sb3(cartpole_demos):
    model = build(GAIL, cartpole_demos)
    mean, std = evaluate_policy(model, make_vec(CARTPOLE), n_eval_episodes=2)
    assert mean > 0 and std >= 0
