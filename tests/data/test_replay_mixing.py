"""Demonstrations in the replay buffers of plain SB3 models: once, or in a share of each batch."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DDPG, DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import Demonstrations, OfflineOnlineReplayBuffer, collect, fill_replay_buffer
from sb3_il_plus.data.hints import DataWarning
from sb3_il_plus.data.replay_mixing import RLPD, OfflineOnlineDictReplayBuffer
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import DataError, InapplicableError, UserError
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

SMALL = {"buffer_size": 600, "learning_starts": 0, "batch_size": 8, "device": "cpu", "seed": 0}
MARK = 7.0
"""Reward of every demonstrated step, which no environment here pays."""


@pytest.fixture(scope="module")
def pendulum():
    """One episode of 200 random steps, which a time limit ends."""

    def act(_):
        return rng.uniform(-2, 2, 1).astype(np.float32)

    rng = np.random.default_rng(0)
    return marked(collect(act, "Pendulum-v1", n_episodes=1, seed=0))


def marked(demos):
    columns = {**demos.columns(), "rewards": np.full(len(demos), MARK)}
    return Demonstrations.from_columns(columns, demos.observation_space, demos.action_space)


def share(batch):
    return (batch.rewards == MARK).float().mean().item()


class TestFilling:
    def test_actions_are_scaled_and_the_time_limit_keeps_its_value(self, pendulum):
        model = SAC("MlpPolicy", "Pendulum-v1", **SMALL)
        assert fill_replay_buffer(model, pendulum) == 200
        buffer = model.replay_buffer
        assert buffer.pos == 200 and not buffer.full
        np.testing.assert_allclose(buffer.actions[:200, 0], pendulum.actions / 2, atol=1e-6)
        assert buffer.dones[199] == 1 and buffer.timeouts[199] == 1
        assert buffer._get_samples(np.array([199])).dones.item() == 0

    def test_it_goes_behind_what_is_there_and_round_the_end(self, pendulum):
        model = SAC("MlpPolicy", "Pendulum-v1", **{**SMALL, "buffer_size": 250})
        model.learn(100)
        first = model.replay_buffer.rewards[:100].copy()
        fill_replay_buffer(model, pendulum)
        buffer = model.replay_buffer
        assert buffer.full and buffer.pos == 50
        np.testing.assert_array_equal(buffer.rewards[50:100], first[50:])
        assert (buffer.rewards[100:] == MARK).all() and (buffer.rewards[:50] == MARK).all()
        model.learn(20, reset_num_timesteps=False)
        assert buffer.pos == 70

    def test_copies_of_the_environment_get_consecutive_steps(self, pendulum):
        model = SAC("MlpPolicy", make_vec("Pendulum-v1", 3), **SMALL)
        with pytest.warns(DataWarning, match="the last 2 steps are left out, to fill 3 parts"):
            assert fill_replay_buffer(model, pendulum) == 198
        stored = model.replay_buffer.observations[:66]
        for copy in range(3):
            expected = pendulum.observations[66 * copy : 66 * (copy + 1)]
            np.testing.assert_array_equal(stored[:, copy], expected)

    def test_without_a_column_for_timeouts_only_terminations_are_ends(self, pendulum):
        options = {"handle_timeout_termination": False}
        model = SAC("MlpPolicy", "Pendulum-v1", replay_buffer_kwargs=options, **SMALL)
        fill_replay_buffer(model, pendulum)
        assert model.replay_buffer.dones.sum() == 0

    def test_vec_normalize_is_applied_when_sampled(self, pendulum):
        env = VecNormalize(make_vec("Pendulum-v1", seed=0))
        model = SAC("MlpPolicy", env, **SMALL)
        fill_replay_buffer(model, pendulum)
        np.testing.assert_array_equal(
            model.replay_buffer.observations[:200, 0], pendulum.observations[:200]
        )
        model.learn(50)
        batch = model.replay_buffer._get_samples(np.array([3]), env)
        expected = env.normalize_obs(pendulum.observations[3])
        np.testing.assert_allclose(batch.observations[0], expected, atol=1e-6)
        expected = env.normalize_reward(np.array([MARK]))
        np.testing.assert_allclose(batch.rewards[0], expected, atol=1e-6)

    def test_other_bounds_scale_as_the_model_does(self, pendulum):
        """Demonstrations recorded with wider bounds mean the same forces."""
        wide = spaces.Box(-4, 4, (1,), np.float32)
        demos = Demonstrations.from_columns(pendulum.columns(), pendulum.observation_space, wide)
        model = SAC("MlpPolicy", "Pendulum-v1", **SMALL)
        fill_replay_buffer(model, demos)
        np.testing.assert_allclose(
            model.replay_buffer.actions[:200, 0], pendulum.actions / 2, atol=1e-6
        )

    def test_hindsight_buffers_get_whole_episodes(self):
        """`HerReplayBuffer` has more than columns; it can relabel what it is given."""
        model = goal_model()
        demos = goal_demonstrations()
        fill_replay_buffer(model, demos)
        buffer = model.replay_buffer
        assert buffer.ep_length[: len(demos), 0].tolist() == [2, 2, 3, 3, 3]
        batch = buffer.sample(50)
        assert set(batch.observations) == {"observation", "achieved_goal", "desired_goal"}
        assert (batch.dones == 0).all()

    def test_refusals(self, pendulum):
        with pytest.raises(InapplicableError, match="PPO has no replay buffer to fill; off-policy"):
            fill_replay_buffer(PPO("MlpPolicy", "Pendulum-v1", device="cpu"), pendulum)
        with pytest.raises(DataError, match="200 transitions for 1 environments do not fit into"):
            fill_replay_buffer(SAC("MlpPolicy", "Pendulum-v1", buffer_size=100), pendulum)
        with pytest.raises(DataError, match=r"observation space .* does not fit"):
            fill_replay_buffer(DQN("MlpPolicy", "CartPole-v1", buffer_size=500), pendulum)
        thrifty = SAC(
            "MlpPolicy",
            "Pendulum-v1",
            optimize_memory_usage=True,
            replay_buffer_kwargs={"handle_timeout_termination": False},
            **SMALL,
        )
        with pytest.raises(DataError, match="optimize_memory_usage=True has no place for the obs"):
            fill_replay_buffer(thrifty, pendulum)


class TestMixing:
    @pytest.mark.parametrize("algorithm", [SAC, TD3, DDPG])
    def test_half_of_each_batch(self, algorithm, pendulum):
        model = mixed(algorithm, pendulum, **RLPD)
        model.learn(30)
        assert model._n_updates > 0
        batch = model.replay_buffer.sample(64)
        assert share(batch) == 0.5
        assert batch.observations.shape == (64, 3)

    def test_discrete_actions(self):
        demos = marked(echo_demonstrations("Box", "Discrete", seed=0))
        model = DQN("MlpPolicy", make_echo("Box", "Discrete", 2), **options(demos), **SMALL)
        model.learn(40)
        assert share(model.replay_buffer.sample(10)) == 0.5

    def test_dict_observations(self):
        demos = marked(echo_demonstrations("Dict", "Box", seed=0))
        model = SAC("MultiInputPolicy", make_echo("Dict", "Box", 1), **options(demos), **SMALL)
        assert isinstance(model.replay_buffer, OfflineOnlineReplayBuffer)
        assert isinstance(model.replay_buffer, DictReplayBuffer)
        assert type(model.replay_buffer) is OfflineOnlineDictReplayBuffer
        model.learn(40)
        batch = model.replay_buffer.sample(10)
        assert share(batch) == 0.5 and batch.observations["bit"].shape == (10, 1)

    def test_before_the_first_step_all_is_demonstrated(self, pendulum):
        assert share(mixed(SAC, pendulum).replay_buffer.sample(16)) == 1.0

    def test_small_batches_have_the_share_on_average(self, pendulum):
        model = mixed(SAC, pendulum, offline_fraction=0.1).learn(10)
        shares = [share(model.replay_buffer.sample(4)) for _ in range(25)]
        assert sum(shares) == pytest.approx(2.5)
        assert set(shares) == {0.0, 0.25}

    @pytest.mark.parametrize("fraction", [0.0, 1.0])
    def test_none_and_all(self, fraction, pendulum):
        model = mixed(SAC, pendulum, offline_fraction=fraction).learn(10)
        assert share(model.replay_buffer.sample(16)) == fraction

    def test_an_annealed_share(self, pendulum):
        annealed = {"final_offline_fraction": 0.0, "anneal_timesteps": 40}
        model = mixed(SAC, pendulum, **annealed, n_envs=2)
        seen = []
        for _ in range(3):
            model.learn(20, reset_num_timesteps=False)
            seen.append(
                (model.replay_buffer.present_fraction(), share(model.replay_buffer.sample(8)))
            )
        assert seen == [(0.25, 0.25), (0.0, 0.0), (0.0, 0.0)]

    def test_both_parts_are_normalised_alike(self, pendulum):
        env = VecNormalize(make_vec("Pendulum-v1", seed=0))
        model = SAC("MlpPolicy", env, **options(pendulum), **SMALL).learn(50)
        batch = model.replay_buffer.sample(64, env)
        reward = th.as_tensor(env.normalize_reward(np.array([MARK])))
        assert th.isclose(batch.rewards, reward.float()).float().mean().item() == 0.5
        assert batch.observations.abs().max() <= 10

    def test_saved_and_loaded_as_sb3_does(self, pendulum, tmp_path):
        path = tmp_path / "demonstrations.npz"
        pendulum.save(path)
        annealed = {"final_offline_fraction": 0.0, "anneal_timesteps": 40}
        model = mixed(SAC, str(path), **annealed).learn(10)
        model.save_replay_buffer(tmp_path / "buffer")
        model.save(tmp_path / "model")
        loaded = SAC.load(tmp_path / "model", env=make_vec("Pendulum-v1"), device="cpu")
        assert loaded.replay_buffer.offline_buffer.size() == 200
        loaded.load_replay_buffer(tmp_path / "buffer")
        assert loaded.replay_buffer.size() == 10
        assert loaded.replay_buffer.present_fraction() == pytest.approx(0.375)
        loaded.learn(10, reset_num_timesteps=False)
        assert loaded.replay_buffer.size() == 20

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"offline_fraction": 1.5}, r"offline_fraction=1.5 must lie within \[0, 1\]"),
            ({"final_offline_fraction": -1}, r"final_offline_fraction=-1 must lie within"),
            ({"final_offline_fraction": 0.0}, "belong together: give both, or neither"),
            (
                {"final_offline_fraction": 0.0, "anneal_timesteps": 0},
                "anneal_timesteps=0 must be at least 1",
            ),
        ],
    )
    def test_refusals(self, given, message, pendulum):
        with pytest.raises(UserError, match=message):
            mixed(SAC, pendulum, **given)

    def test_demonstrations_of_another_task(self, pendulum):
        with pytest.raises(DataError, match=r"observation space .* does not fit"):
            DQN("MlpPolicy", "CartPole-v1", **options(pendulum), **SMALL)
        columns = pendulum.columns()
        del columns["rewards"]
        bare = Demonstrations.from_columns(
            columns, pendulum.observation_space, pendulum.action_space
        )
        with pytest.raises(DataError, match="needs rewards, and these demonstrations have none"):
            mixed(SAC, bare)


def options(demos, **kwargs):
    return {
        "replay_buffer_class": OfflineOnlineReplayBuffer,
        "replay_buffer_kwargs": {"demonstrations": demos, **kwargs},
    }


def mixed(algorithm, demos, n_envs=1, **kwargs):
    env = make_vec("Pendulum-v1", n_envs, seed=0)
    return algorithm("MlpPolicy", env, **options(demos, **kwargs), **SMALL)


class GoalEnv(gym.Env):
    """Walk along a line to a goal."""

    observation_space = spaces.Dict(
        {
            name: spaces.Box(-99, 99, (1,), np.float32)
            for name in ("observation", "achieved_goal", "desired_goal")
        }
    )
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def compute_reward(self, achieved_goal, desired_goal, info):
        return -np.abs(achieved_goal - desired_goal).sum(axis=-1)


def goal_model():
    return SAC("MultiInputPolicy", GoalEnv(), replay_buffer_class=HerReplayBuffer, **SMALL)


def goal_demonstrations():
    """A fragment of 2 steps and an episode of 3."""
    numbers = np.arange(7, dtype=np.float32)[:, None]
    return Demonstrations(
        observations={name: numbers for name in GoalEnv.observation_space},
        actions=np.ones((5, 1), np.float32),
        rewards=np.zeros(5),
        terminations=np.zeros(5, bool),
        truncations=np.array([0, 0, 0, 0, 1], bool),
        offsets=np.array([0, 2, 5]),
        observation_space=GoalEnv.observation_space,
        action_space=GoalEnv.action_space,
    ).validate()
