"""AWAC: critics of the policy's own actions, and a policy that imitates the better ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import (
    ActorCritic,
    ActorCriticArguments,
    minimize,
    squared_error,
)
from sb3_il_plus.offline.batch import Batch, Noise
from sb3_il_plus.offline.gaussian import (
    STATE_FREE_LOG_STD,
    GaussianPolicy,
    clipped_sample,
    gaussian_log_prob,
)


class AWAC(ActorCritic):
    """AWAC (Nair et al. 2020, arXiv:2006.09359): advantage-weighted actor critic.

    The critics learn the values of the policy (equation 5); the policy clones the data's actions,
    which weigh exp(advantage / lam) (equation 13, algorithm 1).

    The paper leaves out the factor that makes the weights a distribution. The authors' code and
    d3rlpy normalise them over the batch, and so does this by default; CORL clips them at 100
    (`normalize_weights=False`).

    :param policy: `MlpPolicy`, which is `GaussianPolicy`, as in the authors' code, with four hidden
        layers of 256 (appendix)
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param lam: temperature λ of equation 13: small for the best actions alone, large for cloning.
        1 in d3rlpy; CORL has 1/3 in locomotion and 0.1 elsewhere
    :param normalize_weights: let the weights of a batch have the mean 1, by a softmax
    :param max_weight: largest weight, where they are not normalised; 100 in CORL
    :param batch_size: 1024 (appendix)
    :param actor_weight_decay: of the actor's optimiser; 1e-4 (appendix)
    :param kwargs: see `ActorCritic` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = GaussianPolicy.aliases
    online = SAC
    default_net_arch: ClassVar[list[int]] = [256, 256, 256, 256]

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        lam: float = 1.0,
        normalize_weights: bool = True,
        max_weight: float = 100.0,
        batch_size: int = 1024,
        actor_weight_decay: float = 1e-4,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ActorCriticArguments],
    ) -> None:
        if lam <= 0:
            raise UserError(f"lam={lam} must be greater than 0")
        self.lam = lam
        self.normalize_weights = normalize_weights
        self.max_weight = max_weight
        self.actor_weight_decay = actor_weight_decay
        super().__init__(policy, env, demonstrations, batch_size=batch_size, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _build_networks(self) -> None:
        super()._build_networks()
        for group in self.policy.actor.optimizer.param_groups:
            group["weight_decay"] = self.actor_weight_decay

    def _noise(self) -> Mapping[str, Noise]:
        return {"target": Noise((self.action_dim,)), "policy": Noise((self.action_dim,))}

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        log_std = self.policy.actor.log_std.clamp(*STATE_FREE_LOG_STD)
        with th.no_grad():
            next_means = self.actor.frozen(batch.next_observations)
            next_actions = clipped_sample(next_means, log_std, batch.noise["target"])
            next_values = self.target_critics.fixed_values(batch.next_observations, next_actions)
            target = batch.rewards + batch.discounts * next_values.amin(0)
        values = self.critics.values(batch.observations, batch.actions)
        critic_loss = squared_error(values, target)

        means = self.actor(batch.observations)
        with th.no_grad():
            actions = clipped_sample(means, log_std, batch.noise["policy"])
            baseline = self.critics.fixed_values(batch.observations, actions).amin(0)
            advantages = values.amin(0) - baseline
            weights = advantage_weights(
                advantages, self.lam, self.normalize_weights, self.max_weight
            )
        actor_loss = -(weights * gaussian_log_prob(batch.actions, means, log_std)).mean()
        minimize(critic_loss + actor_loss, *self._optimizers().values())
        self.target_critics.follow(self.critics, self.tau)
        return {"actor_loss": actor_loss, "critic_loss": critic_loss, "q_value": target.mean()}


def advantage_weights(
    advantages: th.Tensor, lam: float, normalize: bool, max_weight: float
) -> th.Tensor:
    """Equation 13: exp(advantage / lam), shape (B,); with the mean 1, or clipped.

    :param advantages: shape (B,)
    """
    if normalize:
        return th.softmax(advantages / lam, 0) * len(advantages)
    return (advantages / lam).exp().clamp(max=max_weight)
