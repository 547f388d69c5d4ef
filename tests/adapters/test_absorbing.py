"""horizon="pad": the absorbing state is judged like any other, and surviving is no longer paid."""

import numpy as np
import pytest
import torch as th
from corridor import STEPS_TO_THE_END, TIME_LIMIT, go_to_the_end, make_corridor
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_il_plus import AIRL, GAIL, collect
from sb3_il_plus.adapters.absorbing import (
    AbsorbingEnds,
    AbsorbingRewardNet,
    LaterRewards,
    add_absorbing,
    check_absorbing,
    is_absorbing,
)
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

NAMES = ("obs", "acts", "next_obs", "dones")
GENERATORS = {
    "ppo": {"n_steps": 32, "batch_size": 64, "n_epochs": 5, "gamma": 0.9},
    "dqn": {
        "batch_size": 64,
        "buffer_size": 5000,
        "gamma": 0.9,
        "learning_starts": 100,
        "target_update_interval": 100,
        "train_freq": 4,
    },
}


@pytest.fixture(scope="module")
def demos() -> Demonstrations:
    return collect(go_to_the_end, make_corridor(4), n_episodes=20, seed=0)


def build(demos, cls=GAIL, generator="ppo", env=None, **kwargs):
    arguments = {
        "generator": generator,
        "generator_kwargs": GENERATORS[generator],
        "gen_train_timesteps": 256 if generator == "ppo" else 128,
        "horizon": "pad",
        "demo_batch_size": 64,
        "normalize_rewards": False,
        "learning_rate": 3e-3,
        "disc_learning_rate": 3e-3,
        "policy_kwargs": {"net_arch": [16]},
        "reward_net_kwargs": {"hid_sizes": (16,)},
        "seed": 0,
        **kwargs,
    }
    env = make_corridor(8 if generator == "ppo" else 1) if env is None else env
    return cls("MlpPolicy", env, demos, **arguments)


@pytest.mark.parametrize(
    ("generator", "timesteps"),
    [("ppo", 5000), pytest.param("dqn", 3000, marks=pytest.mark.slow)],
)
def test_a_learner_that_is_paid_for_surviving_imitates_an_expert_that_ends(
    generator, timesteps, demos
):
    # Measured over seeds: 24 to 30 steps with "allow", 3.0 to 3.2 with "pad".
    steps = {}
    for horizon in ("allow", "pad"):
        model = build(demos, generator=generator, horizon=horizon).learn(timesteps)
        _, lengths = evaluate_policy(
            model, make_corridor(4), 20, deterministic=False, return_episode_rewards=True
        )
        steps[horizon] = np.mean(lengths)
        assert model.ep_info_buffer[-1]["r"] == model.ep_info_buffer[-1]["l"] <= TIME_LIMIT
        assert model.predict(np.zeros((1,), np.float32))[0].shape == ()
    assert steps["allow"] > 5 * STEPS_TO_THE_END, "each step of survival is paid"
    assert steps["pad"] < 1.5 * STEPS_TO_THE_END


def by_hand(model, position, action, following):
    """The discriminator's reward, from its own weights; None for the absorbing state."""
    first, second = (
        layer for layer in model.discriminator.modules() if isinstance(layer, th.nn.Linear)
    )
    state = [0.0, 1.0] if position is None else [position, 0.0]
    chosen = [0.0, 0.0] if position is None else np.eye(2)[action]
    inputs = np.concatenate([state, chosen])
    hidden = np.maximum(first.weight.detach().numpy() @ inputs + first.bias.detach().numpy(), 0)
    logit = second.weight.detach().numpy() @ hidden + second.bias.detach().numpy()
    return np.log1p(np.exp(logit[0]))


def test_the_last_reward_holds_all_that_follow(demos):
    model = build(demos)
    transitions = (
        np.array([[1 / 3], [2 / 3], [2 / 3]], np.float32),
        np.array([0, 1, 1]),
        np.array([[0], [np.nan], [1]], np.float32),  # goes on; ends; is cut by the time limit
        np.array([False, True, True]),
    )
    rewards = model.trainer.venv_wrapped.reward_fn(*transitions)
    later = 0.9 / (1 - 0.9) * by_hand(model, None, None, None)
    expected = [by_hand(model, 1 / 3, 0, 0), by_hand(model, 2 / 3, 1, None) + later]
    expected.append(by_hand(model, 2 / 3, 1, 1))
    np.testing.assert_allclose(rewards, expected, rtol=1e-4)
    np.testing.assert_allclose(model.reward_net.predict(*transitions)[1], expected[1] - later)


def test_only_ends_are_absorbing_and_monitor_sees_real_episodes():
    env = AbsorbingEnds(make_corridor(2))
    env.reset()
    ended = 0
    for step in range(1, TIME_LIMIT + 1):
        observations, _, dones, infos = env.step(np.array([1, 0]))
        assert np.isfinite(observations).all()
        assert dones[0] == (step % STEPS_TO_THE_END == 0) and dones[1] == (step == TIME_LIMIT)
        if dones[0]:
            ended += 1
            assert np.isnan(infos[0]["terminal_observation"]).all()
            assert infos[0]["episode"]["l"] == infos[0]["episode"]["r"] == STEPS_TO_THE_END
    assert ended == TIME_LIMIT // STEPS_TO_THE_END
    np.testing.assert_array_equal(infos[1]["terminal_observation"], [0.0])


@pytest.mark.parametrize("generator", ["ppo", "dqn"])
def test_both_sides_are_padded(generator, demos):
    model = build(demos, generator=generator).learn(512)
    shares = {}
    for side in ("expert", "generator"):
        draw = getattr(model, f"_draw_{side}_batch")
        batches = [draw() for _ in range(200)]
        batch = {name: np.concatenate([each[name] for each in batches]) for name in NAMES}
        stays, ends = is_absorbing(batch["obs"]), is_absorbing(batch["next_obs"])
        assert ends[stays].all() and not batch["acts"][stays].any()
        shares[side] = stays.mean()
        # One transition within the absorbing state for each that leads there.
        assert (ends & ~stays).mean() == pytest.approx(stays.mean(), rel=0.1)
    assert shares["expert"] == pytest.approx(1 / (STEPS_TO_THE_END + 1), rel=0.1)


def test_cartpole_s_demonstrations_are_cut_by_time_and_the_learner_s_episodes_end(cartpole_demos):
    kwargs = {"generator_kwargs": {"n_steps": 64, "batch_size": 64, "n_epochs": 1}}
    model = build(cartpole_demos, env=make_vec("CartPole-v1", 2, seed=0), **kwargs).learn(256)
    assert model.num_timesteps == 256
    assert not is_absorbing(model._draw_expert_batch()["obs"]).any()
    assert is_absorbing(
        np.concatenate([model._draw_generator_batch()["obs"] for _ in range(5)])
    ).any()
    mean, _ = evaluate_policy(model, make_vec("CartPole-v1"), 2)
    assert mean > 0


def test_critics_are_shown_finite_observations(demos):
    model = build(demos, generator="dqn").learn(400)
    stored = model.replay_buffer.next_observations[:400]
    assert np.isnan(stored).any(), "the buffer knows which episodes ended"
    samples = model.replay_buffer.sample(400)
    assert th.isfinite(samples.next_observations).all() and th.isfinite(samples.rewards).all()
    assert samples.dones.sum() > 0
    assert all(th.isfinite(parameter).all() for parameter in model.policy.parameters())


def test_gradient_penalty_reaches_the_absorbing_state(demos):
    model = build(demos, gradient_penalty=10.0, normalize_reward_inputs="demonstrations")
    model.learn(512)
    assert model.history[-1]["train/disc_gradient_penalty"] > 0
    state = np.array([[np.nan], [0.0]], np.float32)
    tensors = model.discriminator.preprocess(state, np.array([1, 1]), state, np.array([True, True]))
    np.testing.assert_array_equal(tensors[0], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(tensors[1], [[0, 0], [0, 1]])
    assert not tensors[3].any(), "no episode ends any more"


def test_airl_gives_its_unshaped_reward_with_the_absorbing_state(demos, tmp_path):
    model = build(demos, cls=AIRL, reward_net_kwargs={"reward_hid_sizes": (16,)}).learn(512)
    batch = (
        np.array([[np.nan], [1 / 3]], np.float32),
        np.array([0, 1]),
        np.array([[np.nan], [2 / 3]], np.float32),
        np.zeros(2, dtype=bool),
    )
    rewards = model.reward_net.predict(*batch)
    with th.no_grad():
        tensors = model.discriminator.preprocess(*batch)
        np.testing.assert_allclose(rewards, model.discriminator.base.base(*tensors), rtol=1e-5)
        shaped = model.discriminator(*tensors).numpy()
        potential = model.discriminator.base.potential
        shaping = 0.9 * potential(tensors[2]).flatten() - potential(tensors[0]).flatten()
    np.testing.assert_allclose(shaped, rewards + shaping.numpy(), rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "airl")
    loaded = AIRL.load(tmp_path / "airl", env=make_corridor(8), demonstrations=demos)
    np.testing.assert_array_equal(loaded.reward_net.predict(*batch), rewards)
    assert loaded.horizon == "pad"
    assert loaded.learn(256, reset_num_timesteps=False).num_timesteps == 768


def test_a_fresh_agent_is_paid_what_follows_an_end(demos):
    model = build(demos).learn(256)
    venv = model.as_reward_wrapper(make_corridor())
    venv.reset()
    paid = [venv.step(np.array([1]))[1][0] for _ in range(STEPS_TO_THE_END)]
    later = 9 * by_hand(model, None, None, None)
    assert paid[-1] == pytest.approx(by_hand(model, 2 / 3, 1, None) + later, rel=1e-4)


def test_padded_batches_keep_their_size_and_their_proportions():
    observations = np.arange(1000, dtype=np.float32)[:, None]
    following = observations + 1
    following[::10] = np.nan
    columns = (observations, observations, following, np.zeros(1000, dtype=bool))
    batch = dict(zip(NAMES, columns, strict=True))
    rng = np.random.default_rng(0)
    padded = [add_absorbing(batch, rng) for _ in range(50)]
    assert all(len(each[name]) == 1000 for each in padded for name in NAMES)
    stays = np.mean([is_absorbing(each["obs"]).mean() for each in padded])
    assert stays == pytest.approx(100 / 1100, rel=0.02)


def test_what_cannot_be_padded_is_refused_at_construction(demos):
    dicts = make_echo("Dict", "Discrete")
    with pytest.raises(InapplicableError, match=r"'pad' adds a feature .* Dict.*horizon='allow'"):
        GAIL("MultiInputPolicy", dicts, echo_demonstrations("Dict"), horizon="pad")
    with pytest.raises(InapplicableError, match=r"'pad' adds a feature .* Discrete"):
        build(None, env=make_echo("Discrete", "Discrete"))
    with pytest.raises(InapplicableError, match=r"gamma=1\.0: with horizon='pad' rewards go on"):
        build(demos, generator_kwargs={**GENERATORS["ppo"], "gamma": 1.0})
    space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    with pytest.raises(InapplicableError, match="vector of floating-point numbers"):
        check_absorbing(space)


def test_wrappers_of_reward_nets_are_what_they_say(demos):
    model = build(demos)
    assert isinstance(model.discriminator, AbsorbingRewardNet)
    assert isinstance(model._paid, LaterRewards) and model._paid.gamma == 0.9
    assert model.observation_space.shape == (1,) == model.policy.observation_space.shape
