"""Fair ratios: two contenders take turns in one process on one thread, and medians are compared."""

import statistics
import time
from collections.abc import Callable

import torch as th


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(
    ours: Callable[[], Callable[[], object]],
    theirs: Callable[[], Callable[[], object]],
    repeats: int = 5,
) -> tuple[float, float]:
    """Median seconds of both. Each argument builds a fresh contender and returns what is timed."""
    th.set_num_threads(1)
    ours()(), theirs()()  # warm up: imports, allocators, first-call compilation
    pairs = [(seconds(ours()), seconds(theirs())) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
