"""What a driver is shown: a few numbers about the lane, or the road from above as an image."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from sb3_il_plus.conditional.driving.roads import painted_town
from sb3_il_plus.conditional.driving.simulation import MAX_SPEED, Command, Outcome, Simulation
from sb3_il_plus.errors import UserError

Kind = Literal["vector", "image", "all"]

DISTANCE_UNIT, OFFSET_UNIT = 20.0, 4.0
"""Metres that 1 means in the first two numbers of `"road"`."""

_ENTRIES: dict[str, tuple[str, ...]] = {
    "vector": ("road",),
    "image": ("image",),
    "all": ("image", "road"),
}
_MAP_METRES = 0.25
_N_HEADINGS = 256


class View:
    """The road around a car from above, with the car's own direction upwards.

    :param pixels: side of the square image
    :param metres_per_pixel: its scale
    :param car_row: the row in which the car is, in its middle column
    """

    def __init__(self, pixels: int, metres_per_pixel: float, car_row: int) -> None:
        self.pixels, self.metres_per_pixel, self.car_row = pixels, metres_per_pixel, car_row

    @cached_property
    def _margin(self) -> int:
        # No pixel is further from the car than the image's diagonal.
        return int(np.ceil(1.5 * self.pixels * self.metres_per_pixel / _MAP_METRES))

    @cached_property
    def _map(self) -> np.ndarray:
        return painted_town(_MAP_METRES, self._margin)

    @cached_property
    def _steps_on_map(self) -> np.ndarray:
        """For each heading, how far in the flat map each pixel is from the car.

        With these, an image is one addition and one look-up.
        """
        rows, columns = np.mgrid[: self.pixels, : self.pixels].reshape(2, -1)
        forward = (self.car_row - rows) * self.metres_per_pixel
        right = (columns - self.pixels // 2) * self.metres_per_pixel
        angles = np.arange(_N_HEADINGS)[:, None] * (2 * np.pi / _N_HEADINGS)
        x = np.cos(angles) * forward + np.sin(angles) * right
        y = np.sin(angles) * forward - np.cos(angles) * right
        steps = np.rint(np.stack([y, x]) / _MAP_METRES).astype(np.int64)
        return steps[0] * self._map.shape[1] + steps[1]

    def images(self, positions: np.ndarray, headings: np.ndarray) -> np.ndarray:
        """What is around n cars.

        :param positions: shape (n, 2), within one period of the town
        :param headings: shape (n,)
        :return: shape (n, pixels, pixels, 3), bytes of red, green and blue
        """
        x, y = (positions / _MAP_METRES).astype(np.int64).T + self._margin
        turns = np.rint(headings * (_N_HEADINGS / (2 * np.pi))).astype(np.int64) % _N_HEADINGS
        places = self._steps_on_map[turns] + (y * self._map.shape[1] + x)[:, None]
        colours = np.ascontiguousarray(self._map).reshape(-1).take(places)
        shape = len(positions), self.pixels, self.pixels, 4
        return np.ascontiguousarray(colours.view(np.uint8).reshape(shape)[..., :3])


@cache
def view(pixels: int, metres_per_pixel: float, car_row: int) -> View:
    """The view of these measures; its tables are built once and shared."""
    return View(pixels, metres_per_pixel, car_row)


def driver_view() -> View:
    """What the driver sees: 64 by 64 pixels, 24 metres ahead and 8 behind."""
    return view(64, 0.5, 47)


def observation_space(kind: Kind) -> spaces.Dict:
    """The space of what is shown.

    :raises UserError: there is no such kind
    """
    if kind not in get_args(Kind):
        raise UserError(f"observation={kind!r} must be one of {', '.join(map(repr, _ENTRIES))}")
    low, high = np.array([[-1, -3, -1, -1], [2, 3, 1, 1]], dtype=np.float32)
    known: dict[str, spaces.Space] = {
        "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
        "road": spaces.Box(low, high, dtype=np.float32),
    }
    return spaces.Dict(
        {
            "command": spaces.Discrete(len(Command)),
            "speed": spaces.Box(0.0, 1.0, (1,), np.float32),
            **{name: known[name] for name in _ENTRIES[kind]},
        }
    )


def observe(
    simulation: Simulation, kind: Kind, copies: np.ndarray | slice = slice(None)
) -> dict[str, np.ndarray]:
    """What is shown in n copies.

    :param copies: which ones; all by default
    :return: `"command"` (n,), `"speed"` (n, 1) in units of the greatest one, and as `kind` says
        `"image"` (n, 64, 64, 3) and `"road"` (n, 4): distance to the middle of the junction ahead
        and offset to the left of the lane's middle (in `DISTANCE_UNIT` and `OFFSET_UNIT`), cosine
        and sine of the angle to the lane
    """
    shown: dict[str, np.ndarray] = {
        "command": simulation.commands[copies],
        "speed": (simulation.speeds[copies] / MAX_SPEED).astype(np.float32)[:, None],
    }
    if "road" in _ENTRIES[kind]:
        distance, offset, angle = (column[copies] for column in simulation.in_lane())
        columns = distance / DISTANCE_UNIT, offset / OFFSET_UNIT, np.cos(angle), np.sin(angle)
        road = np.stack(columns, axis=1).astype(np.float32)
        shown["road"] = np.clip(road, (-1, -3, -1, -1), (2, 3, 1, 1), dtype=np.float32)
    if "image" in _ENTRIES[kind]:
        shown["image"] = driver_view().images(
            simulation.positions[copies], simulation.headings[copies]
        )
    return shown


def infos(simulation: Simulation, outcome: Outcome) -> list[dict[str, Any]]:
    """What measures need of a step, for each copy.

    `is_success` (SB3's name), `off_road`, `missed_turn` and `distance` (metres since the episode
    began) in every step; `commanded` and `taken` in those that leave a junction.
    """
    columns = outcome.success, outcome.off_road, outcome.missed_turn, simulation.distances
    names = "is_success", "off_road", "missed_turn", "distance"
    found: list[dict[str, Any]] = [
        dict(zip(names, row, strict=True))
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]
    for copy in np.flatnonzero(outcome.at_exit).tolist():
        found[copy]["commanded"] = int(outcome.commanded[copy])
        found[copy]["taken"] = int(outcome.taken[copy])
    return found
