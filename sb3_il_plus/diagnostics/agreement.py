"""Whether two agents would do the same, in states that one of them recorded.

action_agreement(model, demonstrations)     # the imitator in the expert's states
action_agreement(expert, visited)           # the expert in the imitator's own
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.diagnostics.windows import centres, step_in_episode, windows
from sb3_il_plus.errors import InapplicableError

_AT_A_TIME = 1000
"""Observations that an agent is asked about at once: images take memory in it."""


@dataclass(frozen=True)
class Agreement:
    """How often an agent answers as was recorded, along an episode.

    :param steps: the middle of each part of an episode, shape (parts,)
    :param shares: of the steps with the same choice or, of continuous actions, with no component
        further off than the tolerance; shape (parts,), NaN where there are no steps
    :param errors: mean absolute difference of continuous actions, or the share of choices that
        differ; shape (parts,)
    :param mean_share: over all steps
    :param mean_error: over all steps
    """

    steps: np.ndarray
    shares: np.ndarray
    errors: np.ndarray
    mean_share: float
    mean_error: float


def action_agreement(
    agent: Any, recorded: Demonstrations, *, tolerance: float = 0.1, n_windows: int = 10
) -> Agreement:
    """Ask an agent what it would do in recorded states, and compare with what was done.

    :param agent: anything with SB3's `predict` and without a memory, given raw observations
    :param recorded: episodes with actions
    :param tolerance: greatest difference of continuous actions that counts as agreement, as a share
        of half the range of each component
    :param n_windows: parts of the longest episode
    :raises InapplicableError: actions are of a kind that cannot be compared
    """
    errors, agree = compare_actions(agent, recorded, tolerance)
    bounds = windows(int(recorded.episode_lengths.max()), n_windows)
    part = np.searchsorted(bounds, step_in_episode(recorded), side="right") - 1
    counts = np.bincount(part, minlength=len(bounds) - 1)
    with np.errstate(invalid="ignore"):
        shares, means = (
            np.bincount(part, weights=column, minlength=len(counts)) / counts
            for column in (agree, errors)
        )
    return Agreement(centres(bounds), shares, means, float(agree.mean()), float(errors.mean()))


def compare_actions(
    agent: Any, recorded: Demonstrations, tolerance: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Error and agreement of each recorded step; see `action_agreement`.

    :return: floats and bools, shape (N,) each
    """
    n = len(recorded)
    parts = np.array_split(np.arange(n), -(-n // _AT_A_TIME))
    actions = np.concatenate(
        [agent.predict(recorded.observations_at(rows), deterministic=True)[0] for rows in parts]
    )
    space, wanted = recorded.action_space, recorded.actions
    if isinstance(space, spaces.Box):
        distance = np.abs(actions.astype(np.float64) - wanted)
        half_range = (space.high - space.low) / 2
        agree = (distance <= tolerance * half_range).reshape(n, -1).all(axis=1)
        return distance.reshape(n, -1).mean(axis=1), agree
    if not isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        raise InapplicableError(f"actions of {space} cannot be compared")
    agree = (actions.reshape(n, -1) == wanted.reshape(n, -1)).all(axis=1)
    return 1.0 - agree, agree
