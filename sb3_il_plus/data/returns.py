"""What the rest of an episode earned: the returns that values are compared with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def returns_to_go(rewards: np.ndarray, offsets: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted sum of the rewards from each step to its episode's end, shape (N,), float32.

    :param rewards: shape (N,)
    :param offsets: where episodes begin, and the end of the last one
    """
    returns = np.empty(len(rewards), dtype=np.float32)
    for start, stop in pairwise(offsets):
        following = 0.0
        for step in range(stop - 1, start - 1, -1):
            following = rewards[step] + gamma * following
            returns[step] = following
    return returns
