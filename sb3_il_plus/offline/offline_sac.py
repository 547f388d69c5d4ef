"""SAC on fixed data: the naive reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.offline.actor_critic import squared_error
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.soft import SoftActorCritic, SoftArguments, soft_actor_loss


class OfflineSAC(SoftActorCritic):
    """SAC (Haarnoja et al. 2018, arXiv:1812.05905) that never sees an environment.

    Its update is that of SB3's `SAC`, which takes half the squared error, and the actor's values
    from critics that are updated already. Nothing keeps it near the data, so it shows what the
    other algorithms are for.

    :param policy: `MlpPolicy`, which is SAC's with two hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param kwargs: see `SoftActorCritic`, `ActorCritic` and `OfflineAlgorithm`
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        _init_setup_model: bool = True,
        **kwargs: Unpack[SoftArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        acted = self._act(batch)
        entropy_weight = self.coefficients.log_entropy.detach().exp()
        self._learn_entropy_weight(acted.log_prob)
        target = self._soft_target(batch, entropy_weight)
        values = self.critics.values(batch.observations, batch.actions)
        critic_loss = 0.5 * squared_error(values, target)
        self._minimize_critics(critic_loss)
        actor_loss = soft_actor_loss(batch.observations, acted, self.critics, entropy_weight)
        self._minimize_actor(actor_loss)
        self.target_critics.follow(self.critics, self.tau)
        return {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "ent_coef": entropy_weight,
            "q_value": target.mean(),
        }
