"""TD3+BC: TD3 with a behavioural-cloning term in the actor's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Unpack

import torch as th
import torch.nn.functional as F
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


class TD3BC(ActorCritic):
    """TD3+BC (Fujimoto and Gu 2021, arXiv:2106.06860): a minimalist approach to offline RL.

    The critics are TD3's. The actor maximises λ Q1(s, π(s)) - (π(s) - a)² with
    λ = alpha / mean |Q1(s, π(s))|, equations 3 to 5. All defaults are those of the authors' code.

    Observations are normalised with a least deviation of 1e-3, as there; beyond that they are
    clipped to ±10, which touches next to nothing in the data.

    :param policy: `MlpPolicy`, which is TD3's with two hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param alpha: weight of the values against cloning; 2.5 in all the paper's tasks (section 5)
    :param policy_delay: updates of the critics for each one of the actor and the targets; the code
        calls it `policy_freq`
    :param target_policy_noise: deviation of the noise on the target's actions, in scaled actions
    :param target_noise_clip: largest size of that noise
    :param normalize_observations: as in the paper (section 5)
    :param kwargs: see `ActorCritic` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = TD3.policy_aliases
    online = TD3

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        alpha: float = 2.5,
        policy_delay: int = 2,
        target_policy_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        normalize_observations: bool = True,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ActorCriticArguments],
    ) -> None:
        if policy_delay < 1:
            raise UserError(f"policy_delay={policy_delay} must be at least 1")
        self.alpha = alpha
        self.policy_delay = policy_delay
        self.target_policy_noise = target_policy_noise
        self.target_noise_clip = target_noise_clip
        super().__init__(
            policy, env, demonstrations, normalize_observations=normalize_observations, **kwargs
        )
        if _init_setup_model:
            self._setup_model()

    def _build_networks(self) -> None:
        super()._build_networks()
        self.target_actor = stacked_actor(self.policy.actor_target)

    def _noise(self) -> Mapping[str, Noise]:
        return {"target": Noise((self.action_dim,))}

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        noise = batch.noise["target"] * self.target_policy_noise
        noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
        target = td3_target(batch, self.target_actor, self.target_critics, noise)
        values = self.critics.values(batch.observations, batch.actions)
        critic_loss = squared_error(values, target)
        self._minimize_critics(critic_loss)
        figures = {"critic_loss": critic_loss, "q_value": target.mean()}
        if (self._n_updates + 1) % self.policy_delay == 0:
            loss = actor_loss(batch, self.actor, self.critics, self.alpha)
            self._minimize_actor(loss.total)
            self.target_actor.follow(self.actor, self.tau)
            self.target_critics.follow(self.critics, self.tau)
            figures |= {"actor_loss": loss.total, "bc_loss": loss.cloning}
        return figures


@th.no_grad()
def td3_target(
    batch: Batch, target_actor: StackedMLP, target_critics: Critics, noise: th.Tensor
) -> th.Tensor:
    """r + γ min_i Q'_i(s', π'(s') + noise), shape (B,) (Fujimoto et al. 2018, algorithm 1)."""
    actions = (target_actor.frozen(batch.next_observations) + noise).clamp(-1.0, 1.0)
    values = target_critics.fixed_values(batch.next_observations, actions)
    return batch.rewards + batch.discounts * values.amin(0)


class ActorLoss(NamedTuple):
    """What the actor minimises, and the part of it that clones."""

    total: th.Tensor
    cloning: th.Tensor


def actor_loss(batch: Batch, actor: StackedMLP, critics: Critics, alpha: float) -> ActorLoss:
    """Equations 3 to 5: cloning, minus values that are scaled to a mean size of alpha."""
    actions = actor(batch.observations)
    values = critics.fixed_values(batch.observations, actions, first=True)
    scale = alpha / values.detach().abs().mean()
    cloning = F.mse_loss(actions, batch.actions)
    return ActorLoss(cloning - scale * values.mean(), cloning)
