"""What offline algorithms of Discrete actions share: values of all choices, and SB3 models of them.

`QLearning` is the base of those that act by values, as DQN does; `categorical.py` has the one of
those with an actor. Sums over choices are exact, so nothing in an update is random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from torch import nn

from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.offline.algorithm import OfflineAlgorithm, OfflineArguments
from sb3_il_plus.offline.export import TrainedStacks
from sb3_il_plus.offline.stack import StackedMLP


class DiscreteArguments(OfflineArguments, total=False):
    """Constructor arguments that discrete algorithms pass through (see `DiscreteAlgorithm`)."""

    tau: float
    target_update_interval: int


class ChoiceCritics(StackedMLP):
    """N values Q_i(s, ·) of all choices, as one stack.

    :param networks: SB3's modules, which give the values of all choices
    """

    def __init__(self, *networks: nn.Sequential) -> None:
        super().__init__(*(list(network) for network in networks))

    def values(self, observations: th.Tensor) -> th.Tensor:
        """Values whose gradients flow to the weights.

        :param observations: features, shape (B, features)
        :return: shape (N, B, choices)
        """
        return self(observations).view(self.n, len(observations), -1)

    def fixed_values(self, observations: th.Tensor) -> th.Tensor:
        """Values of constant critics, shape (N, B, choices)."""
        return self.frozen(observations).view(self.n, len(observations), -1)


class DiscreteAlgorithm(OfflineAlgorithm):
    """Base of algorithms whose N critics value every choice.

    :param policy: policy alias or class
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param tau: part of the way that target networks go to the trained ones, each time they follow
    :param target_update_interval: updates from one such time to the next; `tau=1.0` and 8000 is
        DQN's way of copying the networks now and then
    :param kwargs: see `OfflineAlgorithm`
    """

    critics: ChoiceCritics
    target_critics: ChoiceCritics

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        tau: float = 0.005,
        target_update_interval: int = 1,
        **kwargs: Unpack[OfflineArguments],
    ) -> None:
        if not 0 < tau <= 1:
            raise UserError(f"tau={tau} must lie within (0, 1]")
        if target_update_interval < 1:
            raise UserError(f"target_update_interval={target_update_interval} must be at least 1")
        self.tau = tau
        self.target_update_interval = target_update_interval
        super().__init__(policy, env, demonstrations, **kwargs)

    def _check_spaces(self) -> None:
        super()._check_spaces()
        if first := int(getattr(self.action_space, "start", 0)):
            raise InapplicableError(
                f"SB3's policies number choices from 0, and {self.action_space} begins with "
                f"{first}: shift the actions of data and environment"
            )

    @property
    def n_choices(self) -> int:
        """How many actions there are."""
        return int(self.action_space.n)  # type: ignore[attr-defined]

    def _scaled(self, actions: th.Tensor) -> th.Tensor:
        """Numbers of choices, shape (n,): there is nothing to scale."""
        return actions.flatten().long()

    def _kind_of_update(self) -> bool:
        return (self._n_updates + 1) % self.target_update_interval == 0

    def _follow_targets(self) -> None:
        """Have target networks follow, where it is time."""
        if self._kind_of_update():
            self.target_critics.follow(self.critics, self.tau)

    def _values_of(self, observations: th.Tensor, choices: th.Tensor) -> th.Tensor:
        """What the critics say of choices, shape (N, B)."""
        return of_choices(self.critics.fixed_values(observations), choices)

    def _online_arguments(self, online: type[BaseAlgorithm]) -> dict[str, Any]:
        arguments = super()._online_arguments(online)
        if issubclass(online, DQN):
            arguments["target_update_interval"] = self.target_update_interval
            arguments["train_freq"] = 1
        return arguments


class QLearning(DiscreteAlgorithm):
    """Base of algorithms that act by the values of a policy of DQN's kind.

    :param policy: `MlpPolicy`, which is DQN's with two hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param kwargs: see `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = DQN.policy_aliases

    def _build_networks(self) -> None:
        policy = self.policy
        self.critics = ChoiceCritics(policy.q_net.q_net)
        self.target_critics = ChoiceCritics(policy.q_net_target.q_net)
        policy.optimizer = self._build_optimizer(self._trained_parameters(), "policy.optimizer")

    def _trained_parameters(self) -> list[nn.Parameter]:
        """What the policy's optimiser owns."""
        return [self.critics.flat]

    @property
    def _acting(self) -> Any:
        return self.policy.q_net

    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        return {"policy.optimizer": self.policy.optimizer}

    def _trained_stacks(self) -> TrainedStacks:
        return [(self.policy.optimizer, self.critics)]


def of_choices(values: th.Tensor, choices: th.Tensor) -> th.Tensor:
    """The values of one choice in each state, shape (N, B).

    :param values: shape (N, B, choices)
    :param choices: shape (B,), int64
    """
    return values.gather(-1, choices.expand(len(values), -1)[..., None])[..., 0]
