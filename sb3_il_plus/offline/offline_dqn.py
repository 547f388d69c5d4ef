"""Offline DQN: double DQN on fixed data, the naive reference of discrete offline RL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch as th
import torch.nn.functional as F
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.offline.actor_critic import minimize
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.discrete import ChoiceCritics, DiscreteArguments, QLearning, of_choices


class OfflineDQN(QLearning):
    """Double DQN (van Hasselt, Guez and Silver 2016, arXiv:1509.06461) on fixed data.

    Nothing keeps it near the data: where an action is rare, its value is a guess, and the largest
    guess is chosen. It shows what the other algorithms are for.

    The loss is Huber's with a bound of 1, as in SB3's `DQN`, which is no double one. Gradients are
    not clipped.

    :param policy: `MlpPolicy`, which is DQN's with two hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param kwargs: see `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        _init_setup_model: bool = True,
        **kwargs: Unpack[DiscreteArguments],
    ) -> None:
        super().__init__(policy, env, demonstrations, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        target = double_q_target(batch, self.critics, self.target_critics)
        values = of_choices(self.critics.values(batch.observations), batch.actions)
        loss = F.smooth_l1_loss(values[0], target)
        minimize(loss, self.policy.optimizer)
        self._follow_targets()
        return {"critic_loss": loss, "q_value": target.mean()}


@th.no_grad()
def double_q_target(
    batch: Batch, critics: ChoiceCritics, target_critics: ChoiceCritics
) -> th.Tensor:
    """r + γ Q'(s', argmax_a Q(s', a)), shape (B,) (van Hasselt et al. 2016, section 3)."""
    best = critics.fixed_values(batch.next_observations)[0].argmax(-1)
    values = of_choices(target_critics.fixed_values(batch.next_observations), best)[0]
    return batch.rewards + batch.discounts * values
