"""What a discriminator compares: transitions of the expert, and of the generator.

This file draws both, in the form that the environment shows them to the generator, and sees to it
that neither side can be told by anything but what it did: observations through the same
`VecNormalize`, dicts as vectors, ends of episodes marked alike.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch as th
from gymnasium import spaces
from imitation.data import types
from imitation.util.networks import evaluating
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.adapters.absorbing import ABSORBING, AbsorbingEnds, add_absorbing
from sb3_il_plus.adapters.discriminator import DiscriminatorTrainer
from sb3_il_plus.adapters.generator import GeneratorAlgorithm
from sb3_il_plus.adapters.observations import FlatSpace, FlattenObservations
from sb3_il_plus.adapters.relabelling import RelabellingReplayBuffer, relabelling_arguments
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.sampling import draw_indices, transitions_at
from sb3_il_plus.errors import InapplicableError

Horizon = Literal["error", "allow", "pad"]

_AT_A_TIME = 4096
"""Transitions that the discriminator is asked about at once."""


class DiscriminatorData(GeneratorAlgorithm):
    """A generator whose transitions are compared with the expert's.

    Its attributes are documented where they are arguments, in `AdversarialAlgorithm`.
    """

    trainer: DiscriminatorTrainer
    demo_batch_size: int
    gen_replay_buffer_capacity: int | None
    relabel_rewards: bool
    horizon: Horizon
    _reward_space: spaces.Space
    """What the reward net and upstream's trainer observe."""
    _rng: np.random.Generator

    @abc.abstractmethod
    def _present_rewards(
        self, obs: Columns, acts: np.ndarray, next_obs: Columns, dones: np.ndarray
    ) -> np.ndarray:
        """What the reward net pays for n transitions by now, shape (n,)."""

    # -- the generator's side --------------------------------------------------------------------

    @property
    def _relabels(self) -> bool:
        """Whether rewards are computed when the generator replays transitions."""
        return self.relabel_rewards and issubclass(self._generator_class, OffPolicyAlgorithm)

    def _build_generator(self, **arguments: Any) -> BaseAlgorithm:
        if self._relabels:
            own = relabelling_arguments(
                self.generator_kwargs, self.observation_space, self._present_rewards
            )
            return super()._build_generator(**own, **arguments)
        if issubclass(self._generator_class, OffPolicyAlgorithm) and self._vec_normalize_env:
            raise InapplicableError(
                "relabel_rewards=False inside a VecNormalize: SB3's replay buffer would keep the "
                "environment's own rewards in place of the learned ones; leave it True"
            )
        return super()._build_generator(**arguments)

    def _reward_env(self) -> VecEnv:
        """The environment as upstream's trainer is shown it: it knows of no dicts, and no ends."""
        space = self._reward_space
        if isinstance(space, FlatSpace):
            return FlattenObservations(self.env, space)
        return AbsorbingEnds(self.env) if self.horizon == "pad" else self.env

    def _flat(self, observations: Columns) -> np.ndarray:
        """Observations as the reward net is given them: dicts as vectors."""
        if isinstance(observations, Mapping):
            assert isinstance(self._reward_space, FlatSpace)
            return self._reward_space.flatten(observations)
        return observations

    def _draw_generator_batch(self) -> dict[str, Any]:
        """Transitions of the generator for one discriminator update."""
        buffer, n = self.replay_buffer, self.demo_batch_size
        if isinstance(buffer, RelabellingReplayBuffer) and self.gen_replay_buffer_capacity is None:
            batch = buffer.draw_transitions(n, self._rng, self._vec_normalize_env)
            for name in ("obs", "next_obs"):
                batch[name] = self._flat(batch[name])
        else:
            batch = types.dataclass_quick_asdict(self.trainer._gen_replay_buffer.sample(n))
        return add_absorbing(batch, self._rng) if self.horizon == "pad" else batch

    # -- the expert's side -----------------------------------------------------------------------

    def _draw_expert_batch(self) -> dict[str, Any]:
        """Transitions of the expert for one discriminator update."""
        demonstrations = self._require_demonstrations()
        index = draw_indices(len(demonstrations), self.demo_batch_size, self._rng)
        batch = self._transitions_of(demonstrations, index)
        return add_absorbing(batch, self._rng) if self.horizon == "pad" else batch

    def _transitions_of(self, demonstrations: Demonstrations, index: np.ndarray) -> dict[str, Any]:
        """Recorded transitions as the environment would show them."""
        batch = transitions_at(demonstrations, index)
        terminal = demonstrations.terminations[index]
        if self._relabels:
            batch["dones"] = terminal  # a replay buffer marks no time limits either
        for name in ("obs", "next_obs"):
            batch[name] = self._flat(self._as_env_observes(batch[name]))
        if self.horizon == "pad":
            mark = terminal[:, None]
            batch["next_obs"] = np.where(mark, np.float32(ABSORBING), batch["next_obs"])
        return {**batch, "acts": self._as_policy_acts(batch["acts"])}

    # -- asking it -------------------------------------------------------------------------------

    @th.no_grad()
    def predict_expert_probability(self, recorded: Demonstrations) -> np.ndarray:
        """For each recorded transition, the probability that it is the expert's, shape (N,)."""
        found = []
        for start in range(0, len(recorded), _AT_A_TIME):
            index = np.arange(start, min(start + _AT_A_TIME, len(recorded)))
            batch = self._transitions_of(recorded, index)
            with evaluating(self.trainer.reward_train):
                inputs = self.trainer.reward_train.preprocess(
                    *(batch[name] for name in ("obs", "acts", "next_obs", "dones"))
                )
                log_prob = self.trainer._get_log_policy_act_prob(inputs[0], inputs[1])
                logits = self.trainer.logits_expert_is_high(*inputs, log_prob)
            found.append(th.sigmoid(logits).numpy(force=True))
        return np.concatenate(found)
