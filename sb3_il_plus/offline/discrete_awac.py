"""Discrete AWAC: critics of the policy's own choices; a policy that imitates the better ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import minimize, squared_error
from sb3_il_plus.offline.awac import advantage_weights
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.categorical import CategoricalActorCritic, CategoricalArguments
from sb3_il_plus.offline.discrete import of_choices


class DiscreteAWAC(CategoricalActorCritic):
    """AWAC (Nair et al. 2020, arXiv:2006.09359) of Discrete actions.

    The critics learn the values of the policy (equation 5); the policy clones the data's choices,
    which weigh exp(advantage / lam) (equation 13). Where the continuous form samples an action of
    the policy, this one takes the mean over all choices.

    :param policy: `MlpPolicy`, which is `ActorCriticPolicy` with two hidden layers of 256 and ReLU
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param lam: temperature λ of equation 13: small for the best choices alone, large for cloning.
        1 in d3rlpy, which has the continuous form
    :param normalize_weights: let the weights of a batch have the mean 1, by a softmax
    :param max_weight: largest weight, where they are not normalised; 100 in CORL
    :param kwargs: see `CategoricalActorCritic`, `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        lam: float = 1.0,
        normalize_weights: bool = True,
        max_weight: float = 100.0,
        _init_setup_model: bool = True,
        **kwargs: Unpack[CategoricalArguments],
    ) -> None:
        if lam <= 0:
            raise UserError(f"lam={lam} must be greater than 0")
        self.lam = lam
        self.normalize_weights = normalize_weights
        self.max_weight = max_weight
        super().__init__(policy, env, demonstrations, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        with th.no_grad():
            next_values = self.target_critics.fixed_values(batch.next_observations).amin(0)
            next_value = self._probabilities(batch.next_observations).mean(next_values)
            target = batch.rewards + batch.discounts * next_value
        values = self.critics.values(batch.observations)
        of_data = of_choices(values, batch.actions)
        critic_loss = squared_error(of_data, target)

        probabilities = self._probabilities(batch.observations)
        with th.no_grad():
            advantages = of_data.amin(0) - probabilities.mean(values.amin(0))
            weights = advantage_weights(
                advantages, self.lam, self.normalize_weights, self.max_weight
            )
        actor_loss = -(weights * probabilities.of(batch.actions)).mean()
        minimize(critic_loss, self.critic.optimizer)
        minimize(actor_loss, self.policy.optimizer)
        self._follow_targets()
        return {"actor_loss": actor_loss, "critic_loss": critic_loss, "q_value": target.mean()}
