"""The town of the driving task: a grid of two-way streets that repeats itself in all directions.

Streets run along both axes at irregular distances and cross in junctions with rounded corners.
Traffic keeps to the right. Lengths are metres, angles radians counted from the x-axis, and a
direction is a number of quarter turns: 0 for +x, 1 for +y, 2 for -x, 3 for -y. Everything is
computed for many positions at once.
"""

from __future__ import annotations

from functools import cache

import numpy as np

STREETS = np.array([0.0, 48.0, 104.0, 148.0])
"""Where the middles of streets are, along either axis."""
PERIOD = 200.0
"""After this distance the town repeats itself."""
LANE = 4.0
"""Width of a lane; a street has one in each direction."""
BOX = 8.0
"""Half of a junction's side: from its middle to where its arms begin, and turns with them."""
CORNER = BOX - LANE
"""Radius of the kerb at a junction's corners."""

_PAINT = {
    "grass": (86, 125, 70),
    "asphalt": (90, 90, 96),
    "kerb": (225, 225, 225),
    "line": (230, 190, 60),
}


def wrapped(offsets: np.ndarray) -> np.ndarray:
    """The shortest of the offsets that mean the same in a town that repeats itself."""
    return (offsets + PERIOD / 2) % PERIOD - PERIOD / 2


def road_margin(positions: np.ndarray) -> np.ndarray:
    """How far inside the road's edge positions are; negative off the road.

    :param positions: shape (n, 2)
    :return: shape (n,)
    """
    # Streets are few, so the nearest one is found by comparing all of them.
    across = np.abs(wrapped(positions[:, :, None] - STREETS)).min(axis=2)
    on_street = LANE - across.min(axis=1)
    to_corner = np.maximum(BOX - across, 0.0)
    on_junction = np.hypot(to_corner[:, 0], to_corner[:, 1]) - CORNER
    return np.where(across.max(axis=1) < BOX, on_junction, on_street)


@cache
def painted_town(metres_per_pixel: float, margin: int) -> np.ndarray:
    """The town from above, with a margin so that a view across its edge is in one piece.

    :param margin: pixels by which the picture goes on beyond one period, on every side
    :return: shape (side, side), uint32 whose lower three bytes are red, green and blue; the axes
        are y and x
    """
    side = round(PERIOD / metres_per_pixel)
    middles = (np.arange(side) + 0.5) * metres_per_pixel
    y, x = np.meshgrid(middles, middles, indexing="ij")
    positions = np.stack([x.ravel(), y.ravel()], axis=1)
    inside = road_margin(positions).reshape(side, side)
    picture = np.full((side, side), _colour("grass"), dtype=np.uint32)
    picture[inside > 0] = _colour("asphalt")
    picture[(inside > 0) & (inside < 0.5)] = _colour("kerb")
    x_across, y_across = (
        np.abs(wrapped(middles[:, None] - STREETS)).min(axis=1) for _ in ("x", "y")
    )
    dashes = middles % 4.0 < 2.0
    for line in (
        (x_across[None, :] < 0.25) & (y_across[:, None] > BOX) & dashes[:, None],
        (y_across[:, None] < 0.25) & (x_across[None, :] > BOX) & dashes[None, :],
    ):
        picture[line] = _colour("line")
    town = np.pad(picture, margin, mode="wrap")
    town.flags.writeable = False
    return town


def _colour(name: str) -> int:
    return int.from_bytes(bytes(_PAINT[name]), "little")
