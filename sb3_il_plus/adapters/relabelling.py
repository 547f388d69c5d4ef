"""Replay buffers whose rewards are those of the present reward net, whenever they were collected.

An off-policy generator replays transitions for its whole life, while the reward it is to maximise
changes with every update of the discriminator. So rewards are computed when a transition is
sampled, not when it is stored (discriminator-actor-critic, Kostrikov et al. 2019, arXiv:1809.02925,
Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.adapters.absorbing import without_absorbing
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.errors import InapplicableError

RewardFn = Callable[[Any, np.ndarray, Any, np.ndarray], np.ndarray]
"""Observations, actions, next observations and dones of n transitions -> rewards, shape (n,)."""

_FIXED = ("replay_buffer_class", "optimize_memory_usage")
"""Generator arguments that would take away what rewards are computed from."""


class RelabellingReplayBuffer(ReplayBuffer):
    """SB3's `ReplayBuffer` with rewards computed when they are sampled.

    Rewards are computed from what the environment was shown and shows: actions as it takes them
    (SB3 stores them scaled to [-1, 1]), observations through its `VecNormalize`. Ends by a time
    limit are not `dones` here, as they are not for the generator's critic.

    :param args: see SB3's `ReplayBuffer`
    :param reward_fn: the present reward of transitions
    :param kwargs: see SB3's `ReplayBuffer`
    """

    def __init__(self, *args: Any, reward_fn: RewardFn, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reward_fn = reward_fn

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> Any:
        samples = super()._get_samples(batch_inds, env)
        rewards = self.reward_fn(*self._as_transitions(samples).values())
        column = np.asarray(rewards, dtype=np.float32).reshape(-1, 1)
        return samples._replace(
            next_observations=without_absorbing(samples.next_observations),
            rewards=self.to_torch(column),
        )

    def draw_transitions(
        self, n: int, rng: np.random.Generator, env: VecNormalize | None = None
    ) -> dict[str, Any]:
        """Draw stored transitions, with replacement, for a discriminator to learn from.

        :param n: how many
        :param env: what normalises the observations
        :return: arrays under `imitation`'s names, in the order of a `RewardFn`
        """
        index = rng.integers(self.size(), size=n)
        return self._as_transitions(super()._get_samples(index, env))

    def _as_transitions(self, samples: Any) -> dict[str, Any]:
        return {
            "obs": self._as_env_shows(samples.observations),
            "acts": self._as_env_takes(samples.actions.cpu().numpy()),
            "next_obs": self._as_env_shows(samples.next_observations),
            "dones": samples.dones.cpu().numpy().astype(bool).flatten(),
        }

    def _as_env_shows(self, observations: th.Tensor | dict[str, th.Tensor]) -> Columns:
        space = self.observation_space
        if isinstance(observations, dict):
            assert isinstance(space, spaces.Dict)
            return {key: _in_shape(value, space[key]) for key, value in observations.items()}
        return _in_shape(observations, space)

    def _as_env_takes(self, actions: np.ndarray) -> np.ndarray:
        space = self.action_space
        actions = actions.reshape(len(actions), *(space.shape or ()))
        if not isinstance(space, spaces.Box):
            return actions
        return (space.low + 0.5 * (actions + 1.0) * (space.high - space.low)).astype(space.dtype)


class RelabellingDictReplayBuffer(RelabellingReplayBuffer, DictReplayBuffer):
    """SB3's `DictReplayBuffer` with rewards computed when they are sampled."""


def relabelling_arguments(
    generator_kwargs: dict[str, Any],
    observation_space: spaces.Space,
    reward_fn: RewardFn,
) -> dict[str, Any]:
    """Constructor arguments that give an off-policy generator a relabelling buffer.

    :param generator_kwargs: the user's arguments
    :param reward_fn: the present reward of transitions; not called before learning
    :raises InapplicableError: the user's arguments ask for another buffer
    """
    asked = [name for name in _FIXED if generator_kwargs.get(name)]
    if generator_kwargs.get("n_steps", 1) != 1:
        asked.append("n_steps")
    if asked:
        raise InapplicableError(
            f"generator_kwargs={{{asked[0]!r}: {generator_kwargs[asked[0]]!r}}} needs a replay "
            "buffer of its own, and rewards are relabelled in another; leave it out"
        )
    is_dict = isinstance(observation_space, spaces.Dict)
    return {
        "replay_buffer_class": RelabellingDictReplayBuffer if is_dict else RelabellingReplayBuffer,
        "replay_buffer_kwargs": {
            **(generator_kwargs.get("replay_buffer_kwargs") or {}),
            "reward_fn": reward_fn,
        },
    }


def _in_shape(values: th.Tensor, space: spaces.Space) -> np.ndarray:
    """Values in the shape of their space: SB3 stores categories as columns."""
    return values.cpu().numpy().reshape(len(values), *(space.shape or ()))
