"""Many copies of the driving task at once: cars, their routes, and what becomes of them.

Each copy is one row of every array and has a random generator of its own, so that what happens in
it does not depend on how many others there are. The single environment and the vectorised one are
both thin shells around this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from sb3_il_plus.conditional.driving.roads import BOX, LANE, PERIOD, STREETS, road_margin, wrapped
from sb3_il_plus.errors import UserError

TIME_STEP = 0.1
"""Seconds between two actions."""
WHEELBASE = 2.5
"""Metres between the axles."""
MAX_STEERING = 0.6
"""Radians of the front wheels at an action of 1."""
MAX_SPEED = 10.0
"""Metres per second."""
THROTTLE, BRAKE = 3.0, 6.0
"""Metres per second squared at an action of 1 and of -1."""
ANNOUNCED = 20.0
"""Metres before a junction within which its command is given; before that, it is to follow."""
GOAL = 10.0
"""Metres behind the last junction at which an episode succeeds."""
_STEPS_PER_JUNCTION = 250


class Command(IntEnum):
    """What the driver is told to do."""

    FOLLOW = 0
    LEFT = 1
    STRAIGHT = 2
    RIGHT = 3


TURNED_BACK = -1
"""In place of the command that was carried out, where the car went back to where it came from."""

JUNCTION_COMMANDS = (Command.LEFT, Command.STRAIGHT, Command.RIGHT)

_QUARTER_TURNS = np.array([0, 1, 0, -1])
"""Of each command, counted to the left."""
_UNIT = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
"""The vector of each direction."""


@dataclass(frozen=True)
class Outcome:
    """What a step led to, in each copy; every array has the shape (n,)."""

    success: np.ndarray
    """The whole route was driven."""
    off_road: np.ndarray
    missed_turn: np.ndarray
    """A junction was left by another arm than the commanded one, or the car turned back."""
    timed_out: np.ndarray
    at_exit: np.ndarray
    """Whether the step left a junction (or turned back); the next two are of that junction."""
    commanded: np.ndarray
    taken: np.ndarray
    """The command that was carried out in fact, or `TURNED_BACK`."""

    @property
    def terminated(self) -> np.ndarray:
        """Where the episode has ended for a reason of its own."""
        return self.success | self.off_road | self.missed_turn


class Simulation:
    """Cars that drive through junctions as they are told to.

    A car is a kinematic bicycle that is steered and given throttle or brakes, each from -1 to 1 (to
    the left, and throttle, are positive); its position is that of the rear axle.

    :param n_copies: how many, n
    :param n_junctions: junctions in a route
    :param start_offset: metres; a car starts at most this far beside the middle of its lane
    :param start_heading: radians; and turned against the lane by at most this
    :param steering_noise: standard deviation of what is added to the steering in each step
    :raises UserError: one of them is out of range
    """

    def __init__(
        self,
        n_copies: int = 1,
        *,
        n_junctions: int = 1,
        start_offset: float = 0.5,
        start_heading: float = 0.1,
        steering_noise: float = 0.0,
    ) -> None:
        for name, value, least in (
            ("n_copies", n_copies, 1),
            ("n_junctions", n_junctions, 1),
            ("start_offset", start_offset, 0),
            ("start_heading", start_heading, 0),
            ("steering_noise", steering_noise, 0),
        ):
            if not value >= least:
                raise UserError(f"{name}={value} must be at least {least}")
        if start_offset >= LANE / 2:
            raise UserError(f"start_offset={start_offset} must be below {LANE / 2}, to be in lane")
        self.n_copies, self.n_junctions = n_copies, n_junctions
        self.start_offset, self.start_heading = start_offset, start_heading
        self.steering_noise = steering_noise
        self.max_steps = _STEPS_PER_JUNCTION * n_junctions
        self.generators = [np.random.default_rng() for _ in range(n_copies)]
        self.positions = np.zeros((n_copies, 2))
        self.headings = np.zeros(n_copies)
        self.speeds = np.zeros(n_copies)
        self.distances = np.zeros(n_copies)
        """Metres driven in this episode."""
        self.routes = np.zeros((n_copies, n_junctions), dtype=np.int64)
        self.n_passed = np.zeros(n_copies, dtype=np.int64)
        """Junctions that were left as commanded."""
        self._junctions = np.zeros((n_copies, 2), dtype=np.int64)
        """Numbers of the streets that cross ahead, along x and y."""
        self._directions = np.zeros(n_copies, dtype=np.int64)
        self._steps = np.zeros(n_copies, dtype=np.int64)
        self._since_junction = np.zeros(n_copies)

    def reset(self, copies: Sequence[int] | np.ndarray) -> None:
        """Begin an episode in each of these copies."""
        for copy in copies:
            rng = self.generators[copy]
            self._junctions[copy] = rng.integers(len(STREETS), size=2)
            direction = self._directions[copy] = rng.integers(4)
            ahead, left = rng.uniform(20.0, 34.0), rng.uniform(-1, 1) * self.start_offset
            forward, sideways = _UNIT[direction], _UNIT[(direction + 1) % 4]
            self.positions[copy] = (
                STREETS[self._junctions[copy]] - ahead * forward + (left - LANE / 2) * sideways
            ) % PERIOD
            turned = rng.uniform(-1, 1) * self.start_heading
            self.headings[copy] = direction * np.pi / 2 + turned
            self.speeds[copy] = rng.uniform(3.0, 7.0)
            self.routes[copy] = rng.choice(JUNCTION_COMMANDS, self.n_junctions)
        for array in (self.distances, self.n_passed, self._steps, self._since_junction):
            array[copies] = 0

    def set_command(self, copy: int, command: int) -> None:
        """Change what is to be done at the junction ahead; it holds from the next observation on.

        :raises UserError: it is not the command of a junction
        """
        if command not in JUNCTION_COMMANDS:
            names = ", ".join(
                f"{known.value} ({known.name.lower()})" for known in JUNCTION_COMMANDS
            )
            raise UserError(f"command={command!r} is none of a junction's: {names}")
        if self.n_passed[copy] < self.n_junctions:
            self.routes[copy, self.n_passed[copy]] = command

    @property
    def due(self) -> np.ndarray:
        """What is to be done at the junction ahead, announced or not; shape (n,)."""
        pending = np.minimum(self.n_passed, self.n_junctions - 1)
        commands = self.routes[np.arange(self.n_copies), pending]
        return np.where(self.n_passed < self.n_junctions, commands, Command.FOLLOW)

    @property
    def commands(self) -> np.ndarray:
        """What the driver is told now, shape (n,)."""
        announced = self._seen_from_junction()[0] >= -(BOX + ANNOUNCED)
        return np.where(announced, self.due, Command.FOLLOW)

    def in_lane(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the cars are in their lanes, and how they stand to them.

        :return: metres to the middle of the junction ahead (negative behind it), metres to the left
            of the lane's middle, radians to the left of its direction; each of shape (n,)
        """
        ahead, left = self._seen_from_junction()
        return -ahead, left + LANE / 2, self.headings - self._directions * np.pi / 2

    def step(self, actions: np.ndarray) -> Outcome:
        """Drive for one time step.

        :param actions: shape (n, 2): steering and pedal
        """
        steering, pedal = np.clip(np.asarray(actions, dtype=np.float64), -1, 1).T
        if self.steering_noise > 0:
            noise = np.array([rng.standard_normal() for rng in self.generators])
            steering = np.clip(steering + self.steering_noise * noise, -1, 1)
        self._drive(steering, pedal)
        self._steps += 1
        return self._judge()

    def _drive(self, steering: np.ndarray, pedal: np.ndarray) -> None:
        faster = np.where(pedal > 0, THROTTLE, BRAKE) * pedal * TIME_STEP
        speeds = np.clip(self.speeds + faster, 0, MAX_SPEED)
        metres = (self.speeds + speeds) / 2 * TIME_STEP
        turned = metres * np.tan(steering * MAX_STEERING) / WHEELBASE
        # The heading half-way makes the step exact for arcs up to their third order.
        course = self.headings + turned / 2
        moved = metres[:, None] * np.stack([np.cos(course), np.sin(course)], axis=1)
        self.positions = (self.positions + moved) % PERIOD
        self.headings = (self.headings + turned) % (2 * np.pi)
        self.speeds = speeds
        self.distances += metres
        self._since_junction += metres

    def _judge(self) -> Outcome:
        ahead, left = self._seen_from_junction()
        off_road = road_margin(self.positions) < 0
        commanded = self.due
        taken = np.select(
            [ahead > BOX, left > BOX, left < -BOX],
            [Command.STRAIGHT, Command.LEFT, Command.RIGHT],
            Command.FOLLOW,
        )
        backwards = np.cos(self.headings - self._directions * np.pi / 2) < -0.5
        taken[(ahead < -BOX) & backwards] = TURNED_BACK
        at_exit = (taken != Command.FOLLOW) & ~off_road
        missed_turn = at_exit & (taken != commanded)
        if at_exit.any():
            self._enter_streets(np.flatnonzero(at_exit & (taken != TURNED_BACK)), taken)
            self.n_passed += at_exit & ~missed_turn
        done = (self.n_passed == self.n_junctions) & (self._since_junction >= GOAL)
        success = done & ~off_road & ~missed_turn
        ended = success | off_road | missed_turn
        timed_out = (self._steps >= self.max_steps) & ~ended
        return Outcome(success, off_road, missed_turn, timed_out, at_exit, commanded, taken)

    def _enter_streets(self, copies: np.ndarray, taken: np.ndarray) -> None:
        """Look ahead to the next junction in the streets that were turned into."""
        directions = (self._directions[copies] + _QUARTER_TURNS[taken[copies]]) % 4
        self._directions[copies] = directions
        self._junctions[copies] = (self._junctions[copies] + _UNIT[directions]) % len(STREETS)
        self._since_junction[copies] = 0

    def _seen_from_junction(self) -> tuple[np.ndarray, np.ndarray]:
        """Metres beyond the middle of the junction, and to its left, as it is driven at."""
        x, y = wrapped(self.positions - STREETS[self._junctions]).T
        forward_x, forward_y = _UNIT[self._directions].T
        return forward_x * x + forward_y * y, forward_x * y - forward_y * x
