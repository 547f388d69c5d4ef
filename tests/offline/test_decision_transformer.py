"""Decision Transformer: what it reads, how it acts, and that it does what it is asked for."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import DecisionTransformer, Demonstrations, collect, evaluate
from sb3_il_plus.errors import DataError, UserError
from sb3_il_plus.experts.behaviours import random_expert
from sb3_il_plus.experts.expert import as_expert
from sb3_il_plus.offline.decision_transformer import Windows, returns_to_go
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo

SMALL = {
    "context_length": 4,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "warmup_steps": 0,
    "policy_kwargs": {"embed_dim": 32, "n_layers": 1, "dropout": 0.0},
    "seed": 0,
    "device": "cpu",
}


def build(data, **changes):
    return DecisionTransformer("MlpPolicy", None, data, **{**SMALL, **changes})


def two_episodes():
    """Of 3 and 2 steps, which earn 1, 2, 4 and 8, 16."""
    return Demonstrations.from_arrays(
        np.arange(5, dtype=np.float32)[:, None],
        np.zeros((5, 1), dtype=np.float32),
        np.array([1.0, 2.0, 4.0, 8.0, 16.0]),
        episode_lengths=[3, 2],
        observation_space=spaces.Box(-9, 9, (1,), np.float32),
        action_space=spaces.Box(-1, 1, (1,), np.float32),
    )


def graded(action):
    """As many episodes of random actions as of the expert's, in the echo task."""
    good = echo_demonstrations("Box", action, n_episodes=40, seed=0)
    random = random_expert(good.observation_space, good.action_space, seed=0)
    bad = collect(random, make_echo("Box", action, seed=0), n_episodes=40, seed=0)
    return Demonstrations.concatenate([good, bad])


def test_returns_to_go_are_what_is_still_to_come():
    np.testing.assert_allclose(returns_to_go(two_episodes()), [7, 6, 4, 24, 16])


def test_windows_begin_anywhere_and_end_with_their_episode():
    data = two_episodes()
    batches = Windows(
        data, data.observations_at(np.arange(5)), 3, 2, np.random.default_rng(0), "cpu"
    )
    rows = batches.rows(np.array([1, 3]))
    assert rows["obs"][..., 0].tolist() == [[1, 2, 2], [3, 4, 4]]
    assert rows["returns"].tolist() == [[6, 4, 4], [24, 16, 16]]
    assert rows["timesteps"].tolist() == [[1, 2, 2], [0, 1, 1]]
    assert rows["weights"].tolist() == [[1, 1, 0], [1, 1, 0]]
    assert batches.n_transitions(np.arange(5)) == 3 + 2 + 1 + 2 + 1


@pytest.mark.parametrize("action", ["Box", "Discrete"])
def test_no_step_sees_its_own_action_or_later_ones(action):
    policy = build(echo_demonstrations("Box", action, seed=0)).policy
    policy.set_training_mode(False)
    generator = th.Generator().manual_seed(0)
    n_inputs = policy.embed_action.in_features
    features, actions, returns = (th.randn(2, 4, n, generator=generator) for n in (2, n_inputs, 1))
    times = th.arange(4).expand(2, 4)
    before = policy(features, actions, returns[..., 0], times)
    features[:, 3], returns[:, 3], actions[:, 2:] = 9.0, 9.0, 9.0
    after = policy(features, actions, returns[..., 0], times)
    th.testing.assert_close(before[:, :3], after[:, :3])
    assert not th.allclose(before[:, 3], after[:, 3])


def test_the_loss_is_that_of_real_steps():
    data = two_episodes()
    model = build(data, batch_size=2, context_length=3, normalize_observations=False)
    model.policy.set_training_mode(False)
    rows = model._batches.rows(np.array([1, 4]))
    outputs = model.policy(
        rows["obs"], rows["acts"].clone(), rows["returns"], rows["timesteps"]
    ).detach()
    errors = outputs.square()[..., 0]
    expected = (errors[0, 0] + errors[0, 1] + errors[1, 0]) / 3
    assert model._loss(rows).item() == pytest.approx(expected.item(), rel=1e-5)


def test_scales_come_from_the_first_data_and_are_saved(tmp_path):
    data = two_episodes()
    model = build(data, batch_size=2)
    assert model.policy.best_return.item() == 24
    model.save(tmp_path / "model.zip")
    with pytest.warns(UserWarning, match="other demonstrations"):
        loaded = DecisionTransformer.load(tmp_path / "model.zip", demonstrations=data[:1])
    assert (loaded.policy.best_return.item(), loaded.policy.return_scale.item()) == (24, 24)


def test_acting_while_it_learns_changes_nothing():
    data = two_episodes()
    weights = []
    for callback in (None, lambda names, _: bool(names["self"].predict(np.zeros(1)))):
        model = build(data, batch_size=2, policy_kwargs={"embed_dim": 8, "dropout": 0.5})
        weights.append(model.learn(5, callback=callback).policy.head.weight)
    assert th.equal(*weights)


@pytest.mark.parametrize("action", ["Box", "Discrete"])
def test_acting_step_by_step_is_what_the_network_says_of_the_window(action):
    model = build(echo_demonstrations("Box", action, seed=0)).learn(20)
    env = model.report_rewards(make_echo("Box", action, 2, seed=1))
    seen, state, starts = env.reset(), None, np.ones(2, dtype=bool)
    observations, actions, rewards = [], [], []
    for _ in range(HORIZON - 1):
        observations.append(seen)
        chosen, state = model.predict(seen, state, starts, deterministic=True)
        actions.append(chosen)
        seen, earned, starts, _ = env.step(chosen)
        rewards.append(earned)
    policy = model.policy
    earned = np.cumsum([np.zeros(2), *rewards[:-1]], axis=0)
    columns = [
        th.as_tensor(np.stack(column, axis=1))[:, -4:]
        for column in (observations, actions, HORIZON - earned)
    ]
    times = th.arange(HORIZON - 1)[-4:].expand(2, 4)
    outputs = policy(
        policy.features_of(columns[0]),
        policy.encode_actions(columns[1]),
        columns[2].float(),
        times,
    )[:, -1]
    expected = outputs.argmax(-1) if action == "Discrete" else outputs
    np.testing.assert_allclose(actions[-1], expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_rewards_lower_what_is_wanted_only_where_they_are_reported():
    model = build(echo_demonstrations("Box", "Box", seed=0), target_return=50.0)
    plain = make_echo("Box", "Box", 2, seed=1)
    for env, asked in ((model.report_rewards(plain), None), (plain, 50.0)):
        actions, state = model.predict(env.reset())
        seen, rewards, _, _ = env.step(actions)
        _, state = model.predict(seen, state)
        np.testing.assert_allclose(state.wanted, asked or 50.0 - rewards, rtol=1e-5)


def test_a_new_episode_asks_for_everything_again():
    model = build(echo_demonstrations("Box", "Box", seed=0))
    env = model.report_rewards(make_echo("Box", "Box", 2, seed=1))
    seen, state = env.reset(), None
    for starts in ([True, True], [False, False], [True, False]):
        actions, state = model.predict(seen, state, np.array(starts))
        seen = env.step(actions)[0]
    assert state.n_steps.tolist() == [1, 3]
    assert state.wanted[0] == HORIZON > state.wanted[1]


def test_as_an_expert_it_is_known_to_remember():
    model = build(two_episodes(), batch_size=2)
    assert as_expert(model, model.observation_space, model.action_space).remembers


def test_rewards_are_reported_as_they_are_before_normalisation():
    model = build(echo_demonstrations("Box", "Box", seed=0))
    normalized = VecNormalize(make_echo("Box", "Box", 2, seed=1), norm_obs=False)
    env = model.report_rewards(normalized)
    env.reset()
    env.step(np.zeros((2, 2), dtype=np.float32))
    np.testing.assert_allclose(model.policy.reported_rewards, normalized.get_original_reward())


@pytest.mark.parametrize("action", ["Box", "Discrete"])
def test_it_does_what_it_is_asked_for(action):
    model = build(graded(action)).learn(200)
    reached = {}
    for target in (HORIZON, HORIZON / 2):
        model.target_return = target
        env = make_echo("Box", action, 10, seed=1)
        reached[target] = evaluate(model, env, 20, seed=0).mean_return
        by_sb3, _ = evaluate_policy(model, model.report_rewards(env), 20, warn=False)
        assert by_sb3 == pytest.approx(reached[target], abs=1)
    # Over three seeds: 7.4 to 8.0, and 4.0 to 6.5.
    assert reached[HORIZON] > 7
    assert reached[HORIZON / 2] < reached[HORIZON] - 0.8


def test_what_cannot_work_is_refused():
    data = two_episodes()
    without = Demonstrations.from_arrays(
        np.zeros((5, 1), dtype=np.float32),
        np.zeros((5, 1), dtype=np.float32),
        episode_lengths=[5],
        observation_space=data.observation_space,
        action_space=data.action_space,
    )
    with pytest.raises(DataError, match="have no rewards"):
        build(without, batch_size=2)
    with pytest.raises(DataError, match="batch_size=16 is larger than the data"):
        build(data)
    with pytest.raises(DataError, match=r"has 3 steps.*policy_kwargs=dict\(max_timestep=3\)"):
        build(data, batch_size=2, policy_kwargs={"max_timestep": 2})
    with pytest.raises(UserError, match="n_heads=3 must be a divisor of embed_dim=32"):
        build(data, batch_size=2, policy_kwargs={"embed_dim": 32, "n_heads": 3})
    with pytest.raises(UserError, match="context_length=0 must be at least 1"):
        build(data, context_length=0)


def test_time_can_be_left_out():
    model = build(two_episodes(), batch_size=2, policy_kwargs={"embed_dim": 8, "max_timestep": 0})
    assert not hasattr(model.learn(2).policy, "embed_time")
