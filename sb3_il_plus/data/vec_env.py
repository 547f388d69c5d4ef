"""Demonstrations from what happens in a vectorised environment, whoever acts in it.

    venv = VecEnvRecorder(make_vec_env("CartPole-v1", n_envs=4))
    PPO("MlpPolicy", venv).learn(100_000)
    demonstrations = venv.demonstrations()

`from_vec_env` does the same for steps that somebody has kept in lists. Both know where SB3 puts an
episode's last observation and the reason of its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.arrays import guess_observation_space, resolve_spaces
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.recorder import EpisodeRecorder
from sb3_il_plus.errors import DataError


class VecEnvRecorder(VecEnvWrapper):
    """Records every step of the environment that it wraps.

    Inside a `VecNormalize` it records raw observations and rewards, outside normalised ones.

    :param venv: the environment
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self._recorder = EpisodeRecorder(venv.observation_space, venv.action_space)
        self._actions: np.ndarray | None = None

    def reset(self) -> VecEnvObs:
        """Reset; the episodes that were running stay as fragments."""
        observations = self.venv.reset()
        self._recorder.reset(_as_columns(observations), keep_unfinished=True)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step."""
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step, and record it."""
        observations, rewards, dones, infos = self.venv.step_wait()
        assert self._actions is not None
        self._recorder.add(self._actions, rewards, dones, infos, _as_columns(observations))
        return observations, rewards, dones, infos

    def demonstrations(self, metadata: Mapping[str, Any] | None = None) -> Demonstrations:
        """What was recorded up to now, episodes still running as fragments at the end.

        :param metadata: JSON-like facts to keep with the data
        :raises DataError: nothing was recorded
        """
        return _recorded(self._recorder, metadata)


def from_vec_env(
    observations: Sequence[Any],
    actions: Sequence[Any],
    rewards: Sequence[Any],
    dones: Sequence[Any],
    infos: Sequence[Sequence[Mapping[str, Any]]],
    *,
    env: Any = None,
    observation_space: spaces.Space | None = None,
    action_space: spaces.Space | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Demonstrations:
    """Convert T steps of a `VecEnv` with n environments.

    :param observations: T + 1 entries of shape (n, *observation shape), or dicts of such: what
        `reset` and each `step` returned
    :param actions: T entries of shape (n, *action shape)
    :param rewards: T entries of shape (n,)
    :param dones: T entries of shape (n,)
    :param infos: T lists of n dicts, with SB3's `terminal_observation` and `TimeLimit.truncated`
    :param env: an environment id, `Env` or `VecEnv` to take the spaces from
    :param observation_space: in place of `env`; guessed from the observations where missing
    :param action_space: in place of `env`
    :param metadata: JSON-like facts to keep with the data
    :return: episodes in the order in which they end, unfinished ones as fragments
    :raises DataError: the lengths do not fit, or an episode's last observation is missing
    """
    n_steps = len(actions)
    for name, entries in (("rewards", rewards), ("dones", dones), ("infos", infos)):
        if len(entries) != n_steps:
            raise DataError(f"{name} has {len(entries)} entries for {n_steps} steps")
    if len(observations) != n_steps + 1:
        raise DataError(
            f"observations has {len(observations)} entries; {n_steps} steps need {n_steps + 1}: "
            "what reset() returned, and what each step() returned"
        )
    observation_space, action_space = resolve_spaces(env, observation_space, action_space)
    first = _as_columns(observations[0])
    recorder = EpisodeRecorder(observation_space or guess_observation_space(first), action_space)
    recorder.reset(first)
    for step in range(n_steps):
        recorder.add(
            np.asarray(actions[step]),
            np.asarray(rewards[step]),
            np.asarray(dones[step]),
            infos[step],
            _as_columns(observations[step + 1]),
        )
    return _recorded(recorder, metadata)


def _as_columns(observations: Any) -> col.Columns:
    if isinstance(observations, tuple):
        raise DataError("observations of Tuple spaces are not handled; use a Dict space")
    return col.as_columns(observations)


def _recorded(recorder: EpisodeRecorder, metadata: Mapping[str, Any] | None) -> Demonstrations:
    recorded = recorder.demonstrations(keep_unfinished=True, metadata=metadata)
    if recorded is None:
        raise DataError("nothing was recorded: no step was made since reset()")
    return recorded.validate()
