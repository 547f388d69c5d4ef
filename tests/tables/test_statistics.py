"""The statistics against rliable's own numbers, and against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sb3_il_plus.tables.statistics import (
    Interval,
    estimate,
    interquartile_mean,
    mean_score,
    performance_profile,
    probability_of_improvement,
    share_above_random,
)

A = [[0.91, 0.88, 1.02, 0.35, 0.95], [0.42, 0.35, 0.58, 0.49, 0.61], [0.77, 0.81, 0.64, 0.93, 0.7]]
B = [[0.72, 0.93, 0.85, 0.64], [0.51, 0.22, 0.31, 0.49], [0.55, 0.61, 0.78, 0.42]]


def _tasks(scores: list[list[float]]) -> list[np.ndarray]:
    return [np.array(runs) for runs in scores]


def _check(found: Interval, value: float, low: float, high: float) -> None:
    assert found.value == pytest.approx(value, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)


def test_rliables_numbers() -> None:
    # Printed by tests/benchmarks/rliable_numbers.py, which says how to run it: rliable 1.2.0.
    # Its intervals are other draws, so they differ in the third decimal from seed to seed.
    a, b = _tasks(A), _tasks(B)
    _check(mean_score(a), 0.694, 0.6053, 0.7653)
    _check(mean_score(b), 0.585833, 0.5175, 0.6533)
    _check(interquartile_mean(a), 0.71, 0.5856, 0.7922)
    _check(interquartile_mean(b), 0.586667, 0.5083, 0.67)
    improvement = probability_of_improvement(a, b)
    assert improvement.value == pytest.approx(0.758333, abs=1e-6)
    assert (improvement.low, improvement.high) == pytest.approx((0.5417, 0.9333), abs=0.03)
    profile = performance_profile(a, np.array([0.3, 0.5, 0.7, 0.9]))
    assert profile.shares == pytest.approx([1, 11 / 15, 7 / 15, 4 / 15])
    assert profile.low is not None and profile.high is not None
    # A share is a multiple of 1/15, and so are the ends of its interval.
    assert profile.low == pytest.approx([1, 8 / 15, 4 / 15, 1 / 15], abs=0.067)
    assert profile.high == pytest.approx([1, 14 / 15, 10 / 15, 7 / 15], abs=0.067)


def test_worked_out_by_hand() -> None:
    # 8 runs: the two lowest and the two highest do not count.
    assert interquartile_mean([np.array([-9.0, 1, 2, 3]), np.array([4.0, 5, 6, 99])]).value == 3.5
    # Tasks count alike, however many of their runs there are.
    assert mean_score([np.array([1.0, 1, 1]), np.array([0.0])]).value == 0.5
    x, y = np.array([1.0, 3]), np.array([2.0, 3, 0])
    wins = (0 + 0 + 1) + (1 + 0.5 + 1)
    assert probability_of_improvement([x], [y]).value == pytest.approx(wins / 6)
    assert probability_of_improvement([y], [x]).value == pytest.approx(1 - wins / 6)
    u = stats.mannwhitneyu(x, y).statistic
    assert probability_of_improvement([x], [y]).value == pytest.approx(u / 6)


def test_a_single_run_has_no_interval() -> None:
    tasks = [np.array([0.5, 0.7]), np.array([0.9])]
    assert mean_score(tasks) == Interval(0.75)
    assert interquartile_mean(tasks).low is None
    assert performance_profile(tasks, np.array([0.6])).high is None


def test_the_same_runs_give_the_same_interval() -> None:
    assert mean_score(_tasks(A)) == mean_score(_tasks(A))
    same = mean_score([np.full(3, 0.2)])
    assert (same.low, same.high) == pytest.approx((0.2, 0.2))


def test_draws_stay_within_their_task() -> None:
    # Drawn from all runs together, the mean of these would lie anywhere between 0 and 1.
    tasks = [np.zeros(4), np.ones(4)]
    found = mean_score(tasks)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_t_interval() -> None:
    figures = estimate([1.0, 2.0, 6.0])
    # mean 3, sample standard deviation sqrt(7), t quantile for two degrees of freedom 4.3027
    assert figures.mean == 3
    assert figures.half_width == pytest.approx(4.3027 * 7**0.5 / 3**0.5, rel=1e-4)
    interval = stats.t.interval(0.95, 2, loc=3, scale=stats.sem([1, 2, 6]))
    assert figures.mean + (figures.half_width or 0) == pytest.approx(interval[1])
    assert estimate([5.0]).half_width is None


def test_share_above_random() -> None:
    assert share_above_random(75, random=50, expert=100) == 0.5
    assert share_above_random(40, random=50, expert=100) == -0.2
    assert share_above_random(60, random=50, expert=50) is None
