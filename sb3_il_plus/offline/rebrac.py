"""ReBRAC: TD3+BC with penalties of its own for actor and critics, and the lessons since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.offline.actor_critic import Critics
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.layer_norm import LayerNormTD3Policy
from sb3_il_plus.offline.offline_td3 import ActorLoss, OfflineTD3, TD3Arguments, noisy_actions
from sb3_il_plus.offline.stack import StackedMLP


class ReBRAC(OfflineTD3):
    """ReBRAC (Tarasov et al. 2023, arXiv:2305.09836): a minimalist approach, revisited.

    TD3 whose actor and whose critics are both penalised for leaving the data's actions, each with a
    weight of its own. The critics have layer norms and three hidden layers, batches are large
    (section 3). Where they differ from the paper, this follows the authors' code.

    The penalties have other best weights in each data set, from 0.001 to 0.1 for the actor and from
    0 to 0.5 for the critics (appendix); the defaults are what occurs there most often in
    locomotion. In AntMaze the authors have gamma=0.999, batch_size=256, reward_scale=100 and a
    critics' learning rate of 5e-5 (their actor's is 3e-4).

    The last step of an episode that a time limit cut has no next action in the data. The authors
    leave such steps out; here their target has no penalty. Weights begin as SB3's; the authors'
    last layers begin nearer to zero.

    :param policy: `MlpPolicy`, which is `LayerNormTD3Policy` with three hidden layers of 256: TD3's
        with a layer norm behind each hidden layer of the critics
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param beta1: weight of the actor's penalty; `actor_bc_coef` in the authors' code
    :param beta2: weight of the critics' penalty; `critic_bc_coef` there
    :param normalize_q: divide the actor's values by their mean size, as TD3+BC does
    :param learning_rate: 1e-3 in locomotion, 3e-4 elsewhere
    :param batch_size: 1024 in locomotion, 256 elsewhere
    :param kwargs: see `OfflineTD3`, `ActorCritic` and `OfflineAlgorithm`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = LayerNormTD3Policy.aliases
    default_net_arch: ClassVar[list[int]] = [256, 256, 256]

    def __init__(  # type: ignore[misc]  # some defaults are not those of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        beta1: float = 0.01,
        beta2: float = 0.01,
        normalize_q: bool = True,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 1024,
        _init_setup_model: bool = True,
        **kwargs: Unpack[TD3Arguments],
    ) -> None:
        self.beta1 = beta1
        self.beta2 = beta2
        self.normalize_q = normalize_q
        super().__init__(
            policy,
            env,
            demonstrations,
            learning_rate=learning_rate,
            batch_size=batch_size,
            _init_setup_model=_init_setup_model,
            **kwargs,
        )

    def _extras(self, data: Demonstrations) -> Mapping[str, th.Tensor]:
        actions = self._scaled(th.as_tensor(next_actions(data), device=self.device))
        return {"next_actions": actions}

    def _target(self, batch: Batch, noise: th.Tensor) -> th.Tensor:
        return penalized_target(batch, self.target_actor, self.target_critics, noise, self.beta2)

    def _actor_losses(self, batch: Batch) -> dict[str, th.Tensor]:
        loss = penalized_actor_loss(
            batch, self.actor, self.critics, self.beta1, normalize=self.normalize_q
        )
        return {"actor_loss": loss.total, "bc_loss": loss.cloning}


def next_actions(data: Demonstrations) -> np.ndarray:
    """The action after each step's, shape (N, *action shape); NaN at an episode's end."""
    following: np.ndarray = np.roll(data.actions, -1, axis=0).astype(np.float32)
    following[data.offsets[1:] - 1] = np.nan
    return following


@th.no_grad()
def penalized_target(
    batch: Batch, target_actor: StackedMLP, target_critics: Critics, noise: th.Tensor, beta: float
) -> th.Tensor:
    """r + γ (min_i Q'_i(s', a') - beta |a' - next action of the data|²), shape (B,).

    :param noise: on the target policy's action a'
    """
    actions = noisy_actions(target_actor, batch.next_observations, noise)
    penalty = (actions - batch.extras["next_actions"]).square().sum(-1).nan_to_num()
    values = target_critics.fixed_values(batch.next_observations, actions).amin(0)
    return batch.rewards + batch.discounts * (values - beta * penalty)


def penalized_actor_loss(
    batch: Batch, actor: StackedMLP, critics: Critics, beta: float, normalize: bool = True
) -> ActorLoss:
    """beta |π(s) - a|² - λ min_i Q_i(s, π(s)), with λ = 1 / mean |Q| or 1.

    TD3+BC has the first critic, and the mean over the action's components; this the sum.
    """
    actions = actor(batch.observations)
    cloning = (actions - batch.actions).square().sum(-1).mean()
    values = critics.fixed_values(batch.observations, actions).amin(0)
    scale = 1.0 / values.detach().abs().mean() if normalize else 1.0
    return ActorLoss(beta * cloning - scale * values.mean(), cloning)
