"""The losses of cloning: from what a policy says and what the expert did to a number each.

Pure functions of SB3's distributions and of tensors, with one number for each transition.
"""

from __future__ import annotations

import torch as th
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    Distribution,
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from torch.nn import functional as F

Prediction = Distribution | th.Tensor
"""A distribution over actions, actions of shape (B, A), or a value for each choice (B, n)."""

SQUASHED_LIMIT = 0.999
"""Greatest scaled action that a squashed Gaussian is asked for: the inverse tanh of 1 is infinite,
and that of the float just below so large (8.7) that one action at its bound outweighs the rest."""


def log_likelihood(distribution: Distribution, actions: th.Tensor) -> th.Tensor:
    """log π(a|s), shape (B,).

    Behind a tanh, with scaled actions a in [−1, 1] and u = atanh(a), it is the change of variables
    log N(u; μ, σ) − Σ log(1 − a²), with |a| at most `SQUASHED_LIMIT`.
    """
    if _is_squashed(distribution):
        actions = actions.clamp(-SQUASHED_LIMIT, SQUASHED_LIMIT)
    return distribution.log_prob(actions)


def squared_error(prediction: Prediction, actions: th.Tensor) -> th.Tensor:
    """Squared distance of the policy to the action, shape (B,).

    Continuous: ‖μ(s) − a‖² averaged over the action's components. Choices: the Brier score,
    ‖p(·|s) − onehot(a)‖² summed over choices.
    """
    choices = _categoricals(prediction)
    if choices:
        columns = actions.reshape(len(actions), -1).long().unbind(dim=1)
        scores = [_brier(part.probs, column) for part, column in zip(choices, columns, strict=True)]
        return th.stack(scores).sum(dim=0)
    if isinstance(prediction, BernoulliDistribution):
        return (prediction.distribution.probs - actions.float()).square().sum(dim=1)
    mean = prediction.mode() if isinstance(prediction, Distribution) else prediction
    return (mean - actions.reshape(mean.shape).float()).square().mean(dim=1)


def weighted_mean(rows: th.Tensor, weights: th.Tensor | None) -> th.Tensor:
    """Mean of `rows` times `weights`, both of shape (B,)."""
    return rows.mean() if weights is None else (rows * weights).mean()


def _is_squashed(distribution: Distribution) -> bool:
    if isinstance(distribution, StateDependentNoiseDistribution):
        return distribution.bijector is not None
    return isinstance(distribution, SquashedDiagGaussianDistribution)


def _categoricals(prediction: Prediction) -> list[th.distributions.Categorical]:
    """The distributions over choices that a distribution consists of, if it does.

    SB3's keep them in `distribution`, sb3-contrib's maskable ones in `distributions`.
    """
    if not isinstance(prediction, Distribution):
        return []
    parts = getattr(prediction, "distributions", getattr(prediction, "distribution", None))
    parts = parts if isinstance(parts, list) else [parts]
    return [part for part in parts if isinstance(part, th.distributions.Categorical)]


def _brier(probabilities: th.Tensor, choices: th.Tensor) -> th.Tensor:
    one_hot = F.one_hot(choices, probabilities.shape[-1])
    return (probabilities - one_hot).square().sum(dim=1)
