"""What variants of SAC share: a squashed Gaussian policy, and the learned weight of its entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Unpack

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn

from sb3_il_plus.offline.actor_critic import (
    ActorCritic,
    ActorCriticArguments,
    Critics,
    minimize,
)
from sb3_il_plus.offline.batch import Batch, Noise
from sb3_il_plus.offline.gaussian import squashed_params, squashed_sample


class SoftArguments(ActorCriticArguments, total=False):
    """Constructor arguments that variants of SAC pass through (see `SoftActorCritic`)."""

    target_entropy: float | Literal["auto"]


class Coefficients(nn.Module):
    """Weights that are learned, as logarithms: that of the entropy, which begins with 1."""

    names: ClassVar[tuple[str, ...]] = ("entropy",)
    """Of the weights: each has a parameter `log_<name>` and an optimiser `<name>_optimizer`."""

    entropy_optimizer: Any

    def __init__(self) -> None:
        super().__init__()
        self.log_entropy = nn.Parameter(th.zeros(()))


class SoftActorCritic(ActorCritic):
    """Base of the variants of SAC (Haarnoja et al. 2018, arXiv:1812.05905).

    :param policy: policy alias or class of SAC's kind
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param target_entropy: that the policy shall have, which decides about the entropy's weight;
        `"auto"` for minus the number of the action's components (appendix D)
    :param kwargs: see `ActorCritic` and `OfflineAlgorithm`. The weight's learning rate is the
        actor's
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = SAC.policy_aliases
    online = SAC
    coefficients: Any

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        target_entropy: float | Literal["auto"] = "auto",
        **kwargs: Unpack[ActorCriticArguments],
    ) -> None:
        self.target_entropy = target_entropy
        super().__init__(policy, env, demonstrations, **kwargs)

    def _build_networks(self) -> None:
        super()._build_networks()
        self.coefficients = self._build_coefficients().to(self.device)
        for name in self.coefficients.names:
            weight = getattr(self.coefficients, f"log_{name}")
            optimizer = self._build_optimizer([weight], f"coefficients.{name}_optimizer")
            setattr(self.coefficients, f"{name}_optimizer", optimizer)
        self._target_entropy = float(
            -self.action_dim if self.target_entropy == "auto" else self.target_entropy
        )

    def _build_coefficients(self) -> Coefficients:
        return Coefficients()

    def _learning_rate_of(self, name: str) -> float | Schedule:
        if name == "coefficients.entropy_optimizer":
            name = "policy.actor.optimizer"
        return super()._learning_rate_of(name)

    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        own = {
            f"coefficients.{name}_optimizer": getattr(self.coefficients, f"{name}_optimizer")
            for name in self.coefficients.names
        }
        return {**super()._optimizers(), **own}

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return [*names, "coefficients"], variables

    def _noise(self) -> Mapping[str, Noise]:
        return {"policy": Noise((self.action_dim,)), "target": Noise((self.action_dim,))}

    def _act(self, batch: Batch) -> Acted:
        """What the policy does in s, with gradients."""
        params = squashed_params(self.actor(batch.observations))
        return Acted(*squashed_sample(*params, batch.noise["policy"]))

    @th.no_grad()
    def _soft_target(self, batch: Batch, entropy_weight: th.Tensor) -> th.Tensor:
        params = squashed_params(self.actor.frozen(batch.next_observations))
        acted = Acted(*squashed_sample(*params, batch.noise["target"]))
        return soft_target(batch, acted, self.target_critics, entropy_weight)

    def _learn_entropy_weight(self, log_prob: th.Tensor) -> None:
        loss = entropy_loss(self.coefficients.log_entropy, log_prob, self._target_entropy)
        minimize(loss, self.coefficients.entropy_optimizer)

    def _finish_handover(self, model: Any) -> None:
        """The data, and the entropy's weight."""
        super()._finish_handover(model)
        if model.ent_coef_optimizer is not None:
            model.log_ent_coef.data.fill_(self.coefficients.log_entropy.item())


class Acted(NamedTuple):
    """Actions of a policy."""

    actions: th.Tensor
    """Shape (B, action dimension)."""
    log_prob: th.Tensor
    """Logarithm of their density, shape (B,)."""


def entropy_loss(log_weight: th.Tensor, log_prob: th.Tensor, target_entropy: float) -> th.Tensor:
    """More weight where the entropy is below its target (equation 18, for the logarithm)."""
    return -(log_weight * (log_prob.detach() + target_entropy)).mean()


@th.no_grad()
def soft_target(
    batch: Batch, following: Acted, target_critics: Critics, entropy_weight: th.Tensor
) -> th.Tensor:
    """r + γ (min_i Q'_i(s', a') - weight * log π(a' | s')), shape (B,) (equations 3 and 5)."""
    values = target_critics.fixed_values(batch.next_observations, following.actions).amin(0)
    return batch.rewards + batch.discounts * (values - entropy_weight * following.log_prob)


def soft_actor_loss(
    observations: th.Tensor, acted: Acted, critics: Critics, entropy_weight: th.Tensor
) -> th.Tensor:
    """weight * log π(a | s) - min_i Q_i(s, a), mean over the batch (equation 7)."""
    values = critics.fixed_values(observations, acted.actions).amin(0)
    return (entropy_weight * acted.log_prob - values).mean()
