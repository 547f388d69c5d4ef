"""What a table says over all its tasks: scores, improvements and performance profiles.

A score is a return on the scale where random actions have 0 and the expert has 1. An algorithm that
has no runs in a task is judged by its other tasks, and their number is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sb3_il_plus.tables.statistics import (
    Interval,
    Profile,
    interquartile_mean,
    mean_score,
    performance_profile,
    probability_of_improvement,
)

ByTask = Mapping[str, np.ndarray]
"""Task -> one number per run."""

_N_THRESHOLDS = 101


@dataclass(frozen=True)
class Score:
    """One algorithm's score over tasks.

    :param name: of the algorithm
    :param tasks: scores of its runs by task, where it has some
    :param mean: over tasks, of the mean over runs
    :param iqm: interquartile mean over all runs
    """

    name: str
    tasks: ByTask
    mean: Interval
    iqm: Interval

    @property
    def n_runs(self) -> int:
        """Runs of all tasks."""
        return sum(map(len, self.tasks.values()))


@dataclass(frozen=True)
class Improvement:
    """How likely a run of one algorithm is better than one of another in the same task.

    :param n_tasks: in which both have runs
    """

    name: str
    baseline: str
    probability: Interval
    n_tasks: int


def score(name: str, tasks: ByTask) -> Score:
    """Put the runs of an algorithm together.

    :param tasks: scores of its runs by task, at least one
    """
    runs = list(tasks.values())
    return Score(name, tasks, mean_score(runs), interquartile_mean(runs))


def improvements(returns: Mapping[str, ByTask]) -> list[Improvement]:
    """Compare each algorithm with each other one.

    :param returns: algorithm -> returns of its runs by task. They need no common scale
    """
    found = []
    names = list(returns)
    for number, name in enumerate(names):
        for other in names[number + 1 :]:
            tasks = [task for task in returns[name] if task in returns[other]]
            if not tasks:
                continue
            chance = probability_of_improvement(
                [returns[name][task] for task in tasks], [returns[other][task] for task in tasks]
            )
            found.append(Improvement(name, other, chance, len(tasks)))
            found.append(Improvement(other, name, _opposite(chance), len(tasks)))
    return found


def profiles(scores: Sequence[Score]) -> dict[str, Profile]:
    """The performance profile of each algorithm, all at the same thresholds."""
    runs = [value for score in scores for values in score.tasks.values() for value in values]
    low, high = min([0.0, *runs]), max([1.0, *runs])
    thresholds = np.linspace(low, high, _N_THRESHOLDS)
    return {
        score.name: performance_profile(list(score.tasks.values()), thresholds) for score in scores
    }


def _opposite(chance: Interval) -> Interval:
    low, high = chance.low, chance.high
    return Interval(
        1 - chance.value, None if high is None else 1 - high, None if low is None else 1 - low
    )
