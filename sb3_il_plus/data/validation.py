"""What can be wrong with demonstrations, and where: the one validator of the package.

`check_structure` looks at the kinds and lengths of columns, for every `Demonstrations` ever made.
`problems` looks at every value once, vectorised, and names the first offender of each kind with
its episode, step and column. `fit_to` checks data against the spaces it shall be used with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.images import channels_first
from sb3_il_plus.data.masks import mask_problem
from sb3_il_plus.errors import DataError
from sb3_il_plus.spaces import outside

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations


_KINDS = {"offsets": "iu", "terminations": "b", "truncations": "b", "action_masks": "b"}
"""Column -> the kinds of NumPy dtypes that it can have; any number where not listed."""


def check_structure(data: Demonstrations) -> None:
    """Check the kinds and lengths of the columns, but not their values.

    :raises DataError: the first contradiction, with the column's name
    """
    if isinstance(data.observations, dict) and not data.observations:
        raise DataError("observations is a dict without entries")
    for name, column in data.columns().items():
        kinds = _KINDS.get(name, "biuf")
        if column.ndim == 0 or column.dtype.kind not in kinds:
            wanted = {"iu": "integers", "b": "booleans", "biuf": "numbers"}[kinds]
            raise DataError(
                f"{name} must be an array of {wanted}, not {column.dtype} of shape {column.shape}"
            )
    _check_offsets(data.offsets, len(data.actions))
    n_transitions, n_episodes = len(data.actions), len(data.offsets) - 1
    for name, column in col.named(data.observations):
        if len(column) != n_transitions + n_episodes:
            raise DataError(
                f"{name} has {len(column)} rows; {n_transitions} transitions in {n_episodes} "
                f"episodes need {n_transitions + n_episodes} (one more than actions in each)"
            )
    masks = data.action_masks
    if masks is not None and (masks.ndim != 2 or len(masks) != n_transitions):
        raise DataError(
            f"action_masks has shape {masks.shape}; {n_transitions} actions need one row of "
            "choices each"
        )
    for name in ("rewards", "terminations", "truncations"):
        column = getattr(data, name)
        if column is not None and column.shape != (n_transitions,):
            raise DataError(
                f"{name} has shape {column.shape}; {n_transitions} actions need ({n_transitions},)"
            )


def _check_offsets(offsets: np.ndarray, n_transitions: int) -> None:
    if offsets.ndim != 1 or len(offsets) < 2 or n_transitions < 1:
        raise DataError(
            "the demonstrations are empty: they need at least one episode with one step"
        )
    if offsets[0] != 0 or offsets[-1] != n_transitions:
        raise DataError(
            f"episode offsets run from {offsets[0]} to {offsets[-1]}, but there are "
            f"{n_transitions} actions"
        )
    short = np.flatnonzero(offsets[1:] <= offsets[:-1])
    if len(short):
        raise DataError(f"episode {short[0]} has no steps")


def problems(demonstrations: Demonstrations) -> list[str]:
    """Return a sentence for each kind of problem found, each naming its first place; [] if none."""
    return [*_column_problems(demonstrations), *_end_problems(demonstrations)]


def _column_problems(data: Demonstrations) -> Iterator[str]:
    with_final = np.repeat(np.arange(data.n_episodes), data.episode_lengths + 1)
    expected = dict(col.named_spaces(data.observation_space))
    given = dict(col.named(data.observations))
    if set(given) != set(expected):
        yield (
            f"the data has the columns {', '.join(given)}; the space {data.observation_space} "
            f"needs {', '.join(expected)}"
        )
        return
    for name, space in expected.items():
        # Box bounds of observations are often nominal, so only the shape and finiteness count.
        bounded = not isinstance(space, spaces.Box)
        yield from _check(name, given[name], space, with_final, data.offsets, 1, bounded)
    bad_actions = list(
        _check("actions", data.actions, data.action_space, data.episode_index, data.offsets, 0)
    )
    yield from bad_actions
    if data.rewards is not None:
        bad = ~np.isfinite(data.rewards)
        if bad.any():
            row = int(np.argmax(bad))
            place = _place(row, data.episode_index, data.offsets, 0)
            yield f"rewards: {place} is {data.rewards[row]}"
    if data.action_masks is not None and not bad_actions:
        problem = mask_problem(data.action_masks, data, "action_masks")
        if problem is not None:
            yield problem


def _check(
    name: str,
    column: np.ndarray,
    space: spaces.Space,
    episode_of_row: np.ndarray,
    offsets: np.ndarray,
    extra: int,
    bounded: bool = True,
) -> Iterator[str]:
    """Check one column; `extra` rows per episode (the final observation) shift its rows."""
    if space.shape is None:
        yield f"{name}: the space {space} is of a kind that Stable-Baselines3 does not handle"
        return
    if column.shape[1:] != space.shape:
        yield f"{name}: a row has shape {column.shape[1:]}, the space {space} has {space.shape}"
        return
    wants_integers = isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))
    if wants_integers and column.dtype.kind not in "iub":
        yield f"{name}: has dtype {column.dtype}, which the space {space} cannot hold"
        return
    checks = {"is not finite": ~np.isfinite(column)}
    if bounded:
        remedy = (
            "; environments clip such actions, so np.clip yours"
            if isinstance(space, spaces.Box)
            else ""
        )
        checks[f"lies outside {space}{remedy}"] = outside(column, space)
    for complaint, bad in checks.items():
        if bad.any():
            position = tuple(int(i) for i in np.argwhere(bad)[0])
            component = f", component {position[1:]}" if len(position) > 1 else ""
            place = _place(position[0], episode_of_row, offsets, extra)
            yield f"{name}: {place}{component} is {column[position]}, which {complaint}"
            return


def _place(row: int, episode_of_row: np.ndarray, offsets: np.ndarray, extra: int) -> str:
    episode = int(episode_of_row[row])
    return f"episode {episode}, step {row - int(offsets[episode]) - extra * episode}"


def _end_problems(data: Demonstrations) -> Iterator[str]:
    """An episode ends at its last step and nowhere else."""
    for name in ("terminations", "truncations"):
        inside = np.array(getattr(data, name), copy=True)
        inside[data.offsets[1:] - 1] = False
        if inside.any():
            row = int(np.argmax(inside))
            yield (
                f"{name}: {_place(row, data.episode_index, data.offsets, 0)} is true, but the "
                "episode goes on after it; is an episode boundary missing?"
            )


def fit_to(
    demonstrations: Demonstrations,
    observation_space: spaces.Space,
    action_space: spaces.Space,
) -> Demonstrations:
    """Return the data in the form that a model of these spaces reads.

    The channels of images are moved to where the model has them (see `images.py`). Bounds may
    differ; kinds, shapes and numbers of choices may not.

    :raises DataError: the spaces do not fit; the message shows both
    """
    data = channels_first(demonstrations, observation_space)
    for role, given_space, wanted_space in (
        ("observation", data.observation_space, observation_space),
        ("action", data.action_space, action_space),
    ):
        if not _same_form(given_space, wanted_space):
            raise DataError(
                f"the demonstrations' {role} space {given_space} does not fit the environment's "
                f"{wanted_space}; were they recorded in another environment?"
            )
    return data


def _same_form(given: spaces.Space, wanted: spaces.Space) -> bool:
    """Whether values of one space can be used as values of the other, bounds aside."""
    if isinstance(wanted, spaces.Dict):
        return (
            isinstance(given, spaces.Dict)
            and set(given.spaces) == set(wanted.spaces)
            and all(_same_form(given.spaces[key], space) for key, space in wanted.spaces.items())
        )
    if isinstance(wanted, spaces.Box):
        return isinstance(given, spaces.Box) and given.shape == wanted.shape
    return given == wanted
