"""`CategoricalActorCritic`: an actor that gives probabilities of choices, and critics beside it.

The policy is the one of SB3's A2C and PPO, `ActorCriticPolicy`. An algorithm's file says what is
minimised; this one knows where the weights are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn

from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.offline.discrete import (
    ChoiceCritics,
    DiscreteAlgorithm,
    DiscreteArguments,
    of_choices,
)
from sb3_il_plus.offline.export import TrainedStacks
from sb3_il_plus.offline.stack import StackedMLP


class CategoricalArguments(DiscreteArguments, total=False):
    """Constructor arguments that `CategoricalActorCritic` knows."""

    n_critics: int
    actor_learning_rate: float | Schedule | None


class Probabilities(NamedTuple):
    """What the actor does in B states."""

    logarithms: th.Tensor
    """Shape (B, choices)."""

    def of(self, choices: th.Tensor) -> th.Tensor:
        """Logarithms of one choice's probability in each state, shape (B,)."""
        return self.logarithms.gather(-1, choices[:, None])[:, 0]

    def mean(self, values: th.Tensor) -> th.Tensor:
        """The mean of what choices are worth, shape (B,).

        :param values: shape (B, choices)
        """
        return (self.logarithms.exp() * values).sum(-1)


class CategoricalActorCritic(DiscreteAlgorithm):
    """Base of algorithms with an actor and N critics of Discrete actions.

    :param policy: `MlpPolicy`, which is `ActorCriticPolicy` with two hidden layers of 256 and ReLU
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param n_critics: how many there are
    :param actor_learning_rate: of the actor; None for `learning_rate`
    :param kwargs: see `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    critic: Any
    critic_target: Any

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        n_critics: int = 2,
        actor_learning_rate: float | Schedule | None = None,
        **kwargs: Unpack[DiscreteArguments],
    ) -> None:
        if n_critics < 1:
            raise UserError(f"n_critics={n_critics} must be at least 1")
        self.n_critics = n_critics
        self.actor_learning_rate = actor_learning_rate
        super().__init__(policy, env, demonstrations, **kwargs)

    def _build_policy_kwargs(self) -> dict[str, Any]:
        return {"activation_fn": nn.ReLU, **super()._build_policy_kwargs()}

    def _build_networks(self) -> None:
        policy = self.policy
        if not policy.share_features_extractor:
            raise InapplicableError(
                "share_features_extractor=False is for extractors that learn, and here none does"
            )
        self.actor = StackedMLP([*policy.mlp_extractor.policy_net, policy.action_net])
        arch = policy.net_arch
        self._critic_arch = list(arch["vf"] if isinstance(arch, dict) else arch)
        networks = [nn.Sequential(*self._critic_layers()) for _ in range(self.n_critics)]
        self.critic = nn.ModuleList(networks).to(self.device)
        self.critic_target = copy.deepcopy(self.critic)
        self.critics = ChoiceCritics(*self.critic)
        self.target_critics = ChoiceCritics(*self.critic_target)
        policy.optimizer = self._build_optimizer([self.actor.flat], "policy.optimizer")
        self.critic.optimizer = self._build_optimizer([self.critics.flat], "critic.optimizer")

    def _critic_layers(self) -> list[nn.Module]:
        return create_mlp(
            self.policy.features_dim, self.n_choices, self._critic_arch, self.policy.activation_fn
        )

    @property
    def _acting(self) -> Any:
        return self.policy

    def _learning_rate_of(self, name: str) -> float | Schedule:
        if name == "policy.optimizer" and self.actor_learning_rate is not None:
            return self.actor_learning_rate
        return self.learning_rate

    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        return {
            "policy.optimizer": self.policy.optimizer,
            "critic.optimizer": self.critic.optimizer,
        }

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return [*names, "critic", "critic_target"], variables

    def _probabilities(self, observations: th.Tensor) -> Probabilities:
        """The actor's, whose gradients flow to its weights."""
        return Probabilities(self.actor(observations).log_softmax(-1))

    def _trained_stacks(self) -> TrainedStacks:
        return [(self.policy.optimizer, self.actor)]


def lowest(values: th.Tensor, choices: th.Tensor) -> th.Tensor:
    """The lowest of the critics' values of one choice in each state, shape (B,)."""
    return of_choices(values, choices).amin(0)
