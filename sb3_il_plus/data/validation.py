"""What can be wrong with demonstrations, and where: the one validator of the package.

`problems` looks at every value once, vectorised, and names the first offender of each kind with
its episode, step and column. `fit_to` checks data against the spaces it shall be used with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
)

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError


def problems(demonstrations: Demonstrations) -> list[str]:
    """Return a sentence for each kind of problem found, each naming its first place; [] if none."""
    return [*_column_problems(demonstrations), *_end_problems(demonstrations)]


def _column_problems(data: Demonstrations) -> Iterator[str]:
    with_final = np.repeat(np.arange(data.n_episodes), data.episode_lengths + 1)
    observation_spaces = (
        data.observation_space.spaces.items()
        if isinstance(data.observation_space, spaces.Dict)
        else [(None, data.observation_space)]
    )
    for key, space in observation_spaces:
        name = "observations" if key is None else f"observations[{key!r}]"
        if isinstance(data.observations, dict) != (key is not None):
            yield f"{name}: the space is {data.observation_space}, the data is not of that kind"
            continue
        column = data.observations[key] if key is not None else data.observations  # type: ignore[index]
        # Box bounds of observations are often nominal, so only the shape and finiteness count.
        bounded = not isinstance(space, spaces.Box)
        yield from _check(name, column, space, with_final, data.offsets, 1, bounded)
    yield from _check("actions", data.actions, data.action_space, data.episode_index, data.offsets, 0)
    if data.rewards is not None:
        bad = ~np.isfinite(data.rewards)
        if bad.any():
            row = int(np.argmax(bad))
            yield f"rewards: {_place(row, data.episode_index, data.offsets, 0)} is {data.rewards[row]}"


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
    if space.shape is not None and column.shape[1:] != space.shape:
        yield f"{name}: a row has shape {column.shape[1:]}, the space {space} has {space.shape}"
        return
    wants_integers = isinstance(
        space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    )
    if column.dtype == object or (wants_integers and column.dtype.kind not in "iub"):
        yield f"{name}: has dtype {column.dtype}, which the space {space} cannot hold"
        return
    checks = {"is not finite": _not_finite(column)}
    if bounded:
        checks[f"lies outside {space}"] = _outside(column, space)
    for complaint, bad in checks.items():
        if bad is not None and bad.any():
            position = tuple(int(i) for i in np.argwhere(bad)[0])
            component = f", component {position[1:]}" if len(position) > 1 else ""
            place = _place(position[0], episode_of_row, offsets, extra)
            yield f"{name}: {place}{component} is {column[position]}, which {complaint}"
            return


def _not_finite(column: np.ndarray) -> np.ndarray | None:
    return ~np.isfinite(column) if column.dtype.kind == "f" else None


def _outside(column: np.ndarray, space: spaces.Space) -> np.ndarray | None:
    """Mask of the values outside `space`; rounding to float32 is forgiven."""
    if isinstance(space, spaces.Box):
        slack = 1e-5 * np.maximum(1.0, np.abs(np.nan_to_num(space.high, posinf=0.0)))
        return (column < space.low - slack) | (column > space.high + slack)
    if isinstance(space, spaces.Discrete):
        return (column < space.start) | (column >= space.start + space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return (column < 0) | (column >= space.nvec)
    if isinstance(space, spaces.MultiBinary):
        return (column < 0) | (column > 1)
    return None


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

    Image channels are moved first where the model has them first (SB3's `VecTransposeImage`),
    once and here. Bounds may differ; kinds, shapes and numbers of choices may not.

    :raises DataError: the spaces do not fit; the message shows both
    """
    data = demonstrations
    if isinstance(observation_space, spaces.Dict) and isinstance(data.observation_space, spaces.Dict):
        wanted, given = observation_space.spaces, data.observation_space.spaces
        moved = {key: _moves_channels(given.get(key), space) for key, space in wanted.items()}
        if any(moved.values()):
            observations = {
                key: np.moveaxis(column, -1, 1) if moved.get(key) else column
                for key, column in data.observations.items()  # type: ignore[union-attr]
            }
            data = dataclasses.replace(
                data, observations=observations, observation_space=observation_space
            )
    elif _moves_channels(data.observation_space, observation_space):
        data = dataclasses.replace(
            data,
            observations=np.moveaxis(data.observations, -1, 1),  # type: ignore[arg-type]
            observation_space=observation_space,
        )
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


def _moves_channels(given: spaces.Space | None, wanted: spaces.Space) -> bool:
    return (
        given is not None
        and is_image_space(given)
        and is_image_space(wanted)
        and is_image_space_channels_first(wanted)  # type: ignore[arg-type]
        and not is_image_space_channels_first(given)  # type: ignore[arg-type]
        and (given.shape[-1], *given.shape[:-1]) == wanted.shape  # type: ignore[index,misc]
    )


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
