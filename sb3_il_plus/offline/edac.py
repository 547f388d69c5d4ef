"""EDAC: SAC-N whose critics are made to disagree off the data, so that fewer are enough."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from sb3_il_plus.offline.actor_critic import Critics
from sb3_il_plus.offline.batch import Batch
from sb3_il_plus.offline.sac_n import SACN
from sb3_il_plus.offline.soft import SoftArguments


class EDACArguments(SoftArguments, total=False):
    """Constructor arguments that EDAC passes through (see `SACN`)."""

    n_critics: int


class EDAC(SACN):
    """EDAC (An et al. 2021, arXiv:2110.01548): ensemble-diversified actor critic, algorithm 1.

    SAC-N, whose critics also minimise `eta` times the mean cosine between the slopes of their
    values at the data's actions (section 4).

    The sum is over all pairs of critics, as in the paper and in CORL. The authors' code draws as
    many critics as an action has components, where that is fewer than N.

    :param policy: `MlpPolicy`, which is SAC's with three hidden layers of 256
    :param env: optional
    :param demonstrations: data with rewards and continuous actions
    :param eta: weight of the cosines. 1 in most locomotion tasks, 5 in HalfCheetah's and Walker2d's
        medium-expert, 10 to 1000 in Adroit, 0.1 in Maze2d (the paper's, as CORL lists them)
    :param n_critics: N: 10 in HalfCheetah and Walker2d, 50 in Hopper, 20 in Adroit's pen; at
        least 2
    :param kwargs: see `SACN`, `SoftActorCritic`, `ActorCritic` and `OfflineAlgorithm`
    """

    least_critics: ClassVar[int] = 2

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        demonstrations: Any = None,
        *,
        eta: float = 1.0,
        _init_setup_model: bool = True,
        **kwargs: Unpack[EDACArguments],
    ) -> None:
        self.eta = eta
        super().__init__(policy, env, demonstrations, _init_setup_model=_init_setup_model, **kwargs)

    def _penalties(self, batch: Batch) -> dict[str, th.Tensor]:
        slopes = action_slopes(self.critics, batch.observations, batch.actions)
        return {"diversity_loss": self.eta * slope_similarity(slopes)}


def action_slopes(critics: Critics, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
    """Gradients of Q_i(s, a) by a, which can be differentiated; shape (N, B, action dimension)."""
    own = actions.expand(critics.n, -1, -1).detach().requires_grad_()
    inputs = th.cat([observations.expand(critics.n, -1, -1), own], -1)
    (slopes,) = th.autograd.grad(critics.in_steps(inputs).sum(), own, create_graph=True)
    return slopes


def slope_similarity(slopes: th.Tensor) -> th.Tensor:
    """Cosines between the slopes of two critics, summed over pairs, over N - 1 (section 4).

    :param slopes: shape (N, B, action dimension)
    """
    directions = slopes / (slopes.norm(dim=-1, keepdim=True) + 1e-10)
    # All products at once, less each direction's with itself.
    products = directions.sum(0).square().sum(-1) - directions.square().sum((0, -1))
    return products.mean() / (len(slopes) - 1)
