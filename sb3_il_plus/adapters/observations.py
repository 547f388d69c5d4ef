"""`Dict` observations as flat vectors, for the discriminator's side of GAIL and AIRL.

Upstream's buffers, reward wrapper and discriminator take arrays. So the environment is flattened
where upstream's part of it begins, and what it shows is restored where the generator's begins:

    env -> FlattenObservations -> upstream's wrappers -> RestoreObservations -> generator

Nothing in between has to know, and the policy sees dicts as ever. Images and vectors are arrays
already and pass as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import (
    get_flattened_obs_dim,
    get_obs_shape,
    is_image_space,
    maybe_transpose,
)
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_il_plus.data.columns import Columns


def in_policys_axes(observations: Columns, observation_space: spaces.Space) -> Columns:
    """Images with their channels where `observation_space`, the policy's, has them.

    :param observations: batch of shape (n, ...), or a dict of such, as the environment shows it or
        as SB3's `VecTransposeImage` does
    """
    if isinstance(observations, Mapping):
        assert isinstance(observation_space, spaces.Dict)
        entries = observation_space.spaces
        return {key: maybe_transpose(value, entries[key]) for key, value in observations.items()}
    return maybe_transpose(observations, observation_space)


class FlatSpace(spaces.Box):
    """A `Dict` space as one vector: what SB3 feeds a policy of each entry, side by side.

    Categories are one-hot and pixels are scaled to [0, 1], so that a network, an interpolation or a
    mean makes sense on the vector. It takes four bytes for a byte of an image.

    :param observation_space: the dict; its entries are not dicts themselves
    """

    def __init__(self, observation_space: spaces.Dict) -> None:
        self.original = observation_space
        self.sizes = [get_flattened_obs_dim(entry) for entry in observation_space.spaces.values()]
        super().__init__(-np.inf, np.inf, (sum(self.sizes),), np.float32)

    def flatten(self, observations: Mapping[str, np.ndarray]) -> np.ndarray:
        """Dict of arrays of shape (n, *entry's shape) -> array of shape (n, *own shape)."""
        entries = self.original.spaces.items()
        return np.concatenate([_encode(observations[key], space) for key, space in entries], axis=1)

    def restore(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Undo `flatten`; floating-point entries come back as rounded to 32 bits."""
        parts = np.split(vectors, np.cumsum(self.sizes)[:-1], axis=1)
        entries = zip(self.original.spaces.items(), parts, strict=True)
        return {key: _decode(part, space) for (key, space), part in entries}

    def split(self, vectors: th.Tensor) -> dict[str, th.Tensor]:
        """Tensor of shape (n, *own shape) -> what SB3's features extractors read."""
        parts = vectors.split(self.sizes, dim=1)
        entries = zip(self.original.spaces.items(), parts, strict=True)
        return {
            key: part.reshape(-1, *get_obs_shape(space)) if isinstance(space, spaces.Box) else part
            for (key, space), part in entries
        }


def _encode(values: np.ndarray, space: spaces.Space) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[values]
    if isinstance(space, spaces.MultiDiscrete):
        columns = zip(space.nvec, values.T, strict=True)
        return np.concatenate([np.eye(n, dtype=np.float32)[column] for n, column in columns], 1)
    flat = values.reshape(len(values), -1).astype(np.float32)
    return flat / np.float32(255) if is_image_space(space) else flat


def _decode(part: np.ndarray, space: spaces.Space) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return part.argmax(axis=1)
    if isinstance(space, spaces.MultiDiscrete):
        one_hots = np.split(part, np.cumsum(space.nvec)[:-1], axis=1)
        return np.stack([one_hot.argmax(axis=1) for one_hot in one_hots], axis=1)
    values = np.rint(part * np.float32(255)) if is_image_space(space) else part
    return values.reshape(-1, *get_obs_shape(space)).astype(space.dtype)


class _MappedObservations(VecEnvWrapper):
    """An environment whose observations are mapped, terminal ones too."""

    def __init__(
        self, venv: VecEnv, function: Callable[[Any], Any], observation_space: spaces.Space
    ) -> None:
        super().__init__(venv, observation_space=observation_space)
        self._map = function

    def reset(self) -> Any:
        return self._map(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = self._map_one(info["terminal_observation"])
        return self._map(observations), rewards, dones, infos

    def _map_one(self, observation: Columns) -> Any:
        raise NotImplementedError


class FlattenObservations(_MappedObservations):
    """Show a `Dict` environment's observations as vectors.

    :param venv: the environment
    :param space: how they are flattened
    """

    def __init__(self, venv: VecEnv, space: FlatSpace) -> None:
        super().__init__(venv, space.flatten, space)

    def _map_one(self, observation: Columns) -> np.ndarray:
        batch = {key: np.asarray(value)[None] for key, value in dict(observation).items()}
        return self._map(batch)[0]


class RestoreObservations(_MappedObservations):
    """Show the vectors of `FlattenObservations` as the dicts that they were.

    :param venv: the environment, whose observation space is a `FlatSpace`
    """

    def __init__(self, venv: VecEnv) -> None:
        space = venv.observation_space
        assert isinstance(space, FlatSpace)
        super().__init__(venv, space.restore, space.original)

    def _map_one(self, observation: Columns) -> dict[str, np.ndarray]:
        assert isinstance(observation, np.ndarray)
        return {key: value[0] for key, value in self._map(observation[None]).items()}
