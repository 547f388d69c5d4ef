"""Discrete CQL: double DQN, with values that are kept low where there is no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch as th
import torch.nn.functional as F
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.actor_critic import minimize
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.discrete import DiscreteArguments, QLearning, of_choices
from sb3_il_plus.offline.offline_dqn import double_q_target


class DiscreteCQL(QLearning):
    """CQL(H) of Discrete actions (Kumar et al. 2020, arXiv:2006.04779).

    Double DQN, whose values also minimise alpha * (log sum_a exp Q(s, a) - Q(s, a of the data)),
    equation 4; the sum over choices is exact.

    The authors' code for Atari adds the term to QR-DQN, with 200 quantiles; here it is added to
    double DQN's expected values, as in d3rlpy.

    :param policy: `MlpPolicy`, which is DQN's with two hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and Discrete actions
    :param alpha: weight of the conservative term; `minq_weight` in the authors' code. It is 4 there
        for 1 % of Atari's data and 1 for 10 %, and by default 1 in d3rlpy
    :param kwargs: see `DiscreteAlgorithm` and `OfflineAlgorithm`
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        alpha: float = 1.0,
        _init_setup_model: bool = True,
        **kwargs: Unpack[DiscreteArguments],
    ) -> None:
        if alpha < 0:
            raise UserError(f"alpha={alpha} must not be negative")
        self.alpha = alpha
        super().__init__(policy, env, demonstrations, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _update(self, batch: Batch) -> Mapping[str, th.Tensor]:
        target = double_q_target(batch, self.critics, self.target_critics)
        values = self.critics.values(batch.observations)
        of_data = of_choices(values, batch.actions)
        td_loss = F.smooth_l1_loss(of_data[0], target)
        gap = conservative_gap(values, of_data)
        minimize(td_loss + self.alpha * gap, self.policy.optimizer)
        self._follow_targets()
        return {"critic_loss": td_loss, "conservative_gap": gap, "q_value": target.mean()}


def conservative_gap(values: th.Tensor, of_data: th.Tensor) -> th.Tensor:
    """log sum_a exp Q(s, a) - Q(s, a of the data), mean over critics and batch.

    :param values: of all choices, shape (N, B, choices)
    :param of_data: of the data's, shape (N, B)
    """
    return (th.logsumexp(values, -1) - of_data).mean()
