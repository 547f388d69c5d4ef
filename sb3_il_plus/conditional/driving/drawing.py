"""Frames of the driving task for people: the road, the car, and an arrow for its command."""

from __future__ import annotations

import numpy as np

from sb3_il_plus.conditional.driving.observing import view
from sb3_il_plus.conditional.driving.simulation import WHEELBASE, Command, Simulation

_PIXELS, _METRES, _CAR_ROW = 256, 0.125, 190
_CAR, _ARROW = (200, 40, 40), (250, 250, 250)


def draw(simulation: Simulation, copy: int = 0) -> np.ndarray:
    """One copy from above, the car's direction upwards, with the command in the upper left corner.

    :return: shape (256, 256, 3), bytes of red, green and blue
    """
    road = view(_PIXELS, _METRES, _CAR_ROW)
    frame = road.images(simulation.positions[[copy]], simulation.headings[[copy]])[0]
    length, width = int(WHEELBASE / _METRES), int(1.8 / _METRES)
    left = _PIXELS // 2 - width // 2
    frame[_CAR_ROW - length : _CAR_ROW, left : left + width] = _CAR
    arrow = _arrow(Command(int(simulation.commands[copy])))
    corner = frame[8 : 8 + len(arrow), 8 : 8 + len(arrow)]
    corner[arrow] = _ARROW
    return frame


def _arrow(command: Command, side: int = 33) -> np.ndarray:
    """Which pixels of a square are in the sign of a command; following has a bar without a head."""
    rows, columns = np.mgrid[:side, :side]
    beside = np.abs(columns - side // 2)
    shaft = (beside <= 3) & (rows >= (side // 2 if command else 0))
    upwards = shaft | ((beside <= rows) & (rows <= side // 2)) if command else shaft
    return np.rot90(upwards, {Command.LEFT: 1, Command.RIGHT: -1}.get(command, 0))
