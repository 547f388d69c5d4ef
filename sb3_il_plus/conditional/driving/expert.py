"""The scripted driver: it follows the lane, and in junctions the arc that its command asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sb3_il_plus.conditional.driving.observing import DISTANCE_UNIT, OFFSET_UNIT
from sb3_il_plus.conditional.driving.roads import BOX, LANE
from sb3_il_plus.conditional.driving.simulation import (
    BRAKE,
    MAX_SPEED,
    MAX_STEERING,
    THROTTLE,
    WHEELBASE,
    Command,
)
from sb3_il_plus.errors import InapplicableError

_CRUISE, _LEFT_SPEED, _RIGHT_SPEED = 7.0, 5.0, 4.0
"""Metres per second."""
_DECELERATION = 1.5
_OFFSET_GAIN, _ANGLE_GAIN = 0.08, 0.5
"""Curvature (1/m) for each metre beside the path, and for each radian against it."""
_RAMP = 4.0
"""Metres over which the steering wheel is turned for an arc."""


class DrivingExpert:
    """Drives as told, from the entries `"road"`, `"speed"` and `"command"` of an observation.

    It has SB3's `predict`, so that it can be recorded, evaluated, and asked by DAgger.
    """

    def predict(
        self,
        observation: Mapping[str, np.ndarray],
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Steering and pedal.

        :param observation: of one car, or of n
        :return: actions of shape (2,) or (n, 2), and the state, which there is none
        :raises InapplicableError: there is no entry `"road"`
        """
        if "road" not in observation:
            raise InapplicableError(
                "DrivingExpert reads the entry 'road', and the observation has only "
                f"{sorted(observation)}; observation='all' shows images and 'road'"
            )
        road = np.asarray(observation["road"], dtype=np.float64)
        distance, offset = road[..., 0] * DISTANCE_UNIT, road[..., 1] * OFFSET_UNIT
        angle = np.arctan2(road[..., 3], road[..., 2])
        speed = np.asarray(observation["speed"], dtype=np.float64)[..., 0] * MAX_SPEED
        command = np.asarray(observation["command"])
        steering = _steering(distance, offset, angle, command)
        actions = np.stack([steering, _pedal(distance, speed, command)], axis=-1)
        return np.clip(actions, -1, 1).astype(np.float32), state


def _steering(
    distance: np.ndarray, offset: np.ndarray, angle: np.ndarray, command: np.ndarray
) -> np.ndarray:
    side = np.select([command == Command.LEFT, command == Command.RIGHT], [1.0, -1.0], 0.0)
    # Arcs are about a corner of the junction: a wide one to the left, a narrow one to the right.
    radius = np.where(side > 0, BOX + LANE / 2, BOX - LANE / 2)
    beyond_entry, to_centre = BOX - distance, radius - side * offset
    turned = np.arctan2(beyond_entry, to_centre)
    on_arc = (side != 0) & (beyond_entry > 0)
    outside = np.where(on_arc, np.hypot(beyond_entry, to_centre) - radius, -side * offset)
    error_left = np.where(side != 0, -side * outside, offset)
    error_angle = np.where(on_arc, angle - side * turned, angle)
    along_arc = np.where(on_arc, radius * turned, beyond_entry)
    to_end = radius * np.pi / 2 - along_arc
    share = np.clip((np.minimum(along_arc, to_end) + _RAMP / 2) / _RAMP, 0, 1)
    curvature = side / radius * share
    curvature -= _OFFSET_GAIN * error_left + _ANGLE_GAIN * np.sin(error_angle)
    return np.arctan(WHEELBASE * curvature) / MAX_STEERING


def _pedal(distance: np.ndarray, speed: np.ndarray, command: np.ndarray) -> np.ndarray:
    in_turn = np.select(
        [command == Command.LEFT, command == Command.RIGHT], [_LEFT_SPEED, _RIGHT_SPEED], _CRUISE
    )
    to_entry = np.maximum(distance - BOX, 0)
    wanted = np.minimum(_CRUISE, np.sqrt(in_turn**2 + 2 * _DECELERATION * to_entry))
    acceleration = 2.0 * (wanted - speed)
    return acceleration / np.where(acceleration > 0, THROTTLE, BRAKE)
