"""The losses of behavioural cloning, for every kind of SB3 policy.

The functions at the top, and those of `supervised/losses.py`, are the mathematics: from what a
policy says and what the expert did to one number for each transition. `Objective` makes a training
loss of one of them, in the interface that upstream's trainer calls: (policy, observations, actions)
-> named scalars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch as th
from gymnasium import spaces
from imitation.algorithms import bc
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import BasePolicy
from torch import nn
from torch.nn import functional as F

from sb3_il_plus.adapters.batches import Batch
from sb3_il_plus.adapters.policy_kinds import ACTOR_CRITIC, PolicyKind
from sb3_il_plus.errors import InapplicableError, UserError
from sb3_il_plus.supervised.losses import (
    Prediction,
    log_likelihood,
    squared_error,
    weighted_mean,
)

Loss = Literal["auto", "likelihood", "mse", "cross_entropy", "large_margin"]

ClassWeights = Literal["balanced"] | Sequence[float] | np.ndarray | None


def cross_entropy(values: th.Tensor, actions: th.Tensor) -> th.Tensor:
    """−log softmax Q(s, ·) at the expert's action, shape (B,)."""
    return F.cross_entropy(values, actions.long().flatten(), reduction="none")


def large_margin(values: th.Tensor, actions: th.Tensor, margin: float) -> th.Tensor:
    """max_a [Q(s, a) + ℓ(a_E, a)] − Q(s, a_E), where ℓ is `margin`, and 0 at a_E; shape (B,).

    Hester et al. 2018 (DQfD), equation for J_E(Q).
    """
    expert = actions.long().reshape(-1, 1)
    others = th.full_like(values, margin).scatter(1, expert, 0.0)
    return (values + others).max(dim=1).values - values.gather(1, expert).squeeze(1)


@dataclass(frozen=True)
class HalfSquaredNorm:
    """Half the sum of a network's squared parameters, for the log: worked out when it is read."""

    network: nn.Module

    def __float__(self) -> float:
        with th.no_grad():
            return half_squared_norm(self.network).item()


def half_squared_norm(network: nn.Module) -> th.Tensor:
    """Half the sum of a network's squared parameters, a scalar."""
    return th.stack([parameter.square().sum() for parameter in network.parameters()]).sum() / 2


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Named scalars; `loss` is what is minimised."""

    l2_norm: th.Tensor | HalfSquaredNorm
    l2_loss: th.Tensor
    loss: th.Tensor


@dataclass(frozen=True, kw_only=True)
class SquaredErrorLosses(Losses):
    """`loss` is `mse` and the regulariser."""

    mse: th.Tensor


@dataclass(frozen=True, kw_only=True)
class CrossEntropyLosses(Losses):
    """`accuracy` is the share of greedy actions that are the expert's."""

    cross_entropy: th.Tensor
    accuracy: th.Tensor


@dataclass(frozen=True, kw_only=True)
class LargeMarginLosses(Losses):
    """`accuracy` is the share of greedy actions that are the expert's."""

    large_margin: th.Tensor
    accuracy: th.Tensor


@dataclass(frozen=True)
class Objective:
    """A loss of behavioural cloning, in the interface of upstream's trainer.

    :param kind: of the policies it is for
    :param loss: one of `kind.losses`
    :param ent_weight: weight of the entropy (likelihood, where it has a formula)
    :param l2_weight: weight of half the sum of squared parameters of the trained network
    :param margin: of the large-margin loss
    :param class_weights: shape (n,), weight of transitions by the expert's choice; None for equal
        ones
    """

    kind: PolicyKind
    loss: str
    ent_weight: float = 0.0
    l2_weight: float = 0.0
    margin: float = 0.8
    class_weights: th.Tensor | None = None

    def __call__(
        self, policy: BasePolicy, obs: Any, acts: th.Tensor
    ) -> Losses | bc.BCTrainingMetrics:
        """Compute the loss of a batch, see `Batch.unpack`."""
        batch = Batch.unpack(obs, acts)
        prediction = self.kind.predict(policy, batch)
        rows = self._rows(prediction, batch.actions)
        fit = weighted_mean(rows, self._weights(batch))
        terms = self._regularized(policy, fit)
        if self.loss == "mse":
            return SquaredErrorLosses(mse=fit, **terms)
        if isinstance(prediction, Distribution):
            return self._likelihood_losses(prediction, batch, rows, fit, **terms)
        with th.no_grad():
            terms["accuracy"] = (prediction.argmax(dim=1) == batch.actions.flatten()).float().mean()
        if self.loss == "cross_entropy":
            return CrossEntropyLosses(cross_entropy=fit, **terms)
        return LargeMarginLosses(large_margin=fit, **terms)

    @property
    def is_upstreams(self) -> bool:
        """Whether it is the very loss that upstream's trainer has itself."""
        return (
            self.kind is ACTOR_CRITIC and self.loss == "likelihood" and self.class_weights is None
        )

    def fit(self, policy: BasePolicy, obs: Any, acts: th.Tensor) -> th.Tensor:
        """The loss without its regularisers, a scalar: on other data, it tells how good it is."""
        batch = Batch.unpack(obs, acts)
        prediction = self.kind.predict(policy, batch)
        return weighted_mean(self._rows(prediction, batch.actions), self._weights(batch))

    def _rows(self, prediction: Prediction, actions: th.Tensor) -> th.Tensor:
        if self.loss == "mse":
            return squared_error(prediction, actions)
        if isinstance(prediction, Distribution):
            return -log_likelihood(prediction, actions)
        if self.loss == "cross_entropy":
            return cross_entropy(prediction, actions)
        return large_margin(prediction, actions, self.margin)

    def _weights(self, batch: Batch) -> th.Tensor | None:
        if self.class_weights is None:
            return batch.weights
        of_class = self.class_weights[batch.actions.long().flatten()]
        return of_class if batch.weights is None else of_class * batch.weights

    def _regularized(self, policy: BasePolicy, fit: th.Tensor) -> dict[str, Any]:
        network = self.kind.trained(policy)
        if self.l2_weight == 0:
            zero = fit.new_zeros(())
            return {"l2_norm": HalfSquaredNorm(network), "l2_loss": zero, "loss": fit}
        l2_norm = half_squared_norm(network)
        l2_loss = self.l2_weight * l2_norm
        return {"l2_norm": l2_norm, "l2_loss": l2_loss, "loss": fit + l2_loss}

    def _likelihood_losses(
        self,
        distribution: Distribution,
        batch: Batch,
        rows: th.Tensor,
        neglogp: th.Tensor,
        loss: th.Tensor,
        **terms: Any,
    ) -> bc.BCTrainingMetrics:
        """Upstream's own named scalars, so that its logs keep their names."""
        entropies = distribution.entropy()  # None where there is no formula
        entropy = None if entropies is None else weighted_mean(entropies, batch.weights)
        ent_loss = th.zeros_like(neglogp) if entropy is None else -self.ent_weight * entropy
        return bc.BCTrainingMetrics(
            neglogp=neglogp,
            entropy=entropy,
            ent_loss=ent_loss,
            prob_true_act=weighted_mean(rows.detach().neg().exp(), batch.weights),
            loss=loss + ent_loss,
            **terms,
        )


def choose_loss(loss: str, kind: PolicyKind, owner: str) -> str:
    """The loss to use, where `"auto"` is the first of those that fit.

    :param owner: whose policies, for the message
    :raises UserError: there is no such loss
    :raises InapplicableError: it does not fit the policy
    """
    if loss not in get_args(Loss):
        raise UserError(f"loss={loss!r} must be one of {', '.join(map(repr, get_args(Loss)))}")
    if loss == "auto":
        return kind.losses[0]
    if loss not in kind.losses:
        raise InapplicableError(
            f"loss={loss!r} does not fit {owner}, whose losses are "
            f"{' and '.join(map(repr, kind.losses))}; loss='auto' chooses the first"
        )
    return loss


def find_class_weights(
    class_weights: ClassWeights,
    action_space: spaces.Space,
    actions: np.ndarray,
) -> np.ndarray | None:
    """The weight of each choice, shape (n,).

    `"balanced"` is N / (number of choices seen · times the choice is seen), so that each choice
    that is seen weighs the same in total, and a transition weighs 1 on average.

    :param actions: of the transitions that are learned from
    :raises InapplicableError: the actions are not one choice out of n
    :raises UserError: not n finite weights that are not negative
    """
    if class_weights is None:
        return None
    if not isinstance(action_space, spaces.Discrete):
        raise InapplicableError(
            f"class_weights weigh the choices of a Discrete action space, not of {action_space}"
        )
    n = int(action_space.n)
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise UserError(
                f"class_weights={class_weights!r} must be None, 'balanced' or {n} weights"
            )
        counts = np.bincount(actions.ravel(), minlength=n)
        return len(actions) / (np.count_nonzero(counts) * np.maximum(counts, 1)) * (counts > 0)
    weights = np.asarray(class_weights, dtype=np.float64)
    if weights.shape != (n,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise UserError(
            f"class_weights={class_weights!r} must be {n} finite weights that are not negative, "
            "one for each action"
        )
    return weights
