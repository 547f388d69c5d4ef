"""SAC-N: SAC with so many critics that the lowest of them is careful where there is no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import squared_error
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.soft import SoftActorCritic, SoftArguments, soft_actor_loss


class SACN(SoftActorCritic):
    """SAC-N (An et al. 2021, arXiv:2110.01548): SAC whose values are the lowest of N critics.

    Section 3. Losses and their order are those of the authors' code: entropy's weight, actor and
    critics all see the networks as they were before the update. Weights begin as SB3's, where the
    authors' biases begin with 0.1 and their last layers near to zero; and the logarithm of the
    policy's deviation is at least SB3's -20, where theirs is -5.

    :param policy: `MlpPolicy`, which is SAC's with three hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param n_critics: N, `num_qs` in the authors' code, whose default is 10. 10 in HalfCheetah, 20
        in Walker2d, 200 to 500 in Hopper, 100 in Adroit, as CORL lists them. All are one batched
        product, and a plain `SAC` that goes on has them, too
    :param kwargs: see `SoftActorCritic`, `ActorCritic` and `OfflineAlgorithm`
    """

    default_net_arch: ClassVar[list[int]] = [256, 256, 256]
    least_critics: ClassVar[int] = 1

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        n_critics: int = 10,
        _init_setup_model: bool = True,
        **kwargs: Unpack[SoftArguments],
    ) -> None:
        if n_critics < self.least_critics:
            raise UserError(f"n_critics={n_critics} must be at least {self.least_critics}")
        self.n_critics = n_critics
        super().__init__(policy, env, demonstrations, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _build_policy_kwargs(self) -> dict[str, Any]:
        return {**super()._build_policy_kwargs(), "n_critics": self.n_critics}

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        entropy_weight = self.coefficients.log_entropy.detach().exp()
        target = self._soft_target(batch, entropy_weight)
        acted = self._act(batch)
        actor_loss = soft_actor_loss(batch.observations, acted, self.critics, entropy_weight)
        self._learn_entropy_weight(acted.log_prob)
        self._minimize_actor(actor_loss)
        values = self.critics.values(batch.observations, batch.actions)
        td_loss = squared_error(values, target)
        penalties = self._penalties(batch)
        self._minimize_critics(td_loss + sum(penalties.values()))
        self.target_critics.follow(self.critics, self.tau)
        return {
            "actor_loss": actor_loss,
            "critic_loss": td_loss,
            "ent_coef": entropy_weight,
            "q_value": target.mean(),
            "q_deviation": values.std(0, correction=0).mean(),
            **penalties,
        }

    def _penalties(self, batch: Batch) -> dict[str, th.Tensor]:
        """What else the critics minimise, by name."""
        return {}
