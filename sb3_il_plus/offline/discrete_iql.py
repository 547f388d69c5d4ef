"""Discrete IQL: values of good choices by expectile regression; an actor that imitates those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import minimize, squared_error
from sb3_il_plus.offline.algorithm import RewardScale
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.categorical import CategoricalActorCritic, CategoricalArguments, lowest
from sb3_il_plus.offline.discrete import of_choices
from sb3_il_plus.offline.iql import cosine_decay, expectile_loss, weighted_cloning_loss
from sb3_il_plus.offline.stack import StackedMLP


class DiscreteIQL(CategoricalActorCritic):
    """IQL (Kostrikov, Nair and Levine 2022, arXiv:2110.06169) of Discrete actions.

    The losses are the paper's, in the order of the authors' code: V by equation 5, the actor by
    equation 7, Q by equation 6. Only the actor differs, which gives probabilities of choices. V is
    the policy's own value network, so a PPO that takes over the policy begins with it.

    The paper's tasks are continuous, and so are those that its defaults were chosen in.

    :param policy: `MlpPolicy`, which is `ActorCriticPolicy` with two hidden layers of 256 and ReLU
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param expectile: tau of equation 5: 0.5 for the mean value of the data's choices, towards 1 for
        the best one
    :param beta: inverse temperature of equation 7, towards 0 for cloning
    :param max_weight: largest exp(beta * advantage); 100 in the authors' code
    :param decay_actor_learning_rate: lower it to 0 by a cosine, over all updates of `learn`
    :param reward_scale: `"returns"` as in the authors' locomotion tasks
    :param kwargs: see `CategoricalActorCritic`, `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        expectile: float = 0.7,
        beta: float = 3.0,
        max_weight: float = 100.0,
        decay_actor_learning_rate: bool = True,
        reward_scale: RewardScale = "returns",
        _init_setup_model: bool = True,
        **kwargs: Unpack[CategoricalArguments],
    ) -> None:
        if not 0 < expectile < 1:
            raise UserError(f"expectile={expectile} must lie within (0, 1)")
        self.expectile = expectile
        self.beta = beta
        self.max_weight = max_weight
        self.decay_actor_learning_rate = decay_actor_learning_rate
        super().__init__(policy, env, demonstrations, reward_scale=reward_scale, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _build_networks(self) -> None:
        super()._build_networks()
        policy = self.policy
        self.value = StackedMLP([*policy.mlp_extractor.value_net, policy.value_net])
        policy.value_optimizer = self._build_optimizer([self.value.flat], "policy.value_optimizer")

    def _optimizers(self) -> Mapping[str, th.optim.Optimizer]:
        return {**super()._optimizers(), "policy.value_optimizer": self.policy.value_optimizer}

    def _learning_rate_of(self, name: str) -> float | Schedule:
        rate = super()._learning_rate_of(name)
        if name == "policy.optimizer" and self.decay_actor_learning_rate:
            return cosine_decay(rate)
        return rate

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        with th.no_grad():
            values = lowest(self.target_critics.fixed_values(batch.observations), batch.actions)
        value_loss = expectile_loss(values, self.value(batch.observations)[:, 0], self.expectile)
        minimize(value_loss, self.policy.value_optimizer)

        with th.no_grad():
            advantages = values - self.value.frozen(batch.observations)[:, 0]
            next_values = self.value.frozen(batch.next_observations)[:, 0]
            target = batch.rewards + batch.discounts * next_values
        log_prob = self._probabilities(batch.observations).of(batch.actions)
        actor_loss = weighted_cloning_loss(log_prob, advantages, self.beta, self.max_weight)
        minimize(actor_loss, self.policy.optimizer)

        of_data = of_choices(self.critics.values(batch.observations), batch.actions)
        critic_loss = squared_error(of_data, target)
        minimize(critic_loss, self.critic.optimizer)
        self._follow_targets()
        return {
            "value_loss": value_loss,
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "q_value": values.mean(),
        }
