"""Discrete CRR: a policy that imitates the choices that its critic finds better than its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from torch import nn

from sb3_il_plus.offline.actor_critic import minimize, squared_error
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.categorical import (
    CategoricalActorCritic,
    CategoricalArguments,
    Probabilities,
)
from sb3_il_plus.offline.crr import check_crr_arguments, crr_weights
from sb3_il_plus.offline.discrete import of_choices
from sb3_il_plus.offline.stack import StackedMLP


class DiscreteCRR(CategoricalActorCritic):
    """CRR (Wang et al. 2020, arXiv:2006.15134) of Discrete actions: critic regularized regression.

    Algorithm 1: the policy maximises f(s, a) log π(a | s), in which f is 1 where the advantage is
    not negative, or exp(advantage / beta). The advantage is Q(s, a) minus the mean, or the maximum,
    of what the policy could do; the paper samples 4 of its actions, and here all choices count.

    The paper's critic gives a distribution of returns; this one gives their mean, as d3rlpy's. The
    paper also resamples actions by their values when it acts (CWP), which this does not.

    :param policy: `MlpPolicy`, which is `ActorCriticPolicy` with two hidden layers of 256 and ReLU
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param weight_type: f: `"binary"`, or `"exp"` (`advantage_type` and `weight_type` are d3rlpy's
        names). An advantage of 0 counts as none that is worse, for with `"max"` there is no better
    :param advantage_type: `"mean"` or `"max"`
    :param beta: temperature of `"exp"`; 1 in the paper
    :param max_weight: largest exp(advantage / beta); 20 in the paper
    :param n_critics: 1, as in the paper; the lowest value counts where there are several
    :param tau: part of the way that target networks go; 1, to copy them
    :param target_update_interval: updates from one such time to the next; 100 in the paper
    :param kwargs: see `CategoricalActorCritic`, `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    actor_target: Any

    def __init__(  # type: ignore[misc]  # some defaults are not those of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        weight_type: Literal["binary", "exp"] = "exp",
        advantage_type: Literal["mean", "max"] = "mean",
        beta: float = 1.0,
        max_weight: float = 20.0,
        n_critics: int = 1,
        tau: float = 1.0,
        target_update_interval: int = 100,
        _init_setup_model: bool = True,
        **kwargs: Unpack[CategoricalArguments],
    ) -> None:
        check_crr_arguments(weight_type, advantage_type, beta)
        self.weight_type = weight_type
        self.advantage_type = advantage_type
        self.beta = beta
        self.max_weight = max_weight
        super().__init__(
            policy,
            env,
            demonstrations,
            n_critics=n_critics,
            tau=tau,
            target_update_interval=target_update_interval,
            **kwargs,
        )
        if _init_setup_model:
            self._setup_model()

    def _build_networks(self) -> None:
        super()._build_networks()
        policy = self.policy
        layers = [*policy.mlp_extractor.policy_net, policy.action_net]
        self.actor_target = copy.deepcopy(nn.Sequential(*layers))
        self.target_actor = StackedMLP(list(self.actor_target))

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return [*names, "actor_target"], variables

    def _kind_of_update(self) -> bool:
        return (self._n_updates + 1) % self.target_update_interval == 0

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        with th.no_grad():
            following = self.target_actor.frozen(batch.next_observations).log_softmax(-1)
            next_values = self.target_critics.fixed_values(batch.next_observations).amin(0)
            next_value = Probabilities(following).mean(next_values)
            target = batch.rewards + batch.discounts * next_value
        values = self.critics.values(batch.observations)
        critic_loss = squared_error(of_choices(values, batch.actions), target)

        probabilities = self._probabilities(batch.observations)
        weights = self._weights(values.detach().amin(0), probabilities, batch.actions)
        actor_loss = -(weights * probabilities.of(batch.actions)).mean()
        minimize(actor_loss, self.policy.optimizer)
        minimize(critic_loss, self.critic.optimizer)
        self._follow_targets()
        return {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "weight": weights.mean(),
            "q_value": target.mean(),
        }

    def _follow_targets(self) -> None:
        super()._follow_targets()
        if self._kind_of_update():
            self.target_actor.follow(self.actor, self.tau)

    @th.no_grad()
    def _weights(
        self, values: th.Tensor, probabilities: Probabilities, choices: th.Tensor
    ) -> th.Tensor:
        """f of the data's choices, shape (B,).

        :param values: shape (B, choices)
        """
        mean = self.advantage_type == "mean"
        baseline = probabilities.mean(values) if mean else values.amax(-1)
        return crr_weights(
            of_choices(values[None], choices)[0] - baseline,
            self.weight_type,
            self.beta,
            self.max_weight,
        )
