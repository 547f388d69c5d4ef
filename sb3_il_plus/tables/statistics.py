"""The statistics of a table: means over seeds with their uncertainty, and normalised returns.

One seed's result is the mean return over its evaluation episodes; everything here works on those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    :param half_width: of the 95 % interval around the mean; None for a single seed
    """

    mean: float
    half_width: float | None
    n: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean with Student's t-interval, which is wide for few seeds, as it has to be.

    :param values: one per seed, at least one
    """
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Estimate(mean, None, n)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, df=n - 1)
    return Estimate(mean, float(quantile * stats.sem(values)), n)


def share_above_random(value: float, random: float, expert: float) -> float | None:
    """Where a return lies between the random policy's (0) and the expert's (1).

    :return: None where the expert is no better than random, so that there is nothing to share
    """
    return (value - random) / (expert - random) if expert > random else None
