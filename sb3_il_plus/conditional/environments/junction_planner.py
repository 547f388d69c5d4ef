"""The scripted driver for `intersection.py`: it follows its route, and keeps clear of the others.

Of a few speeds that it could take up, it takes the highest one at which it hits nobody within the
next seconds, if the others go on along their routes as fast as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SPACING = 0.5
"""Metres between points of the route."""
_SPEEDS = np.array([8.0, 6.0, 4.0, 2.0, 0.0])
"""Metres per second, in the order of preference."""
_TURN_SPEED = 6.0
_ACCELERATION, _DECELERATION = 3.0, 5.0
_TIMES = np.arange(0.2, 4.01, 0.2)
_CIRCLES = np.array([-1.7, 0.0, 1.7])
"""A car is three circles, so many metres before its middle."""
_CLEARANCE = 3.4
"""Metres between the middles of two circles, at least; with cars 2 m wide."""
_FAR = 45.0
_WHEELBASE = 5.0


class JunctionPlanner:
    """Plans for one car with one exit.

    :param network: highway-env's, of the roads
    :param exit_node: where to leave
    """

    def __init__(self, network: Any, exit_node: str) -> None:
        inside, behind = "ir0", f"il{exit_node[1]}"
        lanes = [("o0", inside, 0), (inside, behind, 0), (behind, exit_node, 0)]
        pieces = [network.get_lane(index) for index in lanes]
        points = [
            lane.position(along, 0)
            for lane in pieces
            for along in np.arange(0, lane.length, _SPACING)
        ]
        self._points = np.array(points)
        steps = np.diff(self._points, axis=0)
        headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        self._headings = np.append(headings, headings[-1])
        self._along = np.append(0.0, np.cumsum(np.linalg.norm(steps, axis=1)))
        before, turn = pieces[0].length, pieces[1].length
        self._turns = (before, before + turn) if exit_node != "o2" else (np.inf, np.inf)

    def plan(self, car: Any, others: Sequence[Any]) -> tuple[float, float]:
        """Acceleration in m/s², and steering angle in radians."""
        distances = np.linalg.norm(self._points - car.position, axis=1)
        here = int(distances.argmin())
        speed = float(car.speed)
        return self._acceleration(here, speed, car, others), self._steering(here, car)

    def _steering(self, here: int, car: Any) -> float:
        """Pure pursuit (Coulter 1992)."""
        ahead = 2.5 + 0.35 * max(car.speed, 0.0)
        target = self._points[min(here + round(ahead / _SPACING), len(self._points) - 1)]
        offset = target - car.position
        angle = np.arctan2(offset[1], offset[0]) - car.heading
        distance = max(float(np.linalg.norm(offset)), 1.0)
        return float(np.arctan(2 * _WHEELBASE * np.sin(angle) / distance))

    def _acceleration(self, here: int, speed: float, car: Any, others: Sequence[Any]) -> float:
        travelled, speeds = self._profiles(self._along[here], speed)
        near = [o for o in others if np.linalg.norm(o.position - car.position) < _FAR]
        times_hit = np.full(len(_SPEEDS), np.inf)
        if near:
            ours = _circles(*self._at(travelled))
            theirs = np.stack([_circles(*_predicted(other)) for other in near])
            gaps = ours[:, None, :, :, None, :] - theirs[None, :, :, None, :, :]
            hits = (np.linalg.norm(gaps, axis=-1) < _CLEARANCE).any(axis=(1, 3, 4))
            first = hits.argmax(axis=1)
            times_hit = np.where(hits.any(axis=1), _TIMES[first], np.inf)
        chosen = int(times_hit.argmax())
        return float((speeds[chosen, 0] - speed) / _TIMES[0])

    def _profiles(self, along: float, speed: float) -> tuple[np.ndarray, np.ndarray]:
        """Way travelled and speed at each time, shape (number of speeds, number of times)."""
        step = _TIMES[0]
        way, now = np.full(len(_SPEEDS), along), np.full(len(_SPEEDS), speed)
        ways, speeds = [], []
        for _ in _TIMES:
            to_turn = np.maximum(self._turns[0] - way, 0)
            in_or_before = way < self._turns[1]
            limit = np.where(
                in_or_before, np.sqrt(_TURN_SPEED**2 + 2 * 0.6 * _DECELERATION * to_turn), np.inf
            )
            wanted = np.minimum(_SPEEDS, limit)
            now = now + np.clip(wanted - now, -_DECELERATION * step, _ACCELERATION * step)
            way = way + now * step
            ways.append(way)
            speeds.append(now)
        return np.stack(ways, axis=1), np.stack(speeds, axis=1)

    def _at(self, travelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions, shape (..., 2), and headings, shape (...), so far along the route."""
        x, y = (np.interp(travelled, self._along, self._points[:, axis]) for axis in (0, 1))
        return np.stack([x, y], axis=-1), np.interp(travelled, self._along, self._headings)


def _predicted(other: Any) -> tuple[np.ndarray, np.ndarray]:
    positions, headings = other.predict_trajectory_constant_speed(_TIMES)
    return np.array(positions), np.array(headings)


def _circles(positions: np.ndarray, headings: np.ndarray) -> np.ndarray:
    """The circles' middles, shape (..., 3, 2)."""
    forward = np.stack([np.cos(headings), np.sin(headings)], axis=-1)
    return positions[..., None, :] + _CIRCLES[:, None] * forward[..., None, :]
