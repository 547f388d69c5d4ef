"""XQL: IQL with the values of the best actions, by Gumbel regression, in place of good ones."""

from __future__ import annotations

from typing import Any, Unpack

import torch as th
import torch.nn.functional as F
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from torch import nn

from sb3_il_plus.errors import UserError
from sb3_il_plus.offline.iql import ImplicitArguments, ImplicitQLearning
from sb3_il_plus.offline.layer_norm import with_layer_norms


class XQL(ImplicitQLearning):
    """XQL (Garg et al. 2023, arXiv:2301.02328): extreme Q-learning, offline (algorithm 1).

    IQL whose V estimates the soft maximum loss_temp * log E[exp(Q / loss_temp)] over the data's
    actions, by regression with Gumbel noise (section 3), and whose Q minimises Huber's loss.
    Losses and clipping are those of the authors' code, their order is that of IQL here; weights
    begin as SB3's, theirs orthogonally.

    :param policy: `MlpPolicy`, which is IQL's. V has a layer norm in front of each activation
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param loss_temp: temperature of the soft maximum: beta in the paper, `temp` in the authors'
        code, whose default is 1. 1 in HalfCheetah, 1 to 5 in Hopper, 2 to 10 in Walker2d, 0.5 to 5
        in AntMaze (appendix E)
    :param max_clip: largest (Q - V) / loss_temp that counts; 7, and 5 in AntMaze. None for any
    :param huber_delta: error beyond which Q's loss is linear; 20 in the authors' code
    :param batch_size: 1024 in the authors' code
    :param kwargs: see `ImplicitQLearning` (beta, the inverse temperature of cloning, is 3 here as
        in IQL), `ActorCritic` and `OfflineAlgorithm`
    """

    def __init__(  # type: ignore[misc]  # one default is not that of the base
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        loss_temp: float = 1.0,
        max_clip: float | None = 7.0,
        huber_delta: float = 20.0,
        batch_size: int = 1024,
        _init_setup_model: bool = True,
        **kwargs: Unpack[ImplicitArguments],
    ) -> None:
        if loss_temp <= 0 or huber_delta <= 0:
            raise UserError(
                f"loss_temp={loss_temp} and huber_delta={huber_delta} must be greater than 0"
            )
        self.loss_temp = loss_temp
        self.max_clip = max_clip
        self.huber_delta = huber_delta
        super().__init__(policy, env, demonstrations, batch_size=batch_size, **kwargs)
        if _init_setup_model:
            self._setup_model()

    def _value_layers(self) -> nn.Sequential:
        return with_layer_norms(super()._value_layers(), before=True)

    def _value_loss(self, target: th.Tensor, values: th.Tensor) -> th.Tensor:
        return gumbel_loss(target - values, self.loss_temp, self.max_clip)

    def _critic_loss(self, values: th.Tensor, target: th.Tensor) -> th.Tensor:
        errors = F.huber_loss(
            values, target.expand_as(values), reduction="none", delta=self.huber_delta
        )
        return errors.sum(0).mean()


def gumbel_loss(errors: th.Tensor, temperature: float, max_clip: float | None) -> th.Tensor:
    """exp(z) - z - 1 for z = errors / temperature, mean over the batch (section 3).

    It is divided by the largest exp(z) of the batch, or by exp(-1) if that is more, so that one
    outlier does not decide about the step: an adaptive learning rate, as in the authors' code.

    :param errors: Q - V, shape (B,)
    """
    z = errors / temperature
    if max_clip is not None:
        z = z.clamp(max=max_clip)
    largest = z.detach().max().clamp(min=-1.0)
    return ((z - largest).exp() - (z + 1.0) * (-largest).exp()).mean()
