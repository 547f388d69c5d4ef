"""Entries of Dict observations: adding one to demonstrations, and leaving some out."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.errors import DataError, suggest

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations

OBSERVATION = "observation"
"""Name of what was the whole observation, once there are other entries beside it."""


def with_entry(
    demonstrations: Demonstrations, name: str, values: Any, space: spaces.Space
) -> Demonstrations:
    """The same demonstrations with one more entry in each observation.

    Observations that are no dicts become the entry `"observation"`.

    :param values: shape (N + E, *shape of the space), a row for each observation; or (N, ...) for
        each step, where an episode's final observation has that of its last step; or (E, ...), one
        for each episode
    :raises DataError: there is such an entry already, `values` has another length, or a value lies
        outside the space
    """
    entries = as_entries(demonstrations.observation_space)
    if name in entries:
        raise DataError(f"the observations have an entry {name!r} already")
    rows = _rows(demonstrations, name, np.asarray(values))
    observations = demonstrations.observations
    columns = dict(observations) if isinstance(observations, dict) else {OBSERVATION: observations}
    return _replaced(
        demonstrations, {**columns, name: rows}, spaces.Dict({**entries, name: space})
    ).validate()


def without_entries(demonstrations: Demonstrations, names: Collection[str]) -> Demonstrations:
    """The same demonstrations without some entries of their observations.

    :raises DataError: there is no such entry, or none would be left
    """
    space, observations = demonstrations.observation_space, demonstrations.observations
    if not isinstance(space, spaces.Dict) or not isinstance(observations, dict):
        raise DataError(f"the observations have no entries to leave out: their space is {space}")
    for name in names:
        if name not in space.spaces:
            raise DataError(
                f"the observations have no entry {name!r}{suggest(name, list(space.spaces))}"
            )
    kept = {key: entry for key, entry in space.spaces.items() if key not in names}
    if not kept:
        raise DataError(f"no entry would be left without {sorted(names)}")
    columns = {key: observations[key] for key in kept}
    return _replaced(demonstrations, columns, spaces.Dict(kept))


def as_entries(space: spaces.Space) -> dict[str, spaces.Space]:
    """The entries of an observation space; what is no Dict becomes one called `"observation"`."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {OBSERVATION: space}


def _rows(data: Demonstrations, name: str, values: np.ndarray) -> np.ndarray:
    """One row for each observation."""
    n_rows, n_steps = len(data) + data.n_episodes, len(data)
    given = len(values) if values.ndim else 0
    if given == n_rows:
        return values
    if given == n_steps:
        # The last step of an episode once more, for the observation that it led to.
        steps = np.insert(np.arange(n_steps), data.offsets[1:], data.offsets[1:] - 1)
        return values[steps]
    if given == data.n_episodes:
        return np.repeat(values, data.episode_lengths + 1, axis=0)
    raise DataError(
        f"{name!r} has {given} values; give one for each of {n_rows} observations, {n_steps} steps "
        f"or {data.n_episodes} episodes"
    )


def _replaced(
    data: Demonstrations, observations: col.Columns, observation_space: spaces.Dict
) -> Demonstrations:
    columns = {k: v for k, v in data.columns().items() if not k.startswith("observations")}
    return data.from_columns(
        {**dict(col.named(observations)), **columns},
        observation_space,
        data.action_space,
        data.metadata,
    )
