"""Flawed demonstrations: noise, wrong labels and gaps, in known amounts.

    scarce_and_noisy = demonstrations.corrupt(
        seed=0, observation_noise=0.1, random_actions=0.3, dropped_episodes=0.5
    )

Each flaw draws from a generator of its own, so that adding one does not change another. What was
done is appended to the metadata under `corruption`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.assembly import keep_steps
from sb3_il_plus.data.state_only import require_actions
from sb3_il_plus.errors import DataError
from sb3_il_plus.randomness import child_generator
from sb3_il_plus.spaces import add_noise, half_range, sample_uniform

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations

CORRUPTION = "corruption"
"""Metadata key: a list of what `corrupt` was called with, one entry for each call."""


def corrupt(
    data: Demonstrations,
    *,
    seed: int,
    observation_noise: float = 0.0,
    action_noise: float = 0.0,
    random_actions: float = 0.0,
    wrong_actions: float = 0.0,
    dropped_episodes: int | float = 0,
    dropped_steps: float = 0.0,
) -> Demonstrations:
    """Make demonstrations noisy, wrong and scarce; rewards and ends stay what they were.

    :param seed: the same one gives the same flaws
    :param observation_noise: standard deviation of Gaussian noise on observations of `Box` spaces,
        in units of each component's own over the data, clipped to the space's bounds. An
        observation is one reading: as the next observation of a step, it has the same noise
    :param action_noise: standard deviation of Gaussian noise on actions of a `Box` space, in units
        of half the range of each component, clipped to the bounds
    :param random_actions: share of the labels that are replaced by uniformly random actions
    :param wrong_actions: share of the labels that are replaced by another choice than the one that
        was made, in every component; for spaces of choices. It counts apart from `random_actions`,
        and is done after it
    :param dropped_episodes: episodes that are lost, as a share (a float) or a count (an integer),
        as in scikit-learn's `test_size`; one is lost and one is left at least
    :param dropped_steps: share of the steps that are lost at random. What is left of an episode
        becomes fragments that neither terminated nor were truncated; `subsample` thins regularly
    :return: the flawed demonstrations, without the action masks that changed actions would violate
    :raises DataError: an argument is out of range, or does not fit the spaces
    """
    flaws = {
        name: amount
        for name, amount in {
            "observation_noise": observation_noise,
            "action_noise": action_noise,
            "random_actions": random_actions,
            "wrong_actions": wrong_actions,
            "dropped_episodes": dropped_episodes,
            "dropped_steps": dropped_steps,
        }.items()
        if _checked(name, amount)
    }
    for name, amount in flaws.items():
        data = FLAWS[name](data, amount, child_generator(seed, name))
    history = [*data.metadata.get(CORRUPTION, []), {**flaws, "seed": seed}]
    return dataclasses.replace(data, metadata={**data.metadata, CORRUPTION: history})


def _checked(name: str, amount: Any) -> bool:
    """Whether there is this flaw at all; refuse what is no amount of it."""
    number = isinstance(amount, (int, float, np.number)) and not isinstance(amount, bool)
    if not number or not math.isfinite(amount) or amount < 0:
        raise DataError(f"{name}={amount!r} must be a number, 0 or more")
    count = name == "dropped_episodes" and isinstance(amount, (int, np.integer))
    if not name.endswith("_noise") and not count and amount > 1:
        raise DataError(f"{name}={amount} is a share and must lie within [0, 1]")
    return bool(amount > 0)


def _observation_noise(
    data: Demonstrations, scale: float, rng: np.random.Generator
) -> Demonstrations:
    space = data.observation_space
    entries: Any = space.spaces if isinstance(space, spaces.Dict) else space
    if not any(isinstance(entry, spaces.Box) for _, entry in col.named_spaces(space)):
        raise DataError(f"observation_noise needs observations of a Box space, not {space}")

    def read_again(column: np.ndarray, entry: spaces.Space) -> np.ndarray:
        if not isinstance(entry, spaces.Box):
            return column
        return add_noise(column, entry, scale * column.std(axis=0, dtype=np.float64), rng)

    noisy = col.map_columns(read_again, data.observations, entries)
    return dataclasses.replace(data, observations=noisy)


def _action_noise(data: Demonstrations, scale: float, rng: np.random.Generator) -> Demonstrations:
    space = data.action_space
    require_actions(data, "action_noise")
    if not isinstance(space, spaces.Box):
        raise DataError(
            f"action_noise is for Box actions, not for {space}; random_actions and wrong_actions "
            "change choices"
        )
    return _with_actions(data, add_noise(data.actions, space, scale * half_range(space), rng))


def _random_actions(data: Demonstrations, share: float, rng: np.random.Generator) -> Demonstrations:
    require_actions(data, "random_actions")
    rows = _some(len(data), share, rng)
    actions = data.actions.copy()
    actions[rows] = sample_uniform(data.action_space, len(rows), rng)
    return _with_actions(data, actions)


def _wrong_actions(data: Demonstrations, share: float, rng: np.random.Generator) -> Demonstrations:
    require_actions(data, "wrong_actions")
    space = data.action_space
    n_choices: Any = getattr(space, "nvec", getattr(space, "n", None))
    if isinstance(space, spaces.MultiBinary):
        n_choices = 2
    if n_choices is None or np.any(np.asarray(n_choices) < 2):
        raise DataError(
            f"wrong_actions needs a space of two choices or more, not {space}; action_noise and "
            "random_actions change continuous actions"
        )
    rows, start = _some(len(data), share, rng), getattr(space, "start", 0)
    actions = data.actions.copy()
    shift = rng.integers(1, np.broadcast_to(n_choices, actions[rows].shape))
    actions[rows] = start + (actions[rows] - start + shift) % n_choices
    return _with_actions(data, actions)


def _dropped_episodes(
    data: Demonstrations, amount: int | float, rng: np.random.Generator
) -> Demonstrations:
    n_episodes = data.n_episodes
    is_count = isinstance(amount, (int, np.integer))
    n_dropped = int(amount) if is_count else max(1, round(amount * n_episodes))
    if n_dropped >= n_episodes:
        raise DataError(f"dropped_episodes={amount} leaves none of {n_episodes} episodes")
    return data[np.sort(rng.permutation(n_episodes)[n_dropped:])]


def _dropped_steps(data: Demonstrations, share: float, rng: np.random.Generator) -> Demonstrations:
    kept = np.ones(len(data), dtype=bool)
    kept[_some(len(data), share, rng)] = False
    if not kept.any():
        raise DataError(f"dropped_steps={share} leaves none of {len(data)} steps")
    return keep_steps(data, kept)


FLAWS = {
    "observation_noise": _observation_noise,
    "action_noise": _action_noise,
    "random_actions": _random_actions,
    "wrong_actions": _wrong_actions,
    "dropped_episodes": _dropped_episodes,
    "dropped_steps": _dropped_steps,
}
"""Each flaw, in the order in which they are made."""


def _some(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """A share of `n` rows, drawn without replacement."""
    return rng.permutation(n)[: round(share * n)]


def _with_actions(data: Demonstrations, actions: np.ndarray) -> Demonstrations:
    return dataclasses.replace(data, actions=actions, action_masks=None)
