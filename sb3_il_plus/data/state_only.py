"""Demonstrations without actions: states alone, as a video or somebody else's log gives them.

Their column of actions holds stand-ins, which mean nothing; the metadata says so, and files leave
the column out. Methods that learn from observations alone never see an action, not even where there
are some; all others refuse such data by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.errors import DataError
from sb3_il_plus.registry import registry

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations

ACTIONS_UNKNOWN = "actions_unknown"
"""Metadata key: what was done in each step is not known."""


def stand_ins(action_space: spaces.Space, n_steps: int) -> np.ndarray:
    """Actions of the space that mean nothing, shape (n_steps, *action shape)."""
    if isinstance(action_space, spaces.Box):
        one = np.clip(np.zeros(action_space.shape), action_space.low, action_space.high)
    else:
        one = np.asarray(getattr(action_space, "start", 0))
    shape = (n_steps, *(action_space.shape or ()))
    return np.broadcast_to(one.astype(action_space.dtype), shape)


def without_actions(demonstrations: Demonstrations) -> Demonstrations:
    """The same observations, rewards and ends, with stand-ins for actions."""
    if not demonstrations.has_actions:
        return demonstrations
    return dataclasses.replace(
        demonstrations,
        actions=stand_ins(demonstrations.action_space, len(demonstrations)),
        action_masks=None,
        metadata={**demonstrations.metadata, ACTIONS_UNKNOWN: True},
    )


def with_actions(demonstrations: Demonstrations, actions: np.ndarray) -> Demonstrations:
    """The same demonstrations with the given actions, shape (N, *action shape)."""
    facts = {k: v for k, v in demonstrations.metadata.items() if k != ACTIONS_UNKNOWN}
    return dataclasses.replace(demonstrations, actions=actions, metadata=facts)


def require_actions(demonstrations: Demonstrations, reader: str) -> None:
    """Refuse data without actions.

    :param reader: who reads the actions, for the message
    :raises DataError: there are none
    """
    if demonstrations.has_actions:
        return
    others = [spec.name for spec in registry.list_algorithms() if not spec.reads_actions]
    raise DataError(
        f"{reader} reads the demonstrations' actions, and these have none; "
        f"from observations alone learn: {', '.join(others)}"
    )


def stand_ins_for(
    observations: Any,
    next_observations: Any,
    flags: Sequence[Any],
    episode_lengths: Sequence[int] | None,
    observation_space: spaces.Space | None,
    action_space: spaces.Space,
) -> Any:
    """As many stand-ins as there are steps in what `from_arrays` was given.

    :param flags: terminations and truncations, or None
    :return: one array for flat observations, or a list with one for each episode
    """
    # The last observation of an episode is where its last step led, unless that is given apart.
    n_more = 1 if next_observations is None else 0
    if _is_per_episode(observations, observation_space):
        return [stand_ins(action_space, max(0, _length(o) - n_more)) for o in observations]
    marks = [len(flag) for flag in flags if flag is not None]
    if episode_lengths is not None:
        return stand_ins(action_space, sum(episode_lengths))
    return stand_ins(action_space, marks[0] if marks else max(0, _length(observations) - n_more))


def check_finals(metadata: Mapping[str, Any], repeated_final: str) -> None:
    """Refuse episodes without actions whose last step leads nowhere.

    :param repeated_final: metadata key that says so
    :raises DataError: there are such episodes
    """
    if metadata.get(ACTIONS_UNKNOWN) and metadata.get(repeated_final):
        raise DataError(
            "without actions, what counts is where each step led: an episode of T steps needs "
            "T + 1 observations, or next_observations"
        )


def _is_per_episode(observations: Any, observation_space: spaces.Space | None) -> bool:
    if isinstance(observations, Mapping) or len(observations) == 0:
        return False
    first, space = observations[0], observation_space
    if isinstance(first, Mapping):
        key = next(iter(first))
        first = first[key]
        space = space.spaces.get(key) if isinstance(space, spaces.Dict) else None
    if space is None:
        return isinstance(observations, (list, tuple)) and np.ndim(first) >= 2
    return np.ndim(first) == len(space.shape or ()) + 1


def _length(observations: Any) -> int:
    return col.length(col.as_columns(observations))
