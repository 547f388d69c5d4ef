"""The keys that suit environments people often record, by the beginning of their id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Default:
    """Keys of a family of environments.

    :param keys: as for `key_map`
    :param turns: whether it waits for a key before each step
    """

    keys: Mapping[str, Any]
    turns: bool = False


_PUSH = {"left": 0, "right": 2, "none": 1}

# Forward, pick up, drop, use, and done.
_GRID = Default({"left": 0, "right": 1, "up": 2, "a": 3, "d": 4, "space": 5, "x": 6}, turns=True)

DEFAULTS = {
    # Without a key, the cart is pushed in the same direction once more: there is no third choice.
    "CartPole": Default({"left": 0, "right": 1}),
    "MountainCar": Default(_PUSH),
    "MountainCarContinuous": Default({"left": -1.0, "a": -0.5, "d": 0.5, "right": 1.0}),
    "Acrobot": Default(_PUSH),
    # A positive torque turns to the left.
    "Pendulum": Default({"left": 2.0, "a": 1.0, "d": -1.0, "right": -2.0}),
    "LunarLander": Default({"none": 0, "left": 1, "up": 2, "right": 3}),
    "LunarLanderContinuous": Default({"left": [0, -1], "right": [0, 1], "up": [1, 0]}),
    "CarRacing": Default(
        {"left": [-1, 0, 0], "right": [1, 0, 0], "up": [0, 1, 0], "down": [0, 0, 1]}
    ),
    "FrozenLake": Default({"left": 0, "down": 1, "right": 2, "up": 3}, turns=True),
    "CliffWalking": Default({"up": 0, "right": 1, "down": 2, "left": 3}, turns=True),
    "Taxi": Default({"down": 0, "up": 1, "right": 2, "left": 3, "a": 4, "d": 5}, turns=True),
    "MiniGrid": _GRID,
    "BabyAI": _GRID,
    # Steering to the left is positive; half of it is enough for a lane.
    "Driving": Default({"left": [0.5, 0], "right": [-0.5, 0], "up": [0, 1], "down": [0, -1]}),
}
"""Beginning of the id, without its namespace -> keys."""


def default_keys(env_id: str) -> Default | None:
    """Keys for an environment; None where we know none."""
    name = env_id.rpartition("/")[2]
    fitting = [beginning for beginning in DEFAULTS if name.startswith(beginning)]
    return DEFAULTS[max(fitting, key=len)] if fitting else None
