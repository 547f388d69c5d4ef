"""highway-env's junction with traffic (`pip install 'sb3_il_plus[highway]'`), and an exit as told.

    env = intersection_env()
    data = collect(EnvironmentExpert(env), env, n_episodes=500)

The car comes from the south and has to leave to the west, north or east, as the command says. It
steers and accelerates itself; other cars drive by highway-env's model and often have priority.
"""

from __future__ import annotations

import warnings
from copy import copy
from enum import IntEnum
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_il_plus.conditional.commands import COMMAND
from sb3_il_plus.conditional.environments.advice import SuccessReturn
from sb3_il_plus.conditional.environments.junction_planner import JunctionPlanner
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import MissingExtraError, UserError

N_CARS = 8
"""Other cars that are observed, the nearest first."""
EGO_SIZE, CAR_SIZE = 7, 10
_DISTANCE, _SPEED = 50.0, 10.0
"""Metres, and metres per second, that are observed as 1."""


class Exit(IntEnum):
    """Where to leave; the number is the command."""

    LEFT = 0
    STRAIGHT = 1
    RIGHT = 2


_NODES = {Exit.LEFT: "o1", Exit.STRAIGHT: "o2", Exit.RIGHT: "o3"}
_EXITS = {node: exit_ for exit_, node in _NODES.items()}


def intersection_env(
    *, policy_frequency: int = 5, duration: float = 20.0, render_mode: str | None = None
) -> gym.Env:
    """`intersection-v1`, observed as `CommandedExit` says, with a commanded exit.

    The return of an episode is 1 where the car leaves as told, and 0 where it crashes, leaves
    elsewhere, or is too slow.

    :param policy_frequency: actions in a second; highway-env's default of 1 leaves too few in a
        turn to steer by
    :param duration: seconds after which an episode is cut; highway-env's 13 are too few to let
        others pass
    :param render_mode: as of any environment
    :raises MissingExtraError: highway-env is not installed
    """
    _import_highway()
    config = {
        "policy_frequency": policy_frequency,
        "duration": duration,
        # What highway-env would observe is replaced, and this is what costs least.
        "observation": {"type": "AttributesObservation", "attributes": ["time"]},
    }
    with warnings.catch_warnings():
        # gymnasium takes highway-env's v2 for a newer version; it is one with other actions.
        warnings.filterwarnings("ignore", "(?s).*intersection-v1 is out of date")
        env = make_env(
            "intersection-v1", config=config, render_mode=render_mode, disable_env_checker=True
        )
    return SuccessReturn(CommandedExit(env), "obeyed")


class CommandedExit(gym.Wrapper):
    """Draws a command for each episode, observes the cars, and tells whether it was obeyed.

    `"ego"` has position, direction, speeds and rate of turning, shape (7,); `"traffic"` has for
    each of the nearest cars whether it is there, its position and velocity seen from ours, its
    direction, and where it wants to leave, as highway-env's `observe_intentions` tells, too, shape
    (8, 10). `info["obeyed"]` says whether the car has left where it should; once it has left,
    the info has `"commanded"` and `"taken"`, where -1 is back to the south.

    :param env: `intersection-v1`
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Dict(
            {
                "ego": spaces.Box(-np.inf, np.inf, (EGO_SIZE,), np.float32),
                "traffic": spaces.Box(-np.inf, np.inf, (N_CARS, CAR_SIZE), np.float32),
                COMMAND: spaces.Discrete(len(Exit)),
            }
        )
        self._command = Exit.STRAIGHT
        self._planner: JunctionPlanner | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode.

        :param options: `{"command": Exit.LEFT}` for one of your choice
        :raises UserError: there is no such command
        """
        options = dict(options or {})
        command = options.pop(COMMAND, None)
        if command is not None and command not in list(Exit):
            raise UserError(f"command={command!r} must be one of {[int(e) for e in Exit]}")
        _, info = self.env.reset(seed=seed, options=options)
        world: Any = self.env.unwrapped
        drawn = int(world.np_random.integers(len(Exit)))
        self._command = Exit(drawn if command is None else command)
        self._planner = None
        car = world.vehicle
        car.predict_trajectory_constant_speed = partial(_predicted, car)
        return self._observe(), {**info, "obeyed": False}

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Drive for one time step."""
        _, reward, terminated, truncated, info = self.env.step(action)
        world: Any = self.env.unwrapped
        car = world.vehicle
        info = {**info, "obeyed": False}
        if world.has_arrived(car):
            taken = _EXITS.get(car.lane_index[1], -1)
            told = taken == self._command and not car.crashed
            info |= {"commanded": int(self._command), "taken": int(taken), "obeyed": told}
        return self._observe(), reward, bool(terminated), bool(truncated), info

    def expert_action(self) -> np.ndarray:
        """What the planner would do now: acceleration and steering, shape (2,)."""
        world: Any = self.env.unwrapped
        if self._planner is None:
            self._planner = JunctionPlanner(world.road.network, _NODES[self._command])
        others = [other for other in world.road.vehicles if other is not world.vehicle]
        acceleration, steering = self._planner.plan(world.vehicle, others)
        ranges = world.action_type.acceleration_range, world.action_type.steering_range
        action = [acceleration / ranges[0][1], steering / ranges[1][1]]
        return np.clip(action, -1, 1).astype(np.float32)

    def _observe(self) -> dict[str, Any]:
        world: Any = self.env.unwrapped
        car = world.vehicle
        ego = [
            *car.position / _DISTANCE,
            np.cos(car.heading),
            np.sin(car.heading),
            car.speed / _SPEED,
            car.lateral_speed / _SPEED,
            car.yaw_rate,
        ]
        traffic = np.zeros((N_CARS, CAR_SIZE), np.float32)
        others = [other for other in world.road.vehicles if other is not car]
        others.sort(key=lambda other: np.linalg.norm(other.position - car.position))
        for row, other in zip(traffic, others, strict=False):
            row[:] = _seen_from(car, other)
        return {
            "ego": np.array(ego, dtype=np.float32),
            "traffic": traffic,
            COMMAND: np.int64(self._command),
        }


def _seen_from(car: Any, other: Any) -> list[float]:
    cosine, sine = np.cos(car.heading), np.sin(car.heading)
    into_frame = np.array([[cosine, sine], [-sine, cosine]])
    heading = other.heading - car.heading
    return [
        1.0,
        *into_frame @ (other.position - car.position) / _DISTANCE,
        *into_frame @ (other.velocity - car.velocity) / _SPEED,
        np.cos(heading),
        np.sin(heading),
        other.speed / _SPEED,
        *into_frame @ other.destination_direction,
    ]


def _predicted(car: Any, times: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """What the car's class predicts. It copies the car with all roads each time; this, without."""
    alone = copy(car)
    del alone.predict_trajectory_constant_speed
    alone.road = None
    return type(car).predict_trajectory_constant_speed(alone, times)


def _import_highway() -> None:
    try:
        import highway_env  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"highway-env is missing: pip install 'sb3_il_plus[highway]' ({error})"
        ) from error
