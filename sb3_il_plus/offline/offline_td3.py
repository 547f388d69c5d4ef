"""TD3 on fixed data: the naive reference, and what TD3+BC and ReBRAC have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Unpack

import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import (
    ActorCritic,
    ActorCriticArguments,
    Critics,
    squared_error,
    stacked_actor,
)
from sb3_il_plus.offline.batch import Batch, Noise
from sb3_il_plus.offline.stack import StackedMLP


class TD3Arguments(ActorCriticArguments, total=False):
    """Constructor arguments that variants of TD3 pass through (see `OfflineTD3`)."""

    policy_delay: int
    target_policy_noise: float
    target_noise_clip: float


class OfflineTD3(ActorCritic):
    """TD3 (Fujimoto, van Hoof and Meger 2018, arXiv:1802.09477) that never sees an environment.

    Its update is that of SB3's `TD3`, algorithm 1. Nothing keeps it near the data, so it shows what
    the other algorithms are for. Defaults are those of the authors' code, which has two hidden
    layers of 256 and a learning rate of 3e-4; SB3 has the paper's 400 and 300, and 1e-3.

    :param policy: `MlpPolicy`, which is TD3's with two hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param policy_delay: updates of the critics for each one of the actor and the targets; the code
        calls it `policy_freq`
    :param target_policy_noise: deviation of the noise on the target's actions, in scaled actions
    :param target_noise_clip: largest size of that noise
    :param kwargs: see `ActorCritic` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = TD3.policy_aliases
    online = TD3

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        policy_delay: int = 2,
        target_policy_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ActorCriticArguments],
    ) -> None:
        if policy_delay < 1:
            raise UserError(f"policy_delay={policy_delay} must be at least 1")
        self.policy_delay = policy_delay
        self.target_policy_noise = target_policy_noise
        self.target_noise_clip = target_noise_clip
        super().__init__(policy, env, demonstrations, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _build_networks(self) -> None:
        super()._build_networks()
        self.target_actor = stacked_actor(self.policy.actor_target)

    def _noise(self) -> Mapping[str, Noise]:
        return {"target": Noise((self.action_dim,))}

    def _kind_of_update(self) -> bool:
        return (self._n_updates + 1) % self.policy_delay == 0

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        noise = batch.noise["target"] * self.target_policy_noise
        noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
        target = self._target(batch, noise)
        values = self.critics.values(batch.observations, batch.actions)
        critic_loss = squared_error(values, target)
        self._minimize_critics(critic_loss)
        figures = {"critic_loss": critic_loss, "q_value": target.mean()}
        if self._kind_of_update():
            losses = self._actor_losses(batch)
            self._minimize_actor(losses["actor_loss"])
            self.target_actor.follow(self.actor, self.tau)
            self.target_critics.follow(self.critics, self.tau)
            figures |= losses
        return figures

    def _target(self, batch: Batch, noise: th.Tensor) -> th.Tensor:
        """What the critics learn, shape (B,), from noise on the target's actions."""
        return td3_target(batch, self.target_actor, self.target_critics, noise)

    def _actor_losses(self, batch: Batch) -> dict[str, th.Tensor]:
        """`actor_loss`, which is minimised, and what else is logged with it."""
        actions = self.actor(batch.observations)
        values = self.critics.fixed_values(batch.observations, actions, first=True)
        return {"actor_loss": -values.mean()}


@th.no_grad()
def noisy_actions(target_actor: StackedMLP, observations: th.Tensor, noise: th.Tensor) -> th.Tensor:
    """Actions of the target policy with noise, within [-1, 1] (target policy smoothing)."""
    return (target_actor.frozen(observations) + noise).clamp(-1.0, 1.0)


@th.no_grad()
def td3_target(
    batch: Batch, target_actor: StackedMLP, target_critics: Critics, noise: th.Tensor
) -> th.Tensor:
    """r + γ min_i Q'_i(s', π'(s') + noise), shape (B,) (Fujimoto et al. 2018, algorithm 1)."""
    actions = noisy_actions(target_actor, batch.next_observations, noise)
    values = target_critics.fixed_values(batch.next_observations, actions)
    return batch.rewards + batch.discounts * values.amin(0)


class ActorLoss(NamedTuple):
    """What an actor minimises that also clones, and the part of it that clones."""

    total: th.Tensor
    cloning: th.Tensor
