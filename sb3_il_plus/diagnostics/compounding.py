"""Compounding error: how fast an imitator falls behind its expert along an episode.

A clone that errs with probability e in each step, and then is where the expert never was, loses up
to e T^2 over T steps; one that learned in its own states loses up to a multiple of e T (Ross and
Bagnell 2010, theorem 2.1; Ross et al. 2011, theorem 3.2). The exponent tells which it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError

_CONFIDENCE = 0.95
_FEWEST_POINTS = 3
"""Horizons with a loss, of which a slope means something."""


@dataclass(frozen=True)
class CompoundingError:
    """What an imitator has lost by each step of an episode.

    :param steps: horizons, shape (T,): 1, ..., T
    :param regret: the expert's mean return up to there minus the imitator's, shape (T,)
    :param low: pointwise 95 % bootstrap interval over the episodes of both, shape (T,)
    :param high: as `low`
    :param exponent: slope of log regret against log steps: 1 where errors add up, towards 2 where
        they compound. NaN where there is no regret to fit
    :param exponent_interval: its 95 % bootstrap interval
    """

    steps: np.ndarray
    regret: np.ndarray
    low: np.ndarray
    high: np.ndarray
    exponent: float
    exponent_interval: tuple[float, float]


def compounding_error(
    demonstrations: Demonstrations,
    visited: Demonstrations,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> CompoundingError:
    """Measure regret against the horizon.

    An episode that ends early earns nothing after its end.

    :param demonstrations: of the expert, with rewards
    :param visited: what the imitator did, with rewards, as `collect` records it
    :param n_resamples: of the bootstrap
    :param seed: of it
    :raises DataError: rewards are missing
    """
    horizon = int(max(demonstrations.episode_lengths.max(), visited.episode_lengths.max()))
    expert, imitator = (_returns(side, horizon) for side in (demonstrations, visited))
    rng = np.random.default_rng(seed)
    resampled = np.array(
        [_drawn_mean(expert, rng) - _drawn_mean(imitator, rng) for _ in range(n_resamples)]
    )
    steps = np.arange(1, horizon + 1)
    regret = expert.mean(axis=0) - imitator.mean(axis=0)
    ends = [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]
    low, high = np.quantile(resampled, ends, axis=0)
    slopes = np.array([growth_exponent(steps, each) for each in resampled])
    slopes = slopes[np.isfinite(slopes)]
    interval = np.quantile(slopes, ends) if len(slopes) else np.full(2, np.nan)
    return CompoundingError(
        steps,
        regret,
        low,
        high,
        growth_exponent(steps, regret),
        (float(interval[0]), float(interval[1])),
    )


def growth_exponent(steps: np.ndarray, regret: np.ndarray) -> float:
    """Least-squares slope of log regret against log steps, where there is regret.

    :param steps: shape (T,)
    :param regret: shape (T,)
    :return: NaN where it is positive at fewer than three horizons
    """
    lost = regret > 0
    if lost.sum() < _FEWEST_POINTS:
        return float("nan")
    return float(np.polyfit(np.log(steps[lost]), np.log(regret[lost]), 1)[0])


def _drawn_mean(returns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mean: np.ndarray = returns[rng.integers(len(returns), size=len(returns))].mean(axis=0)
    return mean


def _returns(side: Demonstrations, horizon: int) -> np.ndarray:
    """Each episode's return up to each step, shape (E, horizon)."""
    if side.rewards is None:
        raise DataError("a loss is measured in rewards, and these episodes have none")
    earned = np.zeros((side.n_episodes, horizon))
    for number, episode in enumerate(side.episodes()):
        earned[number, : len(episode.actions)] = episode.rewards
    return earned.cumsum(axis=1)
