"""`ActorCritic`: the networks that continuous offline algorithms share, and how they are updated.

An algorithm's file says what is minimised; this one knows where the weights are. The policy is
SB3's own, so what is learned acts, is saved and goes on learning as an SB3 model (`to_sb3`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

import torch as th
import torch.nn.functional as F
from stable_baselines3 import TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.algorithm import OfflineAlgorithm, OfflineArguments
from sb3_il_plus.offline.export import TrainedStacks
from sb3_il_plus.offline.gaussian import GaussianActor, GaussianPolicy, as_sacs
from sb3_il_plus.offline.stack import StackedMLP


class ActorCriticArguments(OfflineArguments, total=False):
    """Constructor arguments that actor-critic algorithms pass through (see `ActorCritic`)."""

    tau: float
    actor_learning_rate: float | Schedule | None


class Critics(StackedMLP):
    """N values Q_i(s, a) of SB3's `ContinuousCritic`, as one stack.

    :param critic: SB3's module; its weights become views of the stack's
    """

    def __init__(self, critic: ContinuousCritic) -> None:
        networks: Any = critic.q_networks
        super().__init__(*(list(network) for network in networks))

    def values(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Values whose gradients flow to the weights, too.

        :param observations: features, shape (B, features)
        :param actions: shape (B, action dimension)
        :return: shape (N, B)
        """
        return self(th.cat([observations, actions], -1)).view(self.n, -1)

    def fixed_values(
        self, observations: th.Tensor, actions: th.Tensor, first: bool = False
    ) -> th.Tensor:
        """Values of constant critics: gradients flow to the actions alone.

        :param first: of the first critic alone, shape (B,)
        """
        values = self.frozen(th.cat([observations, actions], -1), first)
        return values.flatten() if first else values.view(self.n, -1)


class ActorCritic(OfflineAlgorithm):
    """Base of algorithms with an actor and N critics of continuous actions.

    :param policy: policy alias or class, of TD3's or SAC's kind
    :param env: optional
    :param demonstrations: data with rewards
    :param tau: part of the way that target networks go to the trained ones, each time they follow
    :param actor_learning_rate: of the actor; None for `learning_rate`
    :param kwargs: see `OfflineAlgorithm`
    """

    online: ClassVar[type[OffPolicyAlgorithm]] = TD3
    """SB3's algorithm with the same policy, which `to_sb3` makes."""

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        tau: float = 0.005,
        actor_learning_rate: float | Schedule | None = None,
        **kwargs: Unpack[OfflineArguments],
    ) -> None:
        if not 0 < tau <= 1:
            raise UserError(f"tau={tau} must lie within (0, 1]")
        super().__init__(policy, env, demonstrations, **kwargs)
        self.tau = tau
        self.actor_learning_rate = actor_learning_rate

    @property
    def action_dim(self) -> int:
        """Components of an action."""
        return get_action_dim(self.action_space)

    def _learning_rate_of(self, name: str) -> float | Schedule:
        if name == "policy.actor.optimizer" and self.actor_learning_rate is not None:
            return self.actor_learning_rate
        return self.learning_rate

    def _build_networks(self) -> None:
        policy = self.policy
        self.critics = Critics(policy.critic)
        self.target_critics = Critics(policy.critic_target)
        self.actor = stacked_actor(policy.actor)
        policy.critic.optimizer = self._build_optimizer(
            [self.critics.flat], "policy.critic.optimizer"
        )
        policy.actor.optimizer = self._build_optimizer(
            [self.actor.flat, *self._other_actor_parameters()], "policy.actor.optimizer"
        )

    def _other_actor_parameters(self) -> list[nn.Parameter]:
        """What the actor learns beside its stack."""
        actor = self.policy.actor
        return [actor.log_std] if isinstance(actor, GaussianActor) else []

    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        policy = self.policy
        return {
            "policy.actor.optimizer": policy.actor.optimizer,
            "policy.critic.optimizer": policy.critic.optimizer,
        }

    def _minimize_actor(self, loss: th.Tensor) -> None:
        minimize(loss, self.policy.actor.optimizer)

    def _minimize_critics(self, loss: th.Tensor | Iterable[th.Tensor]) -> None:
        minimize(loss, self.policy.critic.optimizer)

    def _values_of(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """What the critics say of scaled actions, shape (N, B)."""
        return self.critics.fixed_values(observations, actions)

    # -- handing over (see `to_sb3`) -----------------------------------------------------------

    def _online_class(self) -> type[BaseAlgorithm]:
        return self.online

    def _plain_policy_class(self) -> type[BasePolicy]:
        return SACPolicy if isinstance(self.policy, GaussianPolicy) else type(self.policy)

    def _plain_state(self) -> dict[str, Any]:
        state = super()._plain_state()
        return as_sacs(state) if isinstance(self.policy, GaussianPolicy) else state

    def _trained_stacks(self) -> TrainedStacks:
        policy = self.policy
        return [(policy.actor.optimizer, self.actor), (policy.critic.optimizer, self.critics)]


def stacked_actor(actor: nn.Module) -> StackedMLP:
    """TD3's actor, which gives actions; SAC's, which gives means and logarithms of deviations; or a
    `GaussianActor`, which gives means.
    """
    parts: Any = actor
    if isinstance(actor, GaussianActor):
        return StackedMLP([*parts.latent_pi, parts.mu, nn.Tanh()])
    if hasattr(parts, "latent_pi"):
        return StackedMLP([*parts.latent_pi, (parts.mu, parts.log_std)])
    return StackedMLP(list(parts.mu))


def minimize(loss: th.Tensor | Iterable[th.Tensor], *optimizers: th.optim.Optimizer) -> None:
    """One step down the gradient of what the optimisers own; none other is computed.

    :param loss: scalar; or parts of it, each of which is let go before the next one is computed,
        so that what a large batch needs stays in the processor's cache
    """
    parameters = [p for o in optimizers for group in o.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = None
    for part in [loss] if isinstance(loss, th.Tensor) else loss:
        for parameter, gradient in zip(parameters, th.autograd.grad(part, parameters), strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    for optimizer in optimizers:
        optimizer.step()


def squared_error(values: th.Tensor, target: th.Tensor) -> th.Tensor:
    """Mean over the batch of squared errors, summed over the critics.

    :param values: shape (N, B)
    :param target: shape (B,), without gradients
    """
    return F.mse_loss(values, target.expand_as(values)) * len(values)
