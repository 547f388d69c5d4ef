"""What offline data must have, what it should not have, and the scale of its rewards."""

from __future__ import annotations

import warnings

import numpy as np

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError

_ENOUGH = 3
"""Episodes that must end alike before anything is concluded from it."""


class TerminalsWarning(UserWarning):
    """Time limits seem to be recorded as terminal states."""


def check_offline_data(data: Demonstrations, batch_size: int) -> None:
    """Refuse data that nothing can be learned from, and warn of what looks like a mistake.

    :param batch_size: transitions in each update
    :raises DataError: there are no rewards, or fewer transitions than a batch has
    """
    if data.rewards is None:
        raise DataError(
            "the demonstrations have no rewards, and offline RL learns from them: give "
            "rewards=... to Demonstrations.from_arrays, or clone the actions with BC"
        )
    if batch_size > len(data):
        raise DataError(
            f"batch_size={batch_size} is larger than the data, which has {len(data)} transitions: "
            "choose a smaller one, or collect more"
        )
    if reason := _limits_as_terminals(data):
        warnings.warn(reason, TerminalsWarning, stacklevel=4)


def _limits_as_terminals(data: Demonstrations) -> str | None:
    """Say why episodes seem to end in terminal states where a time limit cut them."""
    lengths = data.episode_lengths
    longest = lengths == lengths.max()
    at_limit = int(longest.sum())
    last_steps = data.offsets[1:] - 1
    terminal = data.terminations[last_steps]
    if at_limit < _ENOUGH or lengths.max() < 2 or not terminal[longest].all():
        return None
    if data.truncations[last_steps].any():
        return None
    return (
        f"all {at_limit} episodes of the greatest length, {lengths.max()} steps, end in a terminal "
        "state, and none is truncated. If that is a time limit, mark these ends as truncations, "
        "for otherwise the values of all states before them are wrong"
    )


def scale_of_returns(data: Demonstrations) -> float:
    """1000 / (largest - smallest return); 1 where there is no difference (IQL, appendix B)."""
    returns = data.episode_returns
    spread = float(returns.max() - returns.min())
    return 1000.0 / spread if spread > 1e-6 else 1.0


def largest_value(rewards: np.ndarray, scale: float, shift: float, gamma: float) -> float:
    """What no discounted return can exceed in size; at least 1.

    :param rewards: shape (N,), as they are in the data
    """
    extremes = np.array([rewards.min(), rewards.max()], dtype=np.float64) * scale + shift
    return max(1.0, float(np.abs(extremes).max()) / max(1.0 - gamma, 1e-3))
