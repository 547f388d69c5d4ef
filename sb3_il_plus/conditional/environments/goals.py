"""gymnasium-robotics (`pip install 'sb3_il_plus[robotics]'`): the desired goal is the command.

    env = goal_env("PointMaze_UMaze-v3")
    data = collect(MazeExpert(env), env, n_episodes=100)

Scripted experts for the point mazes (Fu et al. 2020, arXiv:2004.07219) and for the Fetch arm
(Plappert et al. 2018, arXiv:1802.09464). They are functions of what is observed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_il_plus.conditional.commands import COMMAND
from sb3_il_plus.conditional.environments.advice import SuccessReturn
from sb3_il_plus.conditional.wrappers import GoalCommand
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import InapplicableError, MissingExtraError

WALL = 1


def goal_env(env_id: str, **kwargs: Any) -> gym.Env:
    """A goal-conditioned environment of gymnasium-robotics, with the goal as `"command"`.

    The return of an episode is 1 where it succeeds, and 0 where it does not: in a maze when the
    goal is reached, which ends the episode; with the arm when it is reached at the end.

    :param env_id: of gymnasium-robotics, or of any goal-conditioned environment that says
        `info["success"]` or `info["is_success"]`
    :param kwargs: of the environment
    :raises MissingExtraError: gymnasium-robotics is not installed
    :raises InapplicableError: it has no goals, or cannot be built in this version of MuJoCo
    """
    _import_robotics()
    in_maze = env_id.startswith(("PointMaze", "AntMaze"))
    if in_maze:
        kwargs = {"continuing_task": False, **kwargs}
    try:
        env = make_env(env_id, **kwargs)
    except AssertionError as error:  # so says gymnasium-robotics 1.4.2 of the Fetch arm
        raise InapplicableError(
            f"gymnasium-robotics cannot build {env_id!r} with the version of MuJoCo that is "
            "installed; pip install 'sb3_il_plus[robotics]' brings one with which it can"
        ) from error
    return SuccessReturn(GoalCommand(env), "success" if in_maze else "is_success")


class _GoalExpert:
    """Base of the experts: SB3's `predict` around a function of one observation."""

    def predict(
        self,
        observation: Mapping[str, np.ndarray],
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Act.

        :param observation: one, or a batch of n
        :return: the action, or n of them, within [-1, 1], and the state, which there is none
        :raises InapplicableError: there is no entry `"observation"` or `"command"`
        """
        if missing := {"observation", COMMAND} - set(observation):
            raise InapplicableError(
                f"{type(self).__name__} reads {sorted(missing)}, and the observation has only "
                f"{sorted(observation)}; goal_env() makes such environments"
            )
        seen = np.asarray(observation["observation"], dtype=np.float64)
        goal = np.asarray(observation[COMMAND], dtype=np.float64)
        if seen.ndim == 1:
            actions = self._act(seen, goal)
        else:
            actions = np.stack([self._act(*row) for row in zip(seen, goal, strict=True)])
        return np.clip(actions, -1, 1).astype(np.float32), state

    def _act(self, seen: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """One action, which is clipped afterwards."""
        raise NotImplementedError


class MazeExpert(_GoalExpert):
    """Drives the ball through a `PointMaze` along the shortest way from cell to cell.

    It steers for the middle of the next cell, and in the goal's cell for the goal, as a damped
    spring would pull.

    :param env: the maze, which is read once
    :param stiffness: force for each metre
    :param damping: force against each metre per second
    :raises InapplicableError: the environment is no maze
    """

    def __init__(self, env: gym.Env, stiffness: float = 10.0, damping: float = 2.0) -> None:
        maze = getattr(env.unwrapped, "maze", None)
        if maze is None:
            raise InapplicableError(f"MazeExpert drives through mazes, and {env} is none")
        self._cell: Callable[[np.ndarray], np.ndarray] = maze.cell_xy_to_rowcol
        self._centre: Callable[[Any], np.ndarray] = maze.cell_rowcol_to_xy
        self._stiffness, self._damping = stiffness, damping
        free = {
            (row, column)
            for row, line in enumerate(maze.maze_map)
            for column, cell in enumerate(line)
            if cell != WALL
        }
        self._next_cell = {goal: _steps_towards(goal, free) for goal in free}

    def _act(self, seen: np.ndarray, goal: np.ndarray) -> np.ndarray:
        position, velocity = seen[:2], seen[2:4]
        here, there = tuple(self._cell(position)), tuple(self._cell(goal))
        target = goal if here == there else self._centre(self._next_cell[there][here])
        return self._stiffness * (target - position) - self._damping * velocity


def _steps_towards(
    goal: tuple[int, int], free: set[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, int]]:
    """The next cell from each one on a shortest way to the goal (breadth-first search)."""
    steps = {goal: goal}
    queue = deque([goal])
    while queue:
        row, column = cell = queue.popleft()
        beside = (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)
        for neighbour in beside:
            if neighbour in free and neighbour not in steps:
                steps[neighbour] = cell
                queue.append(neighbour)
    return steps


class ReachExpert(_GoalExpert):
    """Moves the gripper of `FetchReach` straight to the goal."""

    def _act(self, seen: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return np.append(_GAIN * (goal - seen[:3]), 0.0)


_GAIN = 10.0
"""Part of the largest move for each metre that is left."""
_OPEN, _CLOSED = 1.0, -1.0
_NEAR = 0.01
"""Metres within which the gripper is at a place."""
_ABOVE = np.array([0.0, 0.0, 0.06])
"""Metres from the block to where the gripper comes down from."""
_HOLDING = 0.055
"""Metres between the fingers, below which they cannot but hold the block."""


class PickAndPlaceExpert(_GoalExpert):
    """Takes the block of `FetchPickAndPlace` and brings it to the goal.

    What it does depends only on where gripper and block are: over it, down, close, and away.
    """

    def _act(self, seen: np.ndarray, goal: np.ndarray) -> np.ndarray:
        gripper, block, between_fingers = seen[:3], seen[3:6], seen[9:11].sum()
        to_block = block - gripper
        if np.linalg.norm(to_block) < 2 * _NEAR and between_fingers < _HOLDING:
            return np.append(_GAIN * (goal - block), _CLOSED)
        if np.linalg.norm(to_block) < _NEAR:
            return np.append(_GAIN * to_block, _CLOSED)
        if np.linalg.norm(to_block[:2]) < _NEAR:
            return np.append(_GAIN * to_block, _OPEN)
        return np.append(_GAIN * (to_block + _ABOVE), _OPEN)


def _import_robotics() -> None:
    try:
        import gymnasium_robotics
    except ImportError as error:
        raise MissingExtraError(
            f"gymnasium-robotics is missing: pip install 'sb3_il_plus[robotics]' ({error})"
        ) from error
    gym.register_envs(gymnasium_robotics)
