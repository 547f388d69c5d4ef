"""Learned rewards on their own: saved, loaded, mixed, and trained on."""

import zipfile

import numpy as np
import pytest
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import AIRL, BC, GAIL, evaluate, list_algorithms, load_reward, train_on_reward
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo
from sb3_il_plus.testing.task import Task

SMALL = {"policy_kwargs": {"net_arch": [16]}, "device": "cpu", "seed": 0}
PLAIN = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}

WITH_REWARDS = sorted(
    spec.name
    for spec in list_algorithms()
    if spec.family in ("imitation", "preferences") and hasattr(spec.load(), "save_reward")
)


def learned(cls=GAIL, env=None, **kwargs):
    demos = echo_demonstrations("Box", "Discrete", seed=0)
    env = make_echo("Box", "Discrete", 2) if env is None else env
    arguments = {"demo_batch_size": 16, "generator_kwargs": PLAIN, **SMALL, **kwargs}
    return cls("MlpPolicy", env, demos, **arguments).learn(64)


def transitions(task_env, n=30):
    """Observations, actions, next observations and dones of random actions."""
    env, columns = task_env, []
    before = env.reset()
    for _ in range(n):
        acts = np.array([env.action_space.sample() for _ in range(env.num_envs)])
        after, _, dones, infos = env.step(acts)
        shown = [info.get("terminal_observation", o) for info, o in zip(infos, after, strict=True)]
        columns.append((before, acts, np.array(shown), dones))
        before = after
    return [np.concatenate(each) for each in zip(*columns, strict=True)]


def test_who_learns_a_reward():
    assert WITH_REWARDS == ["airl", "density", "gaifo", "gail", "mce_irl", "preference_comparisons"]


@pytest.mark.parametrize("name", WITH_REWARDS)
def test_a_reward_alone_pays_the_same(name, tmp_path):
    task = Task(next(each for each in list_algorithms() if each.name == name), tmp_path)
    model = task.trained()
    model.save_reward(tmp_path / "reward")
    with zipfile.ZipFile(tmp_path / "reward.zip") as archive:
        assert not any("policy" in entry for entry in archive.namelist())
    env = task.env() if name == "mce_irl" else None  # which plans with the environment's model
    reward = load_reward(tmp_path / "reward", env=env, device="cpu")
    batch = transitions(task.env(2))
    expected = model.predict_reward(*batch)
    np.testing.assert_allclose(reward.predict_reward(*batch), expected, rtol=1e-6)
    assert np.ptp(expected) > 0
    assert reward.action_space == model.action_space


def test_it_pays_alone_beside_or_not():
    model = learned()
    plain, alone, mixed = (
        make_echo("Box", "Discrete", 3, seed=1),
        model.as_reward_wrapper(make_echo("Box", "Discrete", 3, seed=1)),
        model.as_reward_wrapper(
            make_echo("Box", "Discrete", 3, seed=1), learned_weight=0.5, environment_weight=2.0
        ),
    )
    plain.reset()  # the others' construction does so, too
    for env in (plain, alone, mixed):
        env.reset()
    payments = []
    for action in (0, 1, 2, 3) * 3:
        acts = np.full(3, action)
        own, paid, both = (env.step(acts)[1] for env in (plain, alone, mixed))
        np.testing.assert_allclose(both, 0.5 * paid + 2.0 * own, rtol=1e-5)
        payments.append(paid)
    assert np.ptp(payments) > 0


class TestTraining:
    def test_a_fresh_agent_of_any_kind(self, tmp_path):
        model = learned(AIRL)
        model.save_reward(tmp_path / "reward")
        for source in (model, load_reward(tmp_path / "reward"), tmp_path / "reward"):
            agent = train_on_reward(
                source, make_echo("Box", "Discrete", 2), 64, PPO, seed=0, device="cpu", **PLAIN
            )
            assert type(agent) is PPO and agent.num_timesteps == 64
        agent = train_on_reward(
            model, make_echo("Box", "Discrete"), 64, "dqn", learning_starts=10, buffer_size=100
        )
        assert type(agent) is DQN
        # SB3 keeps raw rewards, which are the learned ones, and scales them when it samples.
        assert set(np.unique(agent.replay_buffer.rewards[:64])) - {0.0, 0.5, 1.0}

    def test_the_environments_reward_beside_it(self):
        model = learned()
        seen = []

        def watch(variables, _):
            seen.extend(variables["rewards"])
            return True

        train_on_reward(
            model,
            make_echo("Box", "Discrete", 2),
            32,
            learned_weight=0.0,
            environment_weight=3.0,
            normalize_reward=False,
            callback=watch,
            **PLAIN,
        )
        assert {round(float(reward), 4) for reward in seen} <= {0.0, 1.5, 3.0}

    def test_it_is_told_from_what_is_no_reward(self):
        with pytest.raises(UserError, match="is no learned reward: pass a model that learned one"):
            train_on_reward(BC, make_echo("Box", "Discrete"), 10)

    @pytest.mark.slow
    def test_the_reward_teaches_a_fresh_agent(self):
        """Trained on an AIRL reward alone, an agent does what the expert does."""
        model = learned(AIRL, n_disc_updates_per_round=4, reward_net_kwargs={"use_action": True})
        model.learn(3_000)
        agent = train_on_reward(
            model,
            make_echo("Box", "Discrete", 4, seed=1),
            4_000,
            seed=0,
            device="cpu",
            **{**PLAIN, "n_steps": 64, "batch_size": 64, "n_epochs": 10},
        )
        assert evaluate(agent, make_echo("Box", "Discrete", 20, seed=2), 20).mean_return > 7


class TestFiles:
    def test_a_model_is_no_reward_and_a_reward_no_model(self, tmp_path):
        model = learned()
        model.save(tmp_path / "model")
        model.save_reward(tmp_path / "reward")
        with pytest.raises(FileError, match=r"holds a model of .*GAIL', no reward alone; load"):
            load_reward(tmp_path / "model")
        with pytest.raises(FileError, match=r"holds a model of 'the reward of .*GAIL', not of"):
            GAIL.load(tmp_path / "reward")

    def test_other_parts(self, tmp_path):
        model = learned()
        model._reward_parts = lambda: ("policy",)
        model.save_reward(tmp_path / "reward")
        with pytest.raises(FileError, match=r"holds .'policy'., not the parts of a reward"):
            load_reward(tmp_path / "reward")

    def test_normalised_observations_are_spoken_of(self, tmp_path):
        model = learned(env=VecNormalize(make_echo("Box", "Discrete", 2)))
        with pytest.warns(UserWarning, match="learned from what a VecNormalize shows: save that"):
            model.save_reward(tmp_path / "reward")
