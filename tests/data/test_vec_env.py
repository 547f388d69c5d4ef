"""What happens in a `VecEnv` is recorded as it is, whoever acts there."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given, settings
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from strategies import demonstrations

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.vec_env import VecEnvRecorder, from_vec_env
from sb3_il_plus.errors import DataError


class Playback(gym.Env):
    """Plays demonstrations, one episode after the other, whatever the actions."""

    def __init__(self, demos):
        self.observation_space, self.action_space = demos.observation_space, demos.action_space
        self._episodes, self._episode = demos.episodes(), None

    def _observation(self):
        rows = self._episode.observations
        if isinstance(rows, dict):
            return {key: column[self._step] for key, column in rows.items()}
        return rows[self._step]

    def reset(self, *, seed=None, options=None):
        # The environment is reset once more after the last episode.
        self._episode, self._step = next(self._episodes, self._episode), 0
        return self._observation(), {}

    def step(self, action):
        episode = self._episode
        self._step += 1
        last = self._step == len(episode)
        ends = last and episode.terminated, last and episode.truncated
        return self._observation(), float(episode.rewards[self._step - 1]), *ends, {}


@settings(max_examples=30)
@given(demonstrations(ends=[(True, False), (False, True)]))
def test_what_is_played_is_recorded(demos):
    assume(demos.rewards is not None)
    venv = VecEnvRecorder(DummyVecEnv([lambda: Playback(demos)]))
    venv.reset()
    for action in demos.actions:
        venv.step(np.array([action]))
    recorded = venv.demonstrations({"seed": 3})
    assert recorded.metadata["seed"] == 3
    for name, column in demos.columns().items():
        np.testing.assert_array_equal(recorded.columns()[name], column)


def test_what_a_model_does_while_it_learns():
    venv = VecEnvRecorder(make_vec_env("CartPole-v1", n_envs=3, seed=0))
    model = PPO("MlpPolicy", venv, n_steps=64, seed=0, device="cpu")
    model.learn(192)
    demos = venv.demonstrations()
    assert len(demos) == 192 and demos.n_episodes > 3
    last = demos.offsets[1:] - 1
    fragments = ~(demos.terminations | demos.truncations)[last]
    assert fragments.tolist() == [False] * (demos.n_episodes - 3) + [True] * 3
    model.learn(192)  # resets the environment: what was running stays
    again = venv.demonstrations()
    assert len(again) == 384
    assert again[: demos.n_episodes].fingerprint() == demos.fingerprint()


def test_raw_values_below_a_normalizer():
    recorder = VecEnvRecorder(make_vec_env("Pendulum-v1", n_envs=1, seed=0))
    venv = VecNormalize(recorder)
    venv.reset()
    for _ in range(5):
        observations, *_ = venv.step(np.ones((1, 1)))
    recorded = recorder.demonstrations()
    np.testing.assert_allclose(recorded.observations[-1], venv.get_original_obs()[0])
    assert not np.allclose(recorded.observations[-1], observations[0])
    assert recorded.rewards.max() < -0.01


def steps(n_steps=4):
    """Two environments, of which the second ends by time in its third step."""
    observations = [np.array([[step], [10 + step]], np.float32) for step in range(n_steps + 1)]
    observations[3][1] = 20
    infos = [[{}, {}] for _ in range(n_steps)]
    infos[2][1] = {"terminal_observation": np.array([13.0]), "TimeLimit.truncated": True}
    dones = np.zeros((n_steps, 2), bool)
    dones[2, 1] = True
    return {
        "observations": observations,
        "actions": np.zeros((n_steps, 2), int),
        "rewards": np.ones((n_steps, 2)),
        "dones": dones,
        "infos": infos,
        "action_space": spaces.Discrete(2),
    }


def test_steps_that_somebody_kept():
    demos = from_vec_env(**steps())
    assert demos.observations.ravel().tolist() == [10, 11, 12, 13, 0, 1, 2, 3, 4, 20, 14]
    assert demos.episode_lengths.tolist() == [3, 4, 1]
    assert np.flatnonzero(demos.truncations).tolist() == [2]
    assert not demos.terminations.any()
    assert demos.observation_space == spaces.Box(-np.inf, np.inf, (1,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.ones((3, 2))}, "rewards has 3 entries for 4 steps"),
        ({"observations": [np.zeros((2, 1))] * 4}, "observations has 4 entries; 4 steps need 5"),
        ({"infos": [[{}, {}]] * 4}, r"ended without info\['terminal_observation'\]"),
        ({"observations": [(np.zeros((2, 1)),)] * 5}, "Tuple spaces are not handled"),
        ({"action_space": None}, "the action space is unknown: pass env="),
    ],
)
def test_what_does_not_fit(change, message):
    with pytest.raises(DataError, match=message):
        from_vec_env(**{**steps(), **change})


def test_nothing_recorded():
    venv = VecEnvRecorder(make_vec_env("CartPole-v1"))
    with pytest.raises(DataError, match="nothing was recorded"):
        venv.demonstrations()
    venv.reset()
    with pytest.raises(DataError, match="nothing was recorded"):
        venv.demonstrations()


def test_recordings_are_demonstrations(tmp_path):
    venv = VecEnvRecorder(make_vec_env("CartPole-v1", seed=0))
    venv.reset()
    venv.step(np.array([1]))
    path = venv.demonstrations().save(tmp_path / "recorded.npz")
    assert len(Demonstrations.load(path)) == 1
