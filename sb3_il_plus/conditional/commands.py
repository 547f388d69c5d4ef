"""Commands as data: the entry `"command"` of a Dict observation, checked, counted, and added.

A high-level command is a number of a `Discrete` space; a goal is a vector of a `Box`. Either is an
explicit part of what is observed, so every algorithm, file format and check of the package treats
it as it treats any other entry.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.entries import with_entry, without_entries
from sb3_il_plus.errors import DataError, InapplicableError

COMMAND = "command"
"""Entry of a Dict observation that says what is to be done."""

DESIRED_GOAL = "desired_goal"
"""The same in gymnasium-robotics' environments, for goals."""


class MissingCommandWarning(UserWarning):
    """A command that can be given has no data to learn it from."""


@dataclass(frozen=True)
class CommandStatistics:
    """What demonstrations hold of one command."""

    command: int
    n_transitions: int
    n_episodes: int
    """Episodes in which it is given at least once."""
    share: float
    """Of all transitions."""
    mean_action: np.ndarray
    """Mean of the actions that follow it, shape of an action; of choices, their frequencies, shape
    (number of choices,). NaN where there are no transitions."""


def command_space(observation_space: spaces.Space, reader: str) -> spaces.Discrete | spaces.Box:
    """The space of the entry `"command"`.

    :param reader: who reads it, for the message
    :raises InapplicableError: there is no such entry, or it is neither a `Discrete` that counts
        from 0 nor a `Box` of one axis
    """
    if not isinstance(observation_space, spaces.Dict) or COMMAND not in observation_space.spaces:
        found = (
            f"a Dict of {sorted(observation_space.spaces)}"
            if isinstance(observation_space, spaces.Dict)
            else str(observation_space)
        )
        raise InapplicableError(
            f"{reader} reads the entry {COMMAND!r} of a Dict observation, and the observation "
            f"space is {found}; the wrappers in sb3_il_plus.conditional put the entry there"
        )
    space = observation_space.spaces[COMMAND]
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return space
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return space
    raise InapplicableError(
        f"{reader} reads commands of a Discrete space that counts from 0, or goals of a Box with "
        f"one axis, not of {space}"
    )


def discrete_command_space(observation_space: spaces.Space, reader: str) -> spaces.Discrete:
    """The space of the entry `"command"`, where it has to be a choice.

    :raises InapplicableError: as `command_space`, or it is a goal
    """
    space = command_space(observation_space, reader)
    if not isinstance(space, spaces.Discrete):
        raise InapplicableError(
            f"{reader} has something of its own for each command, so {COMMAND!r} must be Discrete, "
            f"not {space}; for goals take GoalPolicy or FilmPolicy"
        )
    return space


def commands_of(demonstrations: Demonstrations) -> np.ndarray:
    """The command of each transition, shape (N,), or the goal, shape (N, size).

    :raises InapplicableError: the observations have none
    """
    command_space(demonstrations.observation_space, "this")
    observed = demonstrations.observations_at(np.arange(len(demonstrations)))
    assert isinstance(observed, dict)
    return observed[COMMAND]


def command_statistics(demonstrations: Demonstrations) -> list[CommandStatistics]:
    """How often each command is given, and what is done then; one record for each.

    :raises InapplicableError: there are no Discrete commands
    :raises DataError: a command lies outside its space
    """
    space = discrete_command_space(demonstrations.observation_space, "the statistics")
    demonstrations.validate()
    commands = commands_of(demonstrations).reshape(len(demonstrations))
    actions = _as_numbers(demonstrations)
    found = []
    for command in range(int(space.n)):
        rows = np.flatnonzero(commands == command)
        mean = actions[rows].mean(axis=0) if len(rows) else np.full(actions.shape[1:], np.nan)
        n_episodes = len(np.unique(demonstrations.episode_index[rows]))
        share = len(rows) / len(demonstrations)
        found.append(CommandStatistics(command, len(rows), n_episodes, share, mean))
    return found


def warn_of_missing_commands(demonstrations: Demonstrations) -> list[int]:
    """Warn of commands that can be given and never are; what is learned of them is nothing.

    :return: those commands
    """
    space = discrete_command_space(demonstrations.observation_space, "the check")
    seen = np.unique(commands_of(demonstrations))
    missing = sorted(set(range(int(space.n))) - set(seen.tolist()))
    if missing:
        warnings.warn(
            f"no demonstration of command {', '.join(map(str, missing))} of {space}: what is done "
            "when it is given stays as random as it was initialised",
            MissingCommandWarning,
            stacklevel=2,
        )
    return missing


def with_commands(
    demonstrations: Demonstrations, commands: Any, space: spaces.Discrete | spaces.Box
) -> Demonstrations:
    """Put commands into demonstrations that were recorded without them.

    :param commands: one for each observation (N + E), step (N) or episode (E); goals have a second
        axis
    :param space: of one command
    :raises DataError: there are commands already, or these do not fit; the message says which
    """
    if isinstance(space, spaces.Discrete) and np.asarray(commands).dtype.kind not in "iu":
        raise DataError(f"commands of {space} must be integers, not {np.asarray(commands).dtype}")
    return with_entry(demonstrations, COMMAND, commands, space)


def goals_as_commands(demonstrations: Demonstrations) -> Demonstrations:
    """Make the entry `"desired_goal"` the command, as `GoalCommand` does in the environment.

    :raises DataError: there is no such entry
    """
    space = demonstrations.observation_space
    rest = without_entries(demonstrations, [DESIRED_GOAL])
    assert isinstance(demonstrations.observations, dict) and isinstance(space, spaces.Dict)
    return with_entry(
        rest, COMMAND, demonstrations.observations[DESIRED_GOAL], space.spaces[DESIRED_GOAL]
    )


def _as_numbers(demonstrations: Demonstrations) -> np.ndarray:
    """Actions that can be averaged: choices as one-hot vectors."""
    space, actions = demonstrations.action_space, demonstrations.actions
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n))[actions.reshape(len(actions)) - int(space.start)]
    return np.asarray(actions, dtype=np.float64)
