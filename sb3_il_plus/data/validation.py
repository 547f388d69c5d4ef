"""What can be wrong with demonstrations, and where: the one validator of the package.

`check_structure` looks at the kinds and lengths of columns, for every `Demonstrations` ever made.
`problems` looks at every value once (see `checking.py`). `fit_to` checks data against the spaces it
shall be used with. All of them name every problem at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.checking import Checker
from sb3_il_plus.data.images import channels_first
from sb3_il_plus.errors import DataError

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations


_FLAGS = ("terminations", "truncations", "action_masks", "intervened")

_KINDS = {"offsets": "iu", **dict.fromkeys(_FLAGS, "b")}
"""Column -> the kinds of NumPy dtypes that it can have; any number where not listed."""


def check_structure(data: Demonstrations) -> None:
    """Check the kinds and lengths of the columns, but not their values.

    :raises DataError: names every contradiction with its column
    """
    found = list(_kind_problems(data)) or list(_length_problems(data))
    if found:
        raise DataError("; ".join(found))


def _kind_problems(data: Demonstrations) -> Iterator[str]:
    if isinstance(data.observations, dict) and not data.observations:
        yield "observations is a dict without entries"
    for name, column in data.columns().items():
        kinds = _KINDS.get(name, "biuf")
        if column.ndim == 0 or column.dtype.kind not in kinds:
            wanted = {"iu": "integers", "b": "booleans", "biuf": "numbers"}[kinds]
            yield f"{name} must be an array of {wanted}, not {column.dtype} of shape {column.shape}"


def _length_problems(data: Demonstrations) -> Iterator[str]:
    n_transitions = len(data.actions)
    if data.offsets.ndim != 1 or len(data.offsets) < 2 or n_transitions < 1:
        yield "the demonstrations are empty: they need at least one episode with one step"
        return
    n_episodes = len(data.offsets) - 1
    yield from _offset_problems(data.offsets, n_transitions)
    for name, column in col.named(data.observations):
        if len(column) != n_transitions + n_episodes:
            yield (
                f"{name} has {len(column)} rows; {n_transitions} transitions in {n_episodes} "
                f"episodes need {n_transitions + n_episodes} (one more than actions in each)"
            )
    masks = data.action_masks
    if masks is not None and (masks.ndim != 2 or len(masks) != n_transitions):
        yield (
            f"action_masks has shape {masks.shape}; {n_transitions} actions need one row of "
            "choices each"
        )
    for name in ("rewards", "terminations", "truncations", "intervened"):
        column = getattr(data, name)
        if column is not None and column.shape != (n_transitions,):
            yield (
                f"{name} has shape {column.shape}; {n_transitions} actions need ({n_transitions},)"
            )


def _offset_problems(offsets: np.ndarray, n_transitions: int) -> Iterator[str]:
    if offsets[0] != 0 or offsets[-1] != n_transitions:
        yield (
            f"episode offsets run from {offsets[0]} to {offsets[-1]}, but there are "
            f"{n_transitions} actions"
        )
    short = np.flatnonzero(offsets[1:] <= offsets[:-1])
    if len(short):
        more = f" (nor have {len(short) - 1:,} others)" if len(short) > 1 else ""
        yield f"episode {short[0]} has no steps{more}"


def problems(demonstrations: Demonstrations) -> list[str]:
    """A sentence for each kind of problem in the values; [] if there are none."""
    checker = Checker(demonstrations.observation_space, demonstrations.action_space)
    checker.add(demonstrations)
    return checker.problems()


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
