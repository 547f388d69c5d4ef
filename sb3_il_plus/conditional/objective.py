"""The loss of conditional imitation: of the actions, and of the speed where a policy predicts it.

The functions at the top are the mathematics; `Objective` puts them together for a policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from torch import nn

from sb3_il_plus.conditional.perception import Perception
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.supervised.losses import log_likelihood, squared_error

Loss = Literal["auto", "likelihood", "mse", "l1"]

ActionWeights = Sequence[float] | str | None

PUBLISHED_WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "coiltraine": (0.5, 0.45, 0.05),
    "carla_issue_19": (0.45, 0.05, 0.5),
}
"""Weights of steering, throttle and brake. The sources disagree: `"coiltraine"` are those of the
configurations of CILRS and of issue 38 of carla-simulator/imitation-learning, whose issue 19 has
others."""


def weighted_error(
    distribution: Distribution, actions: th.Tensor, weights: th.Tensor, power: int
) -> th.Tensor:
    """Σ_d w_d |μ_d(s) − a_d|^power, shape (B,).

    :param distribution: of continuous actions, with mean μ
    :param actions: shape (B, *action shape)
    :param weights: shape (A,), with a sum of 1
    :param power: 1 (Codevilla et al. 2019) or 2 (Codevilla et al. 2018)
    """
    distance = (distribution.mode() - actions.flatten(1).float()).abs()
    return (distance**power * weights).sum(dim=1)


@dataclass(frozen=True)
class Objective:
    """A loss of conditional imitation.

    :param loss: `"likelihood"`, `"mse"` or `"l1"`
    :param weights: of the components of continuous actions, shape (A,); None where actions are
        choices
    :param ent_weight: weight of the entropy
    :param speed_weight: weight of the speed's loss
    :param speed_head: what predicts the speed, if anything does
    """

    loss: str
    weights: th.Tensor | None
    ent_weight: float
    speed_weight: float
    speed_head: Perception | None

    @classmethod
    def of(
        cls,
        action_space: spaces.Space,
        loss: Loss,
        action_weights: ActionWeights,
        ent_weight: float,
        speed_weight: float,
        speed_head: Perception | None,
        device: th.device,
    ) -> Objective:
        """Check the arguments of `ConditionalBC`, and make an objective of them.

        :raises UserError: there is no such loss, or a weight is out of range
        :raises InapplicableError: the loss does not fit the actions
        """
        continuous = isinstance(action_space, spaces.Box)
        if loss not in get_args(Loss):
            raise UserError(f"loss={loss!r} must be one of {', '.join(map(repr, get_args(Loss)))}")
        if loss == "auto":
            loss = "mse" if continuous else "likelihood"
        if loss == "l1" and not continuous:
            raise InapplicableError(
                f"loss='l1' measures continuous actions, not those of {action_space}; "
                "take 'likelihood' or 'mse'"
            )
        if not 0 <= speed_weight <= 1:
            raise UserError(f"speed_weight={speed_weight} must lie within [0, 1]")
        if action_weights is not None and (loss == "likelihood" or not continuous):
            raise InapplicableError(
                f"action_weights weigh the components of continuous actions in loss='mse' and "
                f"'l1', not of {action_space} in {loss!r}"
            )
        weights = None
        if continuous:
            size = int(np.prod(action_space.shape or ()))
            weights = th.as_tensor(
                _normalized(action_weights, size), dtype=th.float32, device=device
            )
        return cls(loss, weights, ent_weight, speed_weight, speed_head)

    def __call__(
        self, policy: Any, observations: dict[str, th.Tensor], actions: th.Tensor
    ) -> dict[str, th.Tensor]:
        """Compute the loss of a batch: named scalars, of which `loss` is minimised.

        :param policy: an actor-critic policy
        :param observations: tensors of shape (B, ...)
        :param actions: shape (B, *action shape)
        """
        none: AbstractContextManager[list[th.Tensor]] = nullcontext([])
        with none if self.speed_head is None else self.speed_head.predicting_speed() as predicted:
            distribution = policy.get_distribution(observations)
        fit = self._rows(distribution, actions).mean()
        losses = {_NAMES[self.loss]: fit}
        total = fit
        if self.speed_head is not None:
            speed = observations[str(self.speed_head.speed_entry)].flatten(1).float()
            losses["speed_loss"] = self._distance(predicted[0], speed).mean()
            total = (1 - self.speed_weight) * fit + self.speed_weight * losses["speed_loss"]
        if self.ent_weight and self.loss == "likelihood":
            entropy = distribution.entropy()
            if entropy is not None:
                losses["entropy"] = entropy.mean()
                total = total - self.ent_weight * losses["entropy"]
        return {**losses, "loss": total}

    def fit(self, policy: Any, observations: dict[str, th.Tensor], actions: th.Tensor) -> th.Tensor:
        """The loss of the actions alone, shape (B,): on other data, it tells how good it is."""
        return self._rows(policy.get_distribution(observations), actions)

    def _rows(self, distribution: Distribution, actions: th.Tensor) -> th.Tensor:
        if self.loss == "likelihood":
            return -log_likelihood(distribution, actions)
        if self.weights is None:
            return squared_error(distribution, actions)
        return weighted_error(distribution, actions, self.weights, 1 if self.loss == "l1" else 2)

    def _distance(self, predicted: th.Tensor, given: th.Tensor) -> th.Tensor:
        distance = (predicted - given).abs()
        return distance if self.loss == "l1" else distance.square()


_NAMES = {"likelihood": "neglogp", "mse": "mse", "l1": "l1"}
"""Of the losses in the log."""


def find_speed_head(policy: nn.Module) -> Perception | None:
    """The part of a policy that predicts the speed, if there is one."""
    found = (m for m in policy.modules() if isinstance(m, Perception) and m.speed is not None)
    return next(found, None)


def _normalized(action_weights: ActionWeights, size: int) -> np.ndarray:
    if action_weights is None:
        return np.full(size, 1 / size)
    if isinstance(action_weights, str):
        if action_weights not in PUBLISHED_WEIGHTS:
            raise UserError(
                f"action_weights={action_weights!r} must be numbers, or one of "
                f"{', '.join(map(repr, PUBLISHED_WEIGHTS))}"
            )
        action_weights = PUBLISHED_WEIGHTS[action_weights]
    weights = np.asarray(action_weights, dtype=np.float64)
    usable = np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0
    if weights.shape != (size,) or not usable:
        raise UserError(
            f"action_weights={action_weights!r} must be {size} finite numbers that are not "
            "negative, one for each component of an action, and not all 0"
        )
    return weights / weights.sum()
