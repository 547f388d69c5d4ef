"""Calibration of a discriminator: whether what it takes for the expert's is the expert's.

At the end of training, generator and expert should be hard to tell apart, and probabilities near
one half. A discriminator that is sure and right has won, and pays no reward that leads anywhere;
one that is sure and wrong pays a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import InapplicableError, UserError


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram with its figures (Guo et al. 2017, section 2).

    Both sides count equally, however many transitions they have.

    :param probabilities: mean probability of being the expert's in each bin, shape (bins,); NaN
        where a bin is empty
    :param frequencies: share of the bin that is the expert's, shape (bins,)
    :param weights: share of all that lies in the bin, shape (bins,)
    :param accuracy: share that is told rightly
    :param brier_score: mean squared difference of probability and truth: 0.25 for always one half
    """

    probabilities: np.ndarray
    frequencies: np.ndarray
    weights: np.ndarray
    accuracy: float
    brier_score: float

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, equation 5)."""
        gaps = np.abs(self.probabilities - self.frequencies) * self.weights
        return float(np.nansum(gaps))


def discriminator_calibration(
    model: Any, demonstrations: Demonstrations, generated: Demonstrations, *, n_bins: int = 10
) -> Calibration:
    """Ask a discriminator about transitions whose origin is known.

    :param model: one with a discriminator: GAIL, AIRL, GAIfO
    :param demonstrations: of the expert; best those that it was not trained on
    :param generated: what the model's policy did, as `collect` records it
    :param n_bins: of equal width
    :raises InapplicableError: the model has no discriminator
    """
    if not hasattr(model, "predict_expert_probability"):
        raise InapplicableError(f"{type(model).__name__} has no discriminator")
    expert = model.predict_expert_probability(demonstrations)
    return calibration(expert, model.predict_expert_probability(generated), n_bins)


def calibration(expert: np.ndarray, generated: np.ndarray, n_bins: int = 10) -> Calibration:
    """The same from probabilities.

    :param expert: of the expert's transitions, shape (n,)
    :param generated: of the others, shape (m,)
    :raises UserError: `n_bins` is no positive number
    """
    if n_bins < 1:
        raise UserError(f"n_bins={n_bins} must be at least 1")
    probability = np.concatenate([expert, generated])
    truth = np.concatenate([np.ones(len(expert)), np.zeros(len(generated))])
    weight = np.where(truth == 1, 0.5 / len(expert), 0.5 / len(generated))
    place = np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)
    weights = np.bincount(place, weights=weight, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        probabilities, frequencies = (
            np.bincount(place, weights=weight * column, minlength=n_bins) / weights
            for column in (probability, truth)
        )
    return Calibration(
        probabilities,
        frequencies,
        weights,
        accuracy=float((weight * ((probability > 0.5) == truth)).sum()),
        brier_score=float((weight * (probability - truth) ** 2).sum()),
    )
