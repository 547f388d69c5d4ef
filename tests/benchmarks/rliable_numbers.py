"""rliable's figures for the scores of tests/tables/test_statistics.py, which holds them.

rliable stands beside the project, not in it, since its dependencies do not fit those of others:

    pip install --no-deps --target rliable_only rliable==1.2.0 arch==8.0.0 "pandas<3" statsmodels \
        patsy absl-py python-dateutil pytz
    PYTHONPATH=rliable_only python tests/benchmarks/rliable_numbers.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from arch.bootstrap import IIDBootstrap
from rliable import library, metrics

A = [[0.91, 0.88, 1.02, 0.35, 0.95], [0.42, 0.35, 0.58, 0.49, 0.61], [0.77, 0.81, 0.64, 0.93, 0.7]]
B = [[0.72, 0.93, 0.85, 0.64], [0.51, 0.22, 0.31, 0.49], [0.55, 0.61, 0.78, 0.42]]
THRESHOLDS = [0.3, 0.5, 0.7, 0.9]

_init = IIDBootstrap.__init__


def _without_random_state(self: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> None:
    """`arch` 8 knows no such argument; rliable draws from NumPy's global generator anyway."""
    _init(self, *args, **kwargs)


def main() -> None:
    """Print points and intervals; rliable wants an array of shape (runs, tasks)."""
    IIDBootstrap.__init__ = _without_random_state
    np.random.seed(0)
    a, b = np.array(A).T, np.array(B).T
    both = {"mean": metrics.aggregate_mean, "iqm": metrics.aggregate_iqm}
    for name, metric in both.items():
        print(name, *library.get_interval_estimates({"a": a, "b": b}, metric, reps=20_000))
    pairs = {"a,b": (a, b)}
    improvement = metrics.probability_of_improvement
    print("improvement", *library.get_interval_estimates(pairs, improvement, reps=5_000))
    print("profile", *library.create_performance_profile({"a": a}, np.array(THRESHOLDS)))


if __name__ == "__main__":
    main()
