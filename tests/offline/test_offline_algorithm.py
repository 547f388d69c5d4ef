"""What offline algorithms share: data, normalisation, logs, divergence, and SB3 models of them."""

import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from offline_data import cartpole, pendulum
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.logger import configure

from sb3_il_plus import (
    AWAC,
    BCQ,
    CQL,
    CRR,
    EDAC,
    IQL,
    SACN,
    TD3BC,
    XQL,
    Demonstrations,
    OfflineSAC,
    OfflineTD3,
    ReBRAC,
)
from sb3_il_plus.catalog import BUILTIN
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.offline.checks import TerminalsWarning
from sb3_il_plus.offline.divergence import DivergenceWarning
from sb3_il_plus.registry import get, make

QUICK = {"batch_size": 32, "policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}


SB3_CLASSES = {
    TD3BC: TD3,
    ReBRAC: TD3,
    OfflineTD3: TD3,
    SACN: SAC,
    EDAC: SAC,
    CRR: SAC,
    XQL: SAC,
    OfflineSAC: SAC,
    IQL: SAC,
    AWAC: SAC,
    CQL: SAC,
}
"""Each algorithm and what `to_sb3` makes of it."""


def own_data(n_episodes=4, length=25, terminal=False, seed=0, choices=False):
    """Episodes of equal length in a box of actions that is no unit cube, or with three choices."""
    rng, n = np.random.default_rng(seed), n_episodes * length
    ends = np.zeros(n, dtype=bool)
    ends[length - 1 :: length] = True
    box = spaces.Box(np.float32([0, -4]), np.float32([1, 4]))
    continuous = rng.uniform(box.low, box.high, size=(n, 2)).astype(np.float32)
    return Demonstrations.from_arrays(
        rng.normal(3, 2, size=(n, 3)).astype(np.float32),
        rng.integers(3, size=n) if choices else continuous,
        rng.normal(size=n),
        ends if terminal else np.zeros(n, dtype=bool),
        np.zeros(n, dtype=bool) if terminal else ends,
        observation_space=spaces.Box(-np.inf, np.inf, (3,), np.float32),
        action_space=spaces.Discrete(3) if choices else box,
    )


WITH_VALUES = [
    spec.name
    for spec in BUILTIN
    if spec.family == "offline_rl" and spec.name not in ("decision_transformer", "percentile_bc")
]


# -- data ------------------------------------------------------------------------------------------


def test_batches_are_normalised_and_scaled():
    data = own_data()
    model = TD3BC("MlpPolicy", None, data, gamma=0.9, reward_scale=2.0, reward_shift=-1.0, **QUICK)
    given = model._batches.sample()
    assert given.observations.mean().abs() < 0.4 and 0.7 < given.observations.std() < 1.3
    assert given.actions.min() >= -1 and given.actions.max() <= 1
    assert given.actions.std(0).min() > 0.4
    assert set(given.discounts.tolist()) == {th.tensor(0.9).item()}
    allowed = np.float32(data.rewards) * 2 - 1
    assert np.isin(np.round(given.rewards, 4), np.round(allowed, 4)).all()


def test_terminal_states_are_worth_nothing_and_time_limits_something():
    with pytest.warns(TerminalsWarning):
        model = IQL("MlpPolicy", None, own_data(length=4, n_episodes=40, terminal=True), **QUICK)
    assert set(model._batches.sample().discounts.tolist()) == {0.0, th.tensor(0.99).item()}


def test_rewards_are_scaled_by_the_returns_and_the_scale_is_saved(tmp_path):
    data = own_data()
    returns = data.episode_returns
    model = IQL("MlpPolicy", None, data, **QUICK).learn(3)
    scale = 1000 / (returns.max() - returns.min())
    assert model._scale == pytest.approx(scale)
    model.save(tmp_path / "model")
    other = own_data(seed=1)
    with pytest.warns(UserWarning, match="saved with other demonstrations"):
        loaded = IQL.load(tmp_path / "model", demonstrations=other)
    assert loaded._scale == pytest.approx(scale)


def test_equal_returns_leave_rewards_as_they_are():
    data = own_data()
    data = replace(data, rewards=np.ones_like(data.rewards))
    assert IQL("MlpPolicy", None, data, **QUICK)._scale == 1.0


def test_normalisation_stays_that_of_the_first_data():
    model = TD3BC("MlpPolicy", None, own_data(), **QUICK)
    mean = model.policy.actor.features_extractor.statistics["all"].mean.clone()
    shifted = own_data()
    model.set_demonstrations(replace(shifted, observations=shifted.observations + 100))
    assert th.equal(model.policy.actor.features_extractor.statistics["all"].mean, mean)
    assert mean.mean() == pytest.approx(3, abs=1)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_VALUES)
def test_bad_data_is_refused_with_the_remedy(name):
    is_discrete = get(name).action_spaces == ("Discrete",)
    data = own_data(choices=is_discrete)
    bad_rewards, bad_actions = data.rewards.copy(), data.actions.copy()
    bad_rewards[30], bad_actions[7] = np.nan, 9
    for refused, words in (
        (replace(data, rewards=None), "have no rewards.*rewards=.*BC"),
        (replace(data, rewards=bad_rewards), "rewards.*episode 1.*step 5"),
        (replace(data, actions=bad_actions), "actions.*episode 0.*step 7"),
        (data[0], "batch_size=32 is larger than the data, which has 25 transitions"),
    ):
        with pytest.raises(DataError, match=words):
            make(name, None, demonstrations=refused, **QUICK)
    kind, other = ("Discrete", "Box") if is_discrete else ("Box", "Discrete")
    with pytest.raises(InapplicableError, match=f"{name} handles {kind} actions, not {other}"):
        make(name, None, demonstrations=own_data(choices=not is_discrete), **QUICK)


def test_terminals_at_every_time_limit_are_warned_of():
    with pytest.warns(TerminalsWarning, match="all 4 episodes of the greatest length, 25 steps"):
        TD3BC("MlpPolicy", None, own_data(terminal=True), **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TerminalsWarning)
        TD3BC("MlpPolicy", None, own_data(), **QUICK)


@pytest.mark.parametrize(
    ("algorithm", "arguments", "words"),
    [
        (TD3BC, {"gamma": 1.5}, "gamma=1.5 must lie within"),
        (TD3BC, {"tau": 0.0}, "tau=0.0 must lie within"),
        (TD3BC, {"policy_delay": 0}, "policy_delay=0 must be at least 1"),
        (TD3BC, {"batch_size": 0}, "batch_size=0 must be at least 1"),
        (IQL, {"expectile": 1.0}, "expectile=1.0 must lie within"),
        (IQL, {"reward_scale": "return"}, "reward_scale='return' must be a number or 'returns'"),
        (AWAC, {"lam": 0.0}, "lam=0.0 must be greater than 0"),
        (BCQ, {"lam": 1.5}, "lam=1.5 must lie within"),
        (BCQ, {"n_target_actions": 0}, "n_target_actions=0 and n_action_samples=100 must be"),
        (CRR, {"weight_type": "log"}, "weight_type='log' must be 'binary' or 'exp'"),
        (CRR, {"advantage_type": "min"}, "advantage_type='min' must be 'mean' or 'max'"),
        (CRR, {"beta": 0.0}, "beta=0.0 must be greater than 0"),
        (CRR, {"n_action_samples": 0}, "n_action_samples=0 must be at least 1"),
        (XQL, {"loss_temp": 0.0}, "loss_temp=0.0 and huber_delta=20.0 must be greater than 0"),
        (SACN, {"n_critics": 0}, "n_critics=0 must be at least 1"),
        (EDAC, {"n_critics": 1}, "n_critics=1 must be at least 2"),
        (CQL, {"cql_n_actions": 0}, "cql_n_actions=0 must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(algorithm, arguments, words):
    with pytest.raises(UserError, match=words):
        algorithm("MlpPolicy", None, own_data(), **{**QUICK, **arguments})


# -- logs, callbacks, divergence -------------------------------------------------------------------


def test_figures_are_logged_and_callbacks_count_updates():
    seen = []
    model = TD3BC("MlpPolicy", None, own_data(), **QUICK)
    model.learn(40, log_interval=20, callback=lambda names, _: seen.append(names["self"]) or True)
    assert len(seen) == 40 and all(each is model for each in seen)
    assert [row["timesteps"] for row in model.history] == [20, 40]
    logged = set(model.history[0])
    assert {"train/critic_loss", "train/actor_loss", "train/q_value", "train/diverged"} <= logged


def test_eval_callback_counts_gradient_updates(tmp_path):
    data = pendulum("random", n_timesteps=1000)
    env = gym.make("Pendulum-v1", max_episode_steps=5)
    callback = EvalCallback(
        env, eval_freq=10, n_eval_episodes=1, log_path=str(tmp_path), verbose=0, warn=False
    )
    TD3BC("MlpPolicy", None, data, **QUICK).learn(30, callback=callback)
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [10, 20, 30]


@pytest.mark.parametrize("stop", [True, False])
def test_divergence_is_noticed(stop, tmp_path):
    data = own_data()
    # Positive feedback: a target that is ten times the value it is made of.
    model = TD3BC("MlpPolicy", None, data, learning_rate=0.3, stop_on_divergence=stop, **QUICK)
    model._largest_value = 1e-3
    with pytest.warns(DivergenceWarning, match="training diverges. Try a smaller learning_rate"):
        model.learn(60, log_interval=20)
    assert model.num_timesteps == (20 if stop else 60)
    assert model.history[-1]["train/diverged"] == 1
    if stop:
        saved = TD3BC.load(f"{model.logger.get_dir()}/diverged.zip")
        assert saved.num_timesteps == 20


@pytest.mark.parametrize("name", WITH_VALUES)
def test_divergence_ends_training_of_every_algorithm(name, tmp_path):
    spec = get(name)
    data = own_data() if "Box" in spec.action_spaces else cartpole("random", n_timesteps=300)
    quick = {**QUICK, **({"n_critics": 3} if name in ("sac_n", "edac") else {})}
    model = make(name, None, demonstrations=data, stop_on_divergence=True, **quick)
    model.set_logger(configure(str(tmp_path), []))
    model._largest_value = 1e-9
    with pytest.warns(DivergenceWarning, match="after 5 updates the mean .* Training ends"):
        model.learn(20, log_interval=5)
    assert model.num_timesteps == 5 and (tmp_path / "diverged.zip").exists()


def test_learning_rates():
    model = IQL("MlpPolicy", None, own_data(), learning_rate=1e-3, **QUICK)
    rates = []

    def take_note(names, _):
        rates.append([o.param_groups[0]["lr"] for o in model._optimizers().values()])
        return True

    model.learn(10, callback=take_note)
    actor, critic, value = zip(*rates, strict=True)
    expected = [1e-3 * (1 + np.cos(np.pi * i / 10)) / 2 for i in range(10)]
    assert np.allclose(actor, expected)
    assert set(critic) == set(value) == {1e-3}


# -- SB3 models ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "kind"), SB3_CLASSES.items())
def test_to_sb3_goes_on_learning(algorithm, kind):
    data = pendulum("random", n_timesteps=1000)
    model = algorithm("MlpPolicy", None, data, **QUICK).learn(20)
    online = model.to_sb3(env=gym.make("Pendulum-v1"), train_freq=1)
    assert type(online) is kind
    observations = data.observations[:50]
    expected, _ = model.predict(observations, deterministic=True)
    assert np.allclose(online.predict(observations, deterministic=True)[0], expected, atol=1e-6)
    assert online.replay_buffer.pos == len(data)
    online.learn(3)
    assert online._n_updates == 3 and online.replay_buffer.pos == len(data) + 3


def test_bcq_goes_on_in_no_algorithm_of_sb3():
    model = BCQ("MlpPolicy", None, own_data(), **QUICK)
    with pytest.raises(InapplicableError, match="no SB3 algorithm can go on with the BCQPolicy"):
        model.to_sb3()


def test_bcq_draws_what_it_chooses_from():
    model = BCQ("MlpPolicy", None, own_data(), n_action_samples=3, **QUICK)
    observation = np.zeros((1, 3), dtype=np.float32)
    chosen = [model.predict(observation)[0] for _ in range(5)]
    assert len({each.tobytes() for each in chosen}) > 1
    fixed = [model.predict(observation, deterministic=True)[0] for _ in range(2)]
    assert np.array_equal(*fixed)
    # The best of the candidates, worked out one by one.
    policy, features = model.policy, th.zeros(1, 3)
    candidates = []
    for latent in policy.latents:
        action = policy.vae.decoder(th.cat([features, latent[None]], 1))
        change = 0.05 * policy.actor.mu(th.cat([features, action], 1))
        candidates.append((action + change).clamp(-1, 1))
    best = max(
        candidates, key=lambda a: policy.critic.q_networks[0](th.cat([features, a], 1)).item()
    )
    low, high = model.action_space.low, model.action_space.high
    expected = low + (best.detach().numpy() + 1) / 2 * (high - low)
    assert np.allclose(fixed[0], expected, atol=1e-5)


def test_to_sb3_takes_the_optimisers_along():
    model = TD3BC("MlpPolicy", None, own_data(), normalize_observations=False, **QUICK).learn(20)
    online = model.to_sb3()
    # The same update on both sides has the same effect.
    ours = dict(model.policy.critic.named_parameters())
    for name, parameter in online.policy.critic.named_parameters():
        parameter.grad = th.ones_like(parameter)
        assert th.equal(parameter, ours[name])
    online.policy.critic.optimizer.step()
    model.critics.flat.grad = th.ones_like(model.critics.flat)
    model.policy.critic.optimizer.step()
    for name, parameter in online.policy.critic.named_parameters():
        assert th.allclose(parameter, ours[name], atol=1e-7)
