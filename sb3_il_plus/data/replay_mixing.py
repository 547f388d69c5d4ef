"""Demonstrations for SB3's off-policy algorithms: in their replay buffer, or beside it.

    fill_replay_buffer(model, demonstrations)  # once; the model's own steps push them out in time

    model = SAC(
        "MlpPolicy",
        env,
        replay_buffer_class=OfflineOnlineReplayBuffer,
        replay_buffer_kwargs={"demonstrations": demonstrations, **RLPD},
    )  # half of each batch is the demonstrations', for good

Both hold what the environment gave: SB3 normalises observations and rewards when it samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.replay_buffer import add_to_replay_buffer
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.errors import InapplicableError, UserError

RLPD: Mapping[str, Any] = {"offline_fraction": 0.5}
"""Symmetric sampling: half and half for good (Ball et al. 2023, arXiv:2302.02948, section 4.1)."""


def fill_replay_buffer(model: BaseAlgorithm, demonstrations: Any) -> int:
    """Add demonstrations to a model's replay buffer, as if the model had made these steps.

    A time limit does not make an episode's last state worthless; continuous actions are scaled to
    [-1, 1], as SB3 stores them; copies of the environment get equal parts; images get the axes that
    the model reads. Observations and rewards have to be the environment's own: SB3 applies a
    `VecNormalize` when it samples.

    SB3 begins with random actions, until `learning_starts`: pass 0 to a model that knows better.

    :param model: any with a replay buffer: SB3's SAC, TD3, DQN, ... or one of ours with such a
        generator
    :param demonstrations: with rewards
    :return: how many transitions were added
    :raises InapplicableError: the model has no replay buffer
    :raises DataError: the demonstrations do not fit its spaces or the buffer's size
    """
    buffer = getattr(model, "replay_buffer", None)
    if not isinstance(buffer, ReplayBuffer):
        raise InapplicableError(
            f"{type(model).__name__} has no replay buffer to fill; off-policy algorithms such as "
            "SAC, TD3 and DQN have one"
        )
    data = Demonstrations.coerce(demonstrations, env=model)
    assert model.observation_space is not None
    return add_to_replay_buffer(fit_to(data, model.observation_space, model.action_space), buffer)


class OfflineOnlineReplayBuffer(ReplayBuffer):
    """SB3's replay buffer, whose batches are in part drawn from demonstrations.

    As long as it is empty, whole batches are the demonstrations'. For `Dict` observations it is a
    `DictReplayBuffer`, too. SB3's `save_replay_buffer` keeps both parts.

    SB3 writes `replay_buffer_kwargs` into a saved model: give it a path where the demonstrations
    are large.

    :param buffer_size: of the model's own steps; demonstrations are kept beside them
    :param observation_space: see SB3's `ReplayBuffer`; the model passes it, as all that follows
    :param action_space: see there
    :param device: see there
    :param n_envs: see there
    :param optimize_memory_usage: see there
    :param handle_timeout_termination: see there
    :param demonstrations: with rewards; `Demonstrations`, a path, or what `coerce` takes
    :param offline_fraction: share of the demonstrations in each batch; 0.5 in RLPD (`RLPD`)
    :param final_offline_fraction: share in the end; None for `offline_fraction`
    :param anneal_timesteps: environment steps over which the share goes there, in a straight line
    :raises UserError: a share is none, or only one of the last two is given
    :raises DataError: the demonstrations have no rewards, or do not fit the spaces
    """

    def __new__(
        cls, buffer_size: int = 0, observation_space: Any = None, *_: Any, **__: Any
    ) -> Self:
        """SB3 has a class for `Dict` observations, and so has this; users name one."""
        is_dict = isinstance(observation_space, spaces.Dict)
        kind: Any = cls
        if is_dict and cls is OfflineOnlineReplayBuffer:
            kind = OfflineOnlineDictReplayBuffer
        return object.__new__(kind)

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        demonstrations: Any,
        offline_fraction: float = 0.5,
        final_offline_fraction: float | None = None,
        anneal_timesteps: int | None = None,
    ) -> None:
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs,
            optimize_memory_usage,
            handle_timeout_termination,
        )
        _check_fractions(offline_fraction, final_offline_fraction, anneal_timesteps)
        self.offline_fraction = offline_fraction
        self.final_offline_fraction = final_offline_fraction
        self.anneal_timesteps = anneal_timesteps
        self.num_timesteps = 0
        """Steps that were added: the share is annealed over them."""
        self._owed = 0.0
        data = fit_to(
            Demonstrations.coerce(demonstrations, env=self), observation_space, action_space
        )
        kind: Any = DictReplayBuffer if isinstance(self, DictReplayBuffer) else ReplayBuffer
        self.offline_buffer = kind(len(data), observation_space, action_space, device)
        add_to_replay_buffer(data, self.offline_buffer)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add one step of each environment, as SB3's buffers."""
        super().add(*args, **kwargs)
        self.num_timesteps += self.n_envs

    def present_fraction(self) -> float:
        """Share of the demonstrations in the next batch."""
        if self.final_offline_fraction is None or self.anneal_timesteps is None:
            return self.offline_fraction
        progress = min(self.num_timesteps / self.anneal_timesteps, 1.0)
        return self.offline_fraction + progress * (
            self.final_offline_fraction - self.offline_fraction
        )

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw a batch: first the model's own steps, then the demonstrations'.

        Shares of a step are carried over to the next batch, so that small batches have the right
        share on average.
        """
        if self.size() == 0:
            return self.offline_buffer.sample(batch_size, env)
        self._owed += batch_size * self.present_fraction()
        n_offline = min(int(self._owed + 1e-9), batch_size)
        self._owed -= n_offline
        if n_offline == 0:
            return super().sample(batch_size, env)
        offline = self.offline_buffer.sample(n_offline, env)
        if n_offline == batch_size:
            return offline
        return concatenate(super().sample(batch_size - n_offline, env), offline)


class OfflineOnlineDictReplayBuffer(OfflineOnlineReplayBuffer, DictReplayBuffer):
    """An `OfflineOnlineReplayBuffer` of `Dict` observations."""


def concatenate(*batches: Any) -> Any:
    """Join batches of SB3's kinds field by field; a field that is None in them stays None."""
    return type(batches[0])(*(_join(column) for column in zip(*batches, strict=True)))


def _join(columns: Any) -> Any:
    if columns[0] is None:
        return None
    if isinstance(columns[0], Mapping):
        return {key: th.cat([column[key] for column in columns]) for key in columns[0]}
    return th.cat(columns)


def _check_fractions(
    offline_fraction: float, final_offline_fraction: float | None, anneal_timesteps: int | None
) -> None:
    for name, value in (
        ("offline_fraction", offline_fraction),
        ("final_offline_fraction", final_offline_fraction),
    ):
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"{name}={value!r} must lie within [0, 1]")
    if (final_offline_fraction is None) != (anneal_timesteps is None):
        raise UserError(
            f"final_offline_fraction={final_offline_fraction} and anneal_timesteps="
            f"{anneal_timesteps} belong together: give both, or neither for a fixed share"
        )
    if anneal_timesteps is not None and anneal_timesteps < 1:
        raise UserError(f"anneal_timesteps={anneal_timesteps} must be at least 1")
