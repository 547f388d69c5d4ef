"""TD3+BC: TD3 with a behavioural-cloning term in the actor's loss."""

from __future__ import annotations

from typing import Any, Unpack

import torch as th
import torch.nn.functional as F
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.offline.actor_critic import Critics
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.offline_td3 import ActorLoss, OfflineTD3, TD3Arguments
from sb3_il_plus.offline.stack import StackedMLP


class TD3BC(OfflineTD3):
    """TD3+BC (Fujimoto and Gu 2021, arXiv:2106.06860): a minimalist approach to offline RL.

    The critics are TD3's. The actor maximises λ Q1(s, π(s)) - (π(s) - a)² with
    λ = alpha / mean |Q1(s, π(s))|, equations 3 to 5. All defaults are those of the authors' code.

    Observations are normalised with a least deviation of 1e-3, as there; beyond that they are
    clipped to ±10, which touches next to nothing in the data.

    :param policy: `MlpPolicy`, which is TD3's with two hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param alpha: weight of the values against cloning; 2.5 in all the paper's tasks (section 5)
    :param normalize_observations: as in the paper (section 5)
    :param kwargs: see `OfflineTD3`, `ActorCritic` and `OfflineAlgorithm`
    """

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        alpha: float = 2.5,
        normalize_observations: bool = True,
        _init_setup_model: bool = True,
        **kwargs: Unpack[TD3Arguments],
    ) -> None:
        self.alpha = alpha
        super().__init__(
            policy,
            env,
            demonstrations,
            normalize_observations=normalize_observations,
            _init_setup_model=_init_setup_model,
            **kwargs,
        )

    def _actor_losses(self, batch: Batch) -> dict[str, th.Tensor]:
        loss = actor_loss(batch, self.actor, self.critics, self.alpha)
        return {"actor_loss": loss.total, "bc_loss": loss.cloning}


def actor_loss(batch: Batch, actor: StackedMLP, critics: Critics, alpha: float) -> ActorLoss:
    """Equations 3 to 5: cloning, minus values that are scaled to a mean size of alpha."""
    actions = actor(batch.observations)
    values = critics.fixed_values(batch.observations, actions, first=True)
    scale = alpha / values.detach().abs().mean()
    cloning = F.mse_loss(actions, batch.actions)
    return ActorLoss(cloning - scale * values.mean(), cloning)
