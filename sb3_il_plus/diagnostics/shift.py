"""Covariate shift: how far an imitator gets from the states that its expert visits.

The distance of two sets of states is the energy distance (Szekely and Rizzo 2013, equation 5),
which is 0 for equal distributions and needs no bins, densities or trained classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from gymnasium import spaces
from scipy.spatial.distance import cdist

from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.diagnostics.windows import centres, step_in_episode, windows
from sb3_il_plus.errors import DataError, InapplicableError

_LEAST_SPREAD = 1e-8


@dataclass(frozen=True)
class CovariateShift:
    """Distance of visited states to the expert's along an episode.

    :param steps: the middle of each part of an episode, shape (parts,)
    :param distances: energy distance of both sides' states there, shape (parts,), in units of the
        expert's standard deviations; NaN where one side has fewer than two states
    :param floor: the same between two halves of the expert's own episodes: what chance alone gives
    """

    steps: np.ndarray
    distances: np.ndarray
    floor: np.ndarray

    @property
    def mean(self) -> float:
        """Mean distance over the parts."""
        return float(np.nanmean(self.distances))


def covariate_shift(
    demonstrations: Demonstrations,
    visited: Demonstrations,
    *,
    n_windows: int = 10,
    max_states: int = 1000,
    seed: int = 0,
) -> CovariateShift:
    """Compare the states of an imitator with those of its expert, at the same time of an episode.

    :param demonstrations: of the expert, at least two episodes
    :param visited: what the imitator did, as `collect` records it
    :param n_windows: parts of the longest episode
    :param max_states: of each side in each part, drawn at random where there are more; time and
        memory grow with the square of it
    :param seed: of that draw, and of which episodes make up a half
    :raises DataError: there are fewer than two episodes of the expert
    :raises InapplicableError: both sides have different observations, or such as have no distance
    """
    if demonstrations.observation_space != visited.observation_space:
        raise InapplicableError(
            f"observations of {demonstrations.observation_space} cannot be compared with those of "
            f"{visited.observation_space}"
        )
    n_episodes = demonstrations.n_episodes
    if n_episodes < 2:
        raise DataError(
            f"{n_episodes} episode of the expert tells nothing of chance; collect two or more"
        )
    rng = np.random.default_rng(seed)
    longest = max(demonstrations.episode_lengths.max(), visited.episode_lengths.max())
    bounds = windows(int(longest), n_windows)
    expert = _vectors(demonstrations)
    scale = np.maximum(expert.std(axis=0), _LEAST_SPREAD)
    halves = np.isin(demonstrations.episode_index, rng.permutation(n_episodes)[: n_episodes // 2])
    sides = expert / scale, _vectors(visited) / scale
    steps = step_in_episode(demonstrations), step_in_episode(visited)
    distances, floor = [], []
    for start, stop in pairwise(bounds):
        there, here = ((start <= step) & (step < stop) for step in steps)
        draw = _Draw(max_states, rng)
        distances.append(energy_distance(draw(sides[0][there]), draw(sides[1][here])))
        floor.append(
            energy_distance(draw(sides[0][there & halves]), draw(sides[0][there & ~halves]))
        )
    return CovariateShift(centres(bounds), np.array(distances), np.array(floor))


def energy_distance(left: np.ndarray, right: np.ndarray) -> float:
    """The square root of 2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased and cut at 0.

    :param left: shape (n, dimension)
    :param right: shape (m, dimension)
    :return: NaN where n or m is less than two
    """
    n, m = len(left), len(right)
    if min(n, m) < 2:
        return float("nan")
    within = cdist(left, left).sum() / (n * (n - 1)) + cdist(right, right).sum() / (m * (m - 1))
    return float(np.sqrt(max(0.0, 2 * cdist(left, right).mean() - within)))


@dataclass(frozen=True)
class _Draw:
    """At most so many rows."""

    most: int
    rng: np.random.Generator

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        if len(rows) <= self.most:
            return rows
        return rows[self.rng.choice(len(rows), self.most, replace=False)]


def _vectors(demonstrations: Demonstrations) -> np.ndarray:
    """The observation before each action as a vector, choices one-hot; shape (N, dimension)."""
    index = np.arange(len(demonstrations))
    return np.concatenate(
        list(_parts(demonstrations.observations_at(index), demonstrations.observation_space)),
        axis=1,
    )


def _parts(observations: Columns, space: spaces.Space) -> list[np.ndarray]:
    if isinstance(observations, Mapping):
        assert isinstance(space, spaces.Dict)
        return [part for key, column in observations.items() for part in _parts(column, space[key])]
    if isinstance(space, spaces.Discrete):
        return [np.eye(int(space.n))[np.asarray(observations).reshape(-1) - int(space.start)]]
    if not isinstance(space, (spaces.Box, spaces.MultiBinary)):
        raise InapplicableError(f"observations of {space} have no distance")
    return [np.asarray(observations, dtype=np.float64).reshape(len(observations), -1)]
