"""From the steps of a vectorised environment to `Demonstrations`.

Whoever steps an environment (collecting, DAgger, a person at the keyboard) hands each step to an
`EpisodeRecorder`, which keeps the copies' episodes apart and knows where SB3 hides their last
observations. `tapped` shows the raw steps below a `VecNormalize` and a `VecTransposeImage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecTransposeImage,
    unwrap_vec_normalize,
)
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.assembly import at_ends
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError


@dataclass
class _Running:
    """An episode while it is being recorded."""

    observations: list[Any]
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    action_masks: list[np.ndarray] = field(default_factory=list)
    intervened: list[bool] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False


class EpisodeRecorder:
    """Collects steps of `n_envs` copies into episodes, in the order in which they end.

    :param observation_space: of the observations handed over
    :param action_space: of the actions
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self._observation_space = observation_space
        self._action_space = action_space
        self._running: list[_Running] = []
        self._finished: list[_Running] = []

    @property
    def n_finished(self) -> int:
        """Episodes that have ended."""
        return len(self._finished)

    def reset(self, observations: col.Columns, keep_unfinished: bool = False) -> None:
        """Begin an episode in every copy.

        :param observations: first observations, shape (n_envs, *observation shape)
        :param keep_unfinished: keep the episodes still running as fragments; by default they are
            dropped
        """
        if keep_unfinished:
            self._finished += [episode for episode in self._running if episode.actions]
        self._running = [_Running([row]) for row in _rows(observations)]

    def add(
        self,
        actions: np.ndarray,
        rewards: np.ndarray,
        dones: np.ndarray,
        infos: Sequence[Mapping[str, Any]],
        next_observations: col.Columns,
        recording: np.ndarray | None = None,
        action_masks: np.ndarray | None = None,
        intervened: np.ndarray | None = None,
    ) -> None:
        """Record one step of every copy, as `VecEnv.step` returned it.

        :param next_observations: shape (n_envs, *observation shape); where a copy is done, its last
            observation is taken from `infos[i]["terminal_observation"]`
        :param recording: shape (n_envs,), the copies to record; None for all
        :param action_masks: shape (n_envs, number of choices), those that the actions obeyed
        :param intervened: shape (n_envs,), where a person acted in place of the learner
        :raises DataError: the environment does not hand out its last observations
        """
        for i, following in enumerate(_rows(next_observations)):
            if recording is not None and not recording[i]:
                continue
            episode = self._running[i]
            episode.actions.append(np.array(actions[i]))
            episode.rewards.append(float(rewards[i]))
            if action_masks is not None:
                episode.action_masks.append(np.array(action_masks[i], dtype=bool))
            if intervened is not None:
                episode.intervened.append(bool(intervened[i]))
            if not dones[i]:
                episode.observations.append(following)
                continue
            episode.observations.append(_last_observation(infos[i], following))
            episode.truncated = bool(infos[i].get("TimeLimit.truncated", False))
            episode.terminated = not episode.truncated
            self._finished.append(episode)
            self._running[i] = _Running([following])

    def forget_finished(self) -> None:
        """Let go of the episodes that have ended; those still running go on."""
        self._finished = []

    def demonstrations(
        self, keep_unfinished: bool = False, metadata: Mapping[str, Any] | None = None
    ) -> Demonstrations | None:
        """What was recorded, or None where that is nothing.

        :param keep_unfinished: append the episodes still running, which neither terminated nor were
            truncated
        """
        episodes = list(self._finished)
        if keep_unfinished:
            episodes += [episode for episode in self._running if episode.actions]
        if not episodes:
            return None
        offsets = np.cumsum([0, *(len(episode.actions) for episode in episodes)])
        masks = [row for e in episodes for row in e.action_masks]
        intervened = [row for e in episodes for row in e.intervened]
        return Demonstrations(
            observations=col.stack([row for e in episodes for row in e.observations]),
            actions=np.stack([row for e in episodes for row in e.actions]),
            rewards=np.array([reward for e in episodes for reward in e.rewards]),
            terminations=at_ends(offsets, [episode.terminated for episode in episodes]),
            truncations=at_ends(offsets, [episode.truncated for episode in episodes]),
            offsets=offsets,
            observation_space=self._observation_space,
            action_space=self._action_space,
            metadata=metadata or {},
            action_masks=np.stack(masks) if masks else None,
            intervened=np.array(intervened) if intervened else None,
        )


class RawTap:
    """Keeps what passes by: the last step as the listened-to environment returned it."""

    raw_observations: Any
    raw_step: tuple[np.ndarray, np.ndarray, list[dict[str, Any]], Any]
    """Rewards, dones, infos and observations."""

    def __init__(self, venv: VecEnv) -> None:
        self.observation_space, self.action_space = venv.observation_space, venv.action_space
        self._reset, self._step_wait = venv.reset, venv.step_wait

    def reset(self) -> VecEnvObs:
        """Reset, and keep the first observations."""
        self.raw_observations = self._reset()
        return self.raw_observations

    def step_wait(self) -> VecEnvStepReturn:
        """Finish a step, and keep it."""
        observations, rewards, dones, infos = self._step_wait()
        # VecNormalize is about to replace the last observations in the infos by normalised ones.
        self.raw_step = rewards, dones, [dict(info) for info in infos], observations
        self.raw_observations = observations
        return observations, rewards, dones, infos


@contextmanager
def tapped(venv: VecEnv) -> Iterator[tuple[VecEnv, RawTap]]:
    """Listen to an environment below its `VecNormalize` and below SB3's `VecTransposeImage`.

    What is heard is what the environment shows: an expert that is a function was written for it,
    and data has one order of an image's axes, that of the environment.

    The tap replaces methods of the instance instead of wrapping it, because SB3's `EvalCallback`
    compares the wrappers of training and evaluation environment one by one.
    """
    normalizer = unwrap_vec_normalize(venv)
    inner = venv if normalizer is None else normalizer.venv
    while isinstance(inner, VecTransposeImage):
        inner = inner.venv
    tap = RawTap(inner)
    inner.reset, inner.step_wait = tap.reset, tap.step_wait  # type: ignore[method-assign]
    try:
        yield venv, tap
    finally:
        del inner.reset, inner.step_wait


def _last_observation(info: Mapping[str, Any], like: Any) -> Any:
    """The last observation of an episode, in the dtype that the others have."""
    if "terminal_observation" not in info:
        raise DataError(
            "an episode ended without info['terminal_observation'], so its last observation is "
            "lost; SB3's DummyVecEnv and SubprocVecEnv provide it"
        )
    return col.map_columns(
        lambda row, last: np.asarray(last, dtype=row.dtype), like, info["terminal_observation"]
    )


def _rows(observations: col.Columns) -> list[Any]:
    """Split a batch of observations into copies of its rows (environments reuse their buffers)."""
    if isinstance(observations, Mapping):
        keys = list(observations)
        columns = [np.array(observations[key]) for key in keys]
        return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    return list(np.array(observations))
