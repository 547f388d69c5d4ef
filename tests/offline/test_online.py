"""Learning goes on in an environment, with the same losses: half data, half experience."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from offline_data import cartpole, pendulum
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import AWAC, BC, CQL, IQL, TD3BC, PercentileBC, make
from sb3_il_plus.catalog import BUILTIN
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.offline.batch import Batch, joined
from sb3_il_plus.offline.experience import Experience
from sb3_il_plus.offline.online import OnlinePhase
from sb3_il_plus.testing.environments import HORIZON, echo_demonstrations, make_echo

QUICK = {
    "batch_size": 16,
    "policy_kwargs": {"net_arch": [16]},
    "seed": 0,
    "device": "cpu",
}
SOON = {"learning_starts": 8}


def batch(first, n):
    numbers = th.arange(first, first + n, dtype=th.float32)
    column = numbers[:, None]
    return Batch(column, column, column + 1, numbers, numbers, {}, {"more": column})


def test_experience_keeps_the_newest():
    experience = Experience(5)
    for first, n in ((0, 3), (3, 1), (4, 3)):
        experience.add(batch(first, n))
    drawn = experience.sample(200, {}, np.random.default_rng(0), th.Generator())
    assert len(experience) == 5 and set(drawn.rewards.tolist()) == {2, 3, 4, 5, 6}
    assert th.equal(drawn.next_observations, drawn.observations + 1)
    assert th.equal(drawn.extras["more"], drawn.actions)
    experience.add(batch(10, 12))
    drawn = experience.sample(200, {}, np.random.default_rng(0), th.Generator())
    assert set(drawn.rewards.tolist()) == {17, 18, 19, 20, 21}
    both = joined(batch(0, 4), 2, batch(9, 1))
    assert both.rewards.tolist() == [0, 1, 9]


CONTINUOUS = ["iql", "awac", "cql", "cal_ql", "rebrac", "td3_bc", "offline_sac"]
CONTINUOUS += ["offline_td3", "bcq", "crr", "xql", "sac_n", "edac"]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_half_of_each_batch_is_new(name, monkeypatch):
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    model = make(name, None, demonstrations=data, **QUICK).learn(5)
    seen, added = [], []
    update, add = type(model)._update, Experience.add
    monkeypatch.setattr(Experience, "add", lambda self, rows: added.append(rows) or add(self, rows))
    monkeypatch.setattr(
        type(model), "_update", lambda self, given: seen.append(given) or update(self, given)
    )
    before = model.critics.flat.detach().clone()
    model.learn_online(make_echo("Box", "Box", n_envs=2), 60, **SOON, train_freq=2)
    assert model.num_timesteps == 60
    assert len(seen) == 60 // 4 - 1 and model._n_updates == 5 + len(seen)
    assert not th.equal(before, model.critics.flat)
    of_data = {tuple(row) for row in model._scaled(th.tensor(data.actions)).tolist()}
    new = {tuple(row) for rows in added for row in rows.actions.tolist()}
    assert len(new - of_data) > 20
    for given in seen[-3:]:
        actions = [tuple(row) for row in given.actions.tolist()]
        assert of_data.issuperset(actions[:8]) and new.issuperset(actions[8:])
        assert {len(column) for column in (*given.noise.values(), *given.extras.values())} <= {16}


DISCRETE = ["offline_dqn", "discrete_cql", "discrete_iql", "discrete_awac"]
DISCRETE += ["discrete_bcq", "discrete_crr"]


@pytest.mark.parametrize("name", DISCRETE)
def test_choices(name):
    model = make(name, None, demonstrations=cartpole("medium", n_timesteps=500), **QUICK)
    model.learn_online(gym.make("CartPole-v1"), 60, **SOON)
    assert model._n_updates == 60 - 7
    assert model.ep_info_buffer[0]["l"] > 5


def test_transitions_are_those_of_the_environment(monkeypatch):
    """Rewards are scaled, time limits keep their discount, observations are the environment's."""
    data = pendulum("random", n_timesteps=400)
    model = TD3BC("MlpPolicy", None, data, gamma=0.9, reward_scale=2.0, reward_shift=1.0, **QUICK)
    env = gym.make("Pendulum-v1", max_episode_steps=10)
    steps = []
    step = env.step
    monkeypatch.setattr(env, "step", lambda action: steps.append(step(action)) or steps[-1])
    added = []
    add = Experience.add
    monkeypatch.setattr(Experience, "add", lambda self, rows: added.append(rows) or add(self, rows))
    model.learn_online(env, 25, learning_starts=1000)
    assert len(added) == len(steps) == 25 and model._n_updates == 0
    mean = th.tensor(data.observations_at(np.arange(len(data))).mean(0))
    deviation = th.tensor(data.observations_at(np.arange(len(data))).std(0))
    for rows, (observation, reward, _, _, _) in zip(added, steps, strict=True):
        assert rows.rewards.item() == pytest.approx(2 * reward + 1, rel=1e-4)
        assert rows.discounts.item() == pytest.approx(0.9)
        assert rows.actions.abs().max() <= 1
        normal = (th.tensor(observation) - mean) / deviation
        assert th.allclose(rows.next_observations[0], normal, atol=0.05)
    assert [info["l"] for info in model.ep_info_buffer] == [10, 10]


def test_observations_pass_through_vec_normalize():
    data = pendulum("random", n_timesteps=400)
    venv = VecNormalize(make_pendulum(), norm_reward=True)
    model = IQL("MlpPolicy", venv, data, **QUICK)
    model.learn_online(None, 30, **SOON)
    assert model._n_updates == 23


def make_pendulum():
    from stable_baselines3.common.env_util import make_vec_env

    return make_vec_env("Pendulum-v1", 1, seed=0)


def test_callbacks_count_steps_of_the_environment_and_can_stop(tmp_path):
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    model = AWAC("MlpPolicy", None, data, **QUICK)
    evaluation = EvalCallback(
        make_echo("Box", "Box"), eval_freq=10, n_eval_episodes=1, log_path=str(tmp_path), verbose=0
    )
    env = make_echo("Box", "Box")
    model.learn_online(env, 40, callback=evaluation, log_interval=1, **SOON)
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [10, 20, 30, 40]
    rows = [row for row in model.history if "time/fps" in row]  # the others are the evaluation's
    assert [row["timesteps"] for row in rows] == list(range(HORIZON, 41, HORIZON))
    assert {"rollout/ep_rew_mean", "train/critic_loss"} <= set(rows[-1])
    model.learn_online(env, 40, callback=lambda names, _: model.num_timesteps < 5)
    assert model.num_timesteps == 5


def test_a_saved_model_goes_on(tmp_path):
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    env = make_echo("Box", "Box")
    model = CQL("MlpPolicy", env, data, **QUICK, cql_n_actions=2).learn_online(None, 20, **SOON)
    model.save(tmp_path / "model")
    loaded = CQL.load(tmp_path / "model", env=env, demonstrations=data)
    loaded.learn_online(None, 20, reset_num_timesteps=False, **SOON)
    assert loaded.num_timesteps == 40 and loaded._n_updates == 2 * 13


def test_all_others_say_why_they_do_not_go_on():
    offline = {spec.name for spec in BUILTIN if spec.family == "offline_rl"}
    assert offline - {*CONTINUOUS, *DISCRETE} == {"decision_transformer", "percentile_bc"}
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    model = make("decision_transformer", None, demonstrations=data, seed=0, device="cpu")
    with pytest.raises(InapplicableError, match="no values that experience could correct"):
        model.learn_online(make_echo("Box", "Box"), 10)
    assert issubclass(PercentileBC, BC)  # with which `finetune` goes on


def test_what_draws_its_actions_gets_no_noise():
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    for name, expected in (("td3_bc", True), ("rebrac", True), ("bcq", False), ("iql", False)):
        model = make(name, make_echo("Box", "Box"), demonstrations=data, **QUICK)
        phase = OnlinePhase(model, Experience(10), None, 0.5)
        assert (phase.action_noise is not None) is expected


def test_what_cannot_be_is_refused():
    data = echo_demonstrations("Box", "Box", n_episodes=20)
    model = IQL("MlpPolicy", None, data, **QUICK)
    with pytest.raises(UserError, match="learns in an environment and has none: pass env"):
        model.learn_online(None, 10)
    env = make_echo("Box", "Box")
    for arguments, words in (
        ({"offline_fraction": 1.5}, r"offline_fraction=1.5 must lie within \[0, 1\]"),
        ({"gradient_steps": 0}, "gradient_steps=0 at least 1"),
        ({"train_freq": 0}, "train_freq=0 must be at least 1"),
        ({"buffer_size": 0}, "buffer_size=0 must be at least 1"),
    ):
        with pytest.raises(UserError, match=words):
            model.learn_online(env, 10, **arguments)
