"""Off-policy generators are paid by the present reward net, whatever was stored."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import AIRL, GAIL
from sb3_il_plus.adapters.relabelling import RelabellingReplayBuffer
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo

SAC = {"batch_size": 32, "buffer_size": 2000, "learning_starts": 16, "train_freq": 4}
DQN = {**SAC, "target_update_interval": 100}


def build(cls=GAIL, observation="Box", action="Box", env=None, n_envs=1, **kwargs):
    discrete = action == "Discrete"
    arguments = {
        "generator": "dqn" if discrete else "sac",
        "generator_kwargs": DQN if discrete else SAC,
        "gen_train_timesteps": 16,
        "n_disc_updates_per_round": 2,
        "demo_batch_size": 16,
        "policy_kwargs": {"net_arch": [16]},
        "seed": 0,
        "device": "cpu",
        **kwargs,
    }
    policy = "MultiInputPolicy" if observation == "Dict" else "MlpPolicy"
    env = make_echo(observation, action, n_envs, seed=0) if env is None else env
    return cls(policy, env, echo_demonstrations(observation, action), **arguments)


def stored(model, index, copy=0):
    """Transitions in the replay buffer, as the environment showed and took them."""
    buffer = model.replay_buffer
    actions = buffer.actions[index, copy]
    is_box = isinstance(model.action_space, spaces.Box)
    return (
        buffer.observations[index, copy],
        model.policy.unscale_action(actions) if is_box else actions[:, 0],
        buffer.next_observations[index, copy],
        buffer.dones[index, copy] * (1 - buffer.timeouts[index, copy]) > 0,
    )


def sampled_rewards(model, index):
    return model.replay_buffer._get_samples(index).rewards.numpy()[:, 0]


@pytest.mark.parametrize(("cls", "action"), [(GAIL, "Box"), (GAIL, "Discrete"), (AIRL, "Box")])
def test_sampled_rewards_are_the_present_net_s(cls, action):
    model = build(cls, action=action, normalize_rewards=False).learn(64)
    index = np.arange(40)
    before = sampled_rewards(model, index)
    for _ in range(30):
        model.trainer.train_disc(
            expert_samples=model._draw_expert_batch(), gen_samples=model._draw_generator_batch()
        )
    expected = model.trainer.reward_train.predict(*stored(model, index))
    np.testing.assert_allclose(sampled_rewards(model, index), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(before - expected).min() > 1e-3, "the net has changed, and so have all rewards"
    assert np.abs(model.replay_buffer.rewards[index, 0] - expected).min() > 1e-3


def test_relabelled_rewards_are_normalised_as_new_ones_are():
    model = build().learn(64)
    index = np.arange(40)
    norm = model.reward_normalizer.normalize_output_layer
    mean, variance, count = (float(x) for x in (norm.running_mean, norm.running_var, norm.count))
    raw = model.trainer.reward_train.predict(*stored(model, index))
    expected = (raw - mean) / np.sqrt(variance + norm.eps)
    np.testing.assert_allclose(sampled_rewards(model, index), expected, rtol=1e-3, atol=1e-4)
    assert int(norm.count) == count == 64, "each transition counts once, however often replayed"


def test_in_a_vec_normalize_rewards_are_of_normalised_observations():
    env = VecNormalize(make_echo("Box", "Box", 2, seed=0))
    model = build(env=env, normalize_rewards=False).learn(64)
    observations, actions, following, dones = stored(model, np.arange(30), copy=1)
    shown = env.normalize_obs(observations), actions, env.normalize_obs(following), dones
    np.random.seed(3)
    samples = model.replay_buffer.sample(200, env)
    expected = model.trainer.reward_train.predict(*shown)
    found = [
        np.flatnonzero(np.isclose(samples.observations, row, atol=1e-6).all(axis=1))
        for row in shown[0]
    ]
    scaled = model.policy.scale_action(actions)
    pairs = [
        (samples.rewards[i, 0].item(), expected[k])
        for k, rows in enumerate(found)
        for i in rows
        if np.allclose(samples.actions[i], scaled[k], atol=1e-6)
    ]
    assert len(pairs) >= 50
    np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-4, atol=1e-5)
    with pytest.raises(InapplicableError, match="keep the environment's own rewards"):
        build(env=VecNormalize(make_echo("Box", "Box")), relabel_rewards=False)


def test_without_relabelling_the_stored_rewards_are_replayed():
    model = build(relabel_rewards=False).learn(64)
    assert type(model.replay_buffer) is ReplayBuffer
    index = np.arange(40)
    np.testing.assert_array_equal(
        sampled_rewards(model, index), model.replay_buffer.rewards[index, 0]
    )


def test_the_discriminator_draws_from_the_whole_replay_buffer():
    model = build(n_envs=2).learn(64)
    seen = {row.tobytes() for row in model.replay_buffer.actions[:32].reshape(-1, 2)}
    assert len(seen) == 64
    drawn = [model._draw_generator_batch() for _ in range(60)]
    scaled = np.concatenate([model.policy.scale_action(batch["acts"]) for batch in drawn])
    assert {row.tobytes() for row in scaled.round(4)} == {
        row.tobytes() for row in model.replay_buffer.actions[:32].reshape(-1, 2).round(4)
    }
    last = build(gen_replay_buffer_capacity=16).learn(64)
    actions = np.concatenate([last._draw_generator_batch()["acts"] for _ in range(20)])
    assert len(np.unique(actions.round(4), axis=0)) == 16


def test_time_limits_are_marked_alike_on_both_sides():
    model = build(reward_net_kwargs={"use_done": True}).learn(64)
    assert model.replay_buffer.timeouts[:64].sum() == 64 / HORIZON
    assert not any(model._draw_generator_batch()["dones"].any() for _ in range(10))
    assert not any(model._draw_expert_batch()["dones"].any() for _ in range(10))


def test_dicts_and_categories_are_shown_to_the_reward_net_as_vectors():
    for observation in ("Dict", "Discrete"):
        model = build(observation=observation, normalize_rewards=False).learn(32)
        buffer, index = model.replay_buffer, np.arange(20)
        if observation == "Dict":
            parts = (buffer.observations, buffer.next_observations)
            vectors = [
                np.concatenate(
                    [part["bit"][index, 0], np.eye(2)[part["command"][index, 0, 0]]], axis=1
                ).astype(np.float32)
                for part in parts
            ]
        else:
            vectors = [
                part[index, 0, 0] for part in (buffer.observations, buffer.next_observations)
            ]
        actions = model.policy.unscale_action(buffer.actions[index, 0])
        expected = model.trainer.reward_train.predict(
            vectors[0], actions, vectors[1], np.zeros(20, dtype=bool)
        )
        np.testing.assert_allclose(sampled_rewards(model, index), expected, rtol=1e-4, atol=1e-5)


def test_other_fields_of_a_sample_stay_as_they_are():
    space, actions = spaces.Box(-1, 1, (3,)), spaces.Box(-5, 5, (1,))
    buffers = [
        ReplayBuffer(10, space, actions, "cpu"),
        RelabellingReplayBuffer(
            10, space, actions, "cpu", reward_fn=lambda obs, acts, *_: obs[:, 0] + acts[:, 0]
        ),
    ]
    rng, samples = np.random.default_rng(0), []
    steps = [rng.uniform(-1, 1, (3, 1, 3)) for _ in range(10)]
    for buffer in buffers:
        for observation, following, action in steps:
            buffer.add(observation, following, action[:, :1], np.ones(1), np.array([True]), [{}])
        np.random.seed(0)
        samples.append(buffer.sample(32))
    plain, relabelled = samples
    for name in plain._fields:
        theirs, ours = getattr(plain, name), getattr(relabelled, name)
        if name == "rewards":
            ours, theirs = ours[:, 0], plain.observations[:, 0] + 5 * plain.actions[:, 0]
        if theirs is None:
            assert ours is None
        else:
            th.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"optimize_memory_usage": True}, "'optimize_memory_usage': True.* of its own"),
        ({"replay_buffer_class": ReplayBuffer}, "'replay_buffer_class'.* of its own"),
        ({"n_steps": 3}, "'n_steps': 3.* of its own"),
    ],
)
def test_other_buffers_are_refused_with_the_reason(asked, reason):
    with pytest.raises(InapplicableError, match=reason):
        build(generator_kwargs={**SAC, **asked})


def test_sac_imitates_on_relabelled_rewards():
    # Over four seeds it returned 7.5 to 7.6; on the rewards that were stored, 5.2 to 6.9.
    model = build(learning_rate=3e-3, generator_kwargs={**SAC, "gradient_steps": 2}).learn(1200)
    returns, _ = evaluate_policy(
        model, make_echo("Box", "Box", seed=7), 20, return_episode_rewards=True
    )
    assert np.mean(returns) >= 7.2, "an expert returns 8, random actions 4"
