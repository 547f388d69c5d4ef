"""The statistics of a table, as the field reports them: Agarwal et al. 2021, arXiv:2108.13264.

One run's result is the mean return over its evaluation episodes; everything here works on those.
Where several tasks are put together, their runs are scores on a common scale, one array per task,
and intervals are stratified bootstrap intervals: runs are drawn again within each task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
N_RESAMPLES = 10_000
"""Of the bootstrap, for a single figure."""
N_PROFILE_RESAMPLES = 2_000
"""For each point of a performance profile."""

_SEED = 0
"""Of the bootstrap: a report that is written again from the same runs stays the same."""
_LARGEST_BATCH = 5_000_000
"""Numbers that a batch of resamples may hold."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    :param half_width: of the 95 % interval around the mean; None for a single seed
    """

    mean: float
    half_width: float | None
    n: int


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval.

    :param low: None, as `high`, where a task has a single run, from which none can be drawn
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Profile:
    """A performance profile: the share of the runs whose score lies above each threshold.

    :param thresholds: shape (points,)
    :param shares: shape (points,)
    :param low: shape (points,), pointwise 95 % interval; None where a task has a single run
    :param high: as `low`
    """

    thresholds: np.ndarray
    shares: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


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


def mean_score(tasks: Sequence[np.ndarray]) -> Interval:
    """The mean over the tasks of the mean score over runs.

    :param tasks: scores of the runs of each task, shapes (runs,)
    """
    return _interval(tasks, _mean)


def signed_sum(
    samples: Sequence[np.ndarray], signs: Sequence[int], offset: float = 0.0
) -> Interval:
    """A sum of means with signs, such as a difference, or one of differences.

    :param samples: one figure per run, shapes (runs,), each drawn from by itself
    :param signs: 1 or -1 for each of them
    :param offset: a number to add
    """

    def statistic(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        means = [sign * each.mean(axis=axis) for sign, each in zip(signs, drawn, strict=True)]
        total: np.ndarray = np.sum(means, axis=0) + offset
        return total

    return _interval(samples, statistic)


def interquartile_mean(tasks: Sequence[np.ndarray]) -> Interval:
    """The mean of the middle half of all runs' scores, which outliers do not move.

    :param tasks: scores of the runs of each task, shapes (runs,)
    """
    return _interval(tasks, _iqm)


def probability_of_improvement(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> Interval:
    """How likely a run of `x` is better than one of `y` in the same task, averaged over tasks.

    A tie counts half: this is the Mann-Whitney U statistic divided by the number of pairs.

    :param x: scores of the runs of each task, shapes (runs,)
    :param y: the same of another algorithm, for the same tasks
    """
    return _interval([*x, *y], _improvement)


def performance_profile(tasks: Sequence[np.ndarray], thresholds: np.ndarray) -> Profile:
    """The share of all runs whose score lies above each threshold.

    :param tasks: scores of the runs of each task, shapes (runs,)
    :param thresholds: shape (points,)
    """

    def shares(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        scores = np.concatenate(samples, axis=axis)
        return np.stack([(scores > threshold).mean(axis=axis) for threshold in thresholds])

    bounds = _bounds(tasks, shares, N_PROFILE_RESAMPLES)
    low, high = (None, None) if bounds is None else bounds
    return Profile(thresholds, shares(*tasks), low, high)


def _mean(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
    means: np.ndarray = np.mean([task.mean(axis=axis) for task in tasks], axis=0)
    return means


def _iqm(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
    means: np.ndarray = stats.trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis)
    return means


def _improvement(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """The first half of the samples are one algorithm's tasks, the second half the other's."""
    half = len(samples) // 2
    return _mean(
        *(
            np.sign(x[..., :, None] - y[..., None, :]).mean(axis=-1) / 2 + 0.5
            for x, y in zip(samples[:half], samples[half:], strict=True)
        ),
        axis=axis,
    )


def _interval(samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray]) -> Interval:
    value = float(statistic(*samples))
    bounds = _bounds(samples, statistic, N_RESAMPLES)
    return Interval(value) if bounds is None else Interval(value, *map(float, bounds))


def _bounds(
    samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], n_resamples: int
) -> tuple[Any, Any] | None:
    """Percentile bootstrap, each sample drawn from by itself; None where one has a single value."""
    if min(map(len, samples)) < 2:
        return None
    largest = max(sum(map(len, samples)), max(map(len, samples)) ** 2)
    found = stats.bootstrap(
        tuple(samples),
        statistic,
        vectorized=True,
        confidence_level=CONFIDENCE,
        n_resamples=n_resamples,
        batch=max(1, min(n_resamples, _LARGEST_BATCH // largest)),
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return found.low, found.high
