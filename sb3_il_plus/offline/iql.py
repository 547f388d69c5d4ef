"""IQL: values of good actions by expectile regression, and a policy that imitates those."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import create_mlp, get_actor_critic_arch
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import (
    ActorCritic,
    ActorCriticArguments,
    minimize,
    squared_error,
)
from sb3_il_plus.offline.algorithm import RewardScale
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.gaussian import STATE_FREE_LOG_STD, GaussianPolicy, gaussian_log_prob
from sb3_il_plus.offline.stack import StackedMLP


class ImplicitArguments(ActorCriticArguments, total=False):
    """Constructor arguments that IQL and XQL pass through (see `ImplicitQLearning`)."""

    beta: float
    max_weight: float
    decay_actor_learning_rate: bool


class ImplicitQLearning(ActorCritic):
    """Base of IQL and XQL, which differ in what V is of the values Q of the data's actions.

    :param policy: policy alias or class, of `GaussianPolicy`'s kind
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param beta: inverse temperature of cloning, towards 0 for cloning alone; `temperature` in the
        code of IQL and XQL, `weight_temp` in d3rlpy. 3 in locomotion, 10 in AntMaze, 0.5 in Kitchen
        and Adroit
    :param max_weight: largest exp(beta * advantage); 100 in the authors' code
    :param decay_actor_learning_rate: lower it to 0 by a cosine, over all updates of `learn`
    :param reward_scale: `"returns"` as in the authors' locomotion tasks
    :param kwargs: see `ActorCritic` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = GaussianPolicy.aliases
    online = SAC
    value_net: Any

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        beta: float = 3.0,
        max_weight: float = 100.0,
        decay_actor_learning_rate: bool = True,
        reward_scale: RewardScale = "returns",
        **kwargs: Unpack[ActorCriticArguments],
    ) -> None:
        self.beta = beta
        self.max_weight = max_weight
        self.decay_actor_learning_rate = decay_actor_learning_rate
        super().__init__(policy, env, demonstrations, reward_scale=reward_scale, **kwargs)

    def _build_networks(self) -> None:
        super()._build_networks()
        self.value_net = self._value_layers().to(self.device)
        self.value = StackedMLP(list(self.value_net))
        self.value_net.optimizer = self._build_optimizer([self.value.flat], "value_net.optimizer")

    def _value_layers(self) -> nn.Sequential:
        """The network of V, as SB3 builds one."""
        _, net_arch = get_actor_critic_arch(self.policy.net_arch)
        n_features = self.policy.actor.features_dim
        return nn.Sequential(*create_mlp(n_features, 1, net_arch, self.policy.activation_fn))

    @abc.abstractmethod
    def _value_loss(self, target: th.Tensor, values: th.Tensor) -> th.Tensor:
        """What V minimises, from the lowest target critic's values of the data's actions.

        :param target: shape (B,), without gradients
        :param values: shape (B,)
        """

    def _critic_loss(self, values: th.Tensor, target: th.Tensor) -> th.Tensor:
        """What the critics minimise; as `squared_error`."""
        return squared_error(values, target)

    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        return {**super()._optimizers(), "value_net.optimizer": self.value_net.optimizer}

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return [*names, "value_net"], variables

    def _learning_rate_of(self, name: str) -> float | Schedule:
        rate = super()._learning_rate_of(name)
        if name != "policy.actor.optimizer" or not self.decay_actor_learning_rate:
            return rate
        return cosine_decay(rate)

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        with th.no_grad():
            values = self.target_critics.fixed_values(batch.observations, batch.actions).amin(0)
            next_values = self.value.frozen(batch.next_observations)[:, 0]
            target = batch.rewards + batch.discounts * next_values
        state_values = self.value(batch.observations)[:, 0]
        value_loss = self._value_loss(values, state_values)
        log_std = self.policy.actor.log_std.clamp(*STATE_FREE_LOG_STD)
        log_prob = gaussian_log_prob(batch.actions, self.actor(batch.observations), log_std)
        advantages = values - state_values.detach()
        actor_loss = weighted_cloning_loss(log_prob, advantages, self.beta, self.max_weight)
        of_data = self.critics.values(batch.observations, batch.actions)
        critic_loss = self._critic_loss(of_data, target)
        # Each network is in one of the losses alone, so one backward pass is enough for all.
        minimize(value_loss + actor_loss + critic_loss, *self._optimizers().values())
        self.target_critics.follow(self.critics, self.tau)
        return {
            "value_loss": value_loss,
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "q_value": values.mean(),
        }


class IQL(ImplicitQLearning):
    """IQL (Kostrikov, Nair and Levine 2022, arXiv:2110.06169): implicit Q-learning.

    It never asks for the value of an action that is not in the data. Algorithm 1: V by equation 5,
    Q by equation 6, the actor by equation 7, the targets. As in CORL, all three losses are those of
    the weights before the update; the authors' code updates V first, by one step.

    The authors scale rewards and decay the actor's learning rate, and so does this. They initialise
    orthogonally; here weights begin as SB3's, as they do in CORL. CORL also averages the loss over
    the critics, which the authors sum.

    :param policy: `MlpPolicy`, which is `GaussianPolicy`: a mean that ends in a tanh, and a
        deviation that is the same in all states, as in the authors' code
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param expectile: tau of equation 5: 0.5 for the mean value of the data's actions, towards 1 for
        the best one. 0.7 in locomotion, 0.9 in AntMaze, 0.7 in Kitchen and Adroit (appendix B)
    :param kwargs: see `ImplicitQLearning`, `ActorCritic` and `OfflineAlgorithm`
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        expectile: float = 0.7,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ImplicitArguments],
    ) -> None:
        if not 0 < expectile < 1:
            raise UserError(f"expectile={expectile} must lie within (0, 1)")
        self.expectile = expectile
        super().__init__(policy, env, demonstrations, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _value_loss(self, target: th.Tensor, values: th.Tensor) -> th.Tensor:
        return expectile_loss(target, values, self.expectile)


def cosine_decay(rate: float | Schedule) -> Schedule:
    """A learning rate that falls to 0 by a cosine, as the authors' does for the actor."""

    def decayed(progress_remaining: float) -> float:
        now = rate(progress_remaining) if callable(rate) else rate
        return now * 0.5 * (1.0 + math.cos(math.pi * (1.0 - progress_remaining)))

    return decayed


def expectile_loss(target: th.Tensor, values: th.Tensor, expectile: float) -> th.Tensor:
    """Equation 5: squared errors, those from below weighing `expectile`, others 1 - `expectile`.

    :param target: shape (B,), without gradients
    :param values: shape (B,)
    """
    error = target - values
    weights = th.where(error < 0, 1.0 - expectile, expectile)
    return (weights * error.square()).mean()


def weighted_cloning_loss(
    log_prob: th.Tensor, advantages: th.Tensor, beta: float, max_weight: float
) -> th.Tensor:
    """Equation 7: cloning, in which an action weighs exp(beta * advantage).

    :param log_prob: of the data's actions, shape (B,)
    :param advantages: of them, shape (B,), without gradients
    """
    weights = (beta * advantages).exp().clamp(max=max_weight)
    return -(weights * log_prob).mean()
