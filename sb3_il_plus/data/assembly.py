"""New demonstrations from parts of others: selecting, thinning, joining.

`Demonstrations` offers these functions as methods. All of them move whole columns at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.errors import DataError
from sb3_il_plus.randomness import child_generator

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations, Episode


def from_episodes(
    episodes: Sequence[Episode],
    observation_space: spaces.Space,
    action_space: spaces.Space,
    metadata: Mapping[str, Any] | None = None,
) -> Demonstrations:
    """Join single episodes; rewards are kept if all of them have some.

    :raises DataError: there are none, or their columns do not fit each other or the spaces
    """
    from sb3_il_plus.data.demonstrations import Demonstrations

    if not episodes:
        raise DataError("there are no episodes: demonstrations need at least one")
    for number, episode in enumerate(episodes):
        _check_episode(number, episode)
    offsets = np.cumsum([0, *(len(episode) for episode in episodes)])
    try:
        observations = col.concatenate([episode.observations for episode in episodes])
        actions = np.concatenate([episode.actions for episode in episodes])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the episodes do not fit each other: {error}") from error
    return Demonstrations(
        observations=observations,
        actions=actions,
        rewards=_join_optional([episode.rewards for episode in episodes]),
        terminations=at_ends(offsets, [episode.terminated for episode in episodes]),
        truncations=at_ends(offsets, [episode.truncated for episode in episodes]),
        offsets=offsets,
        observation_space=observation_space,
        action_space=action_space,
        metadata=metadata or {},
    ).validate()


def _check_episode(number: int, episode: Episode) -> None:
    """Lengths that are wrong in two episodes could add up to what is right for both."""
    for name, column in col.named(episode.observations):
        if len(column) != len(episode) + 1:
            raise DataError(
                f"{name} of episode {number} has {len(column)} rows; "
                f"{len(episode)} actions need {len(episode) + 1}"
            )
    if episode.rewards is not None and len(episode.rewards) != len(episode):
        raise DataError(
            f"episode {number} has {len(episode.rewards)} rewards for {len(episode)} actions"
        )


def select_episodes(data: Demonstrations, chosen: np.ndarray) -> Demonstrations:
    """The episodes with the numbers `chosen`, in that order; neighbours as views."""
    starts, lengths = data.offsets[chosen], data.episode_lengths[chosen]
    offsets = np.cumsum([0, *lengths])
    if (np.diff(chosen) == 1).all():
        first, stop = int(starts[0]), int(starts[0]) + int(offsets[-1])
        rows: np.ndarray | slice = slice(first, stop)
        observation_rows: np.ndarray | slice = slice(
            first + int(chosen[0]), stop + int(chosen[-1]) + 1
        )
    else:
        rows, observation_rows = ranges(starts, lengths), ranges(starts + chosen, lengths + 1)
    return _replace_transitions(data, rows, observation_rows, offsets)


def sample_episodes(data: Demonstrations, n_episodes: int, seed: int) -> Demonstrations:
    """`n_episodes` episodes drawn without replacement, in their order."""
    if not 1 <= n_episodes <= data.n_episodes:
        raise DataError(f"cannot draw {n_episodes} of {data.n_episodes} episodes")
    rng = child_generator(seed, "episodes")
    return data[np.sort(rng.choice(data.n_episodes, n_episodes, replace=False))]


def split(
    data: Demonstrations, fraction: float, seed: int
) -> tuple[Demonstrations, Demonstrations]:
    """Split by episode into (`1 - fraction`, `fraction`), each with at least one episode."""
    if not 0 < fraction < 1 or data.n_episodes < 2:
        raise DataError(
            f"cannot hold out {fraction} of {data.n_episodes} episodes: the fraction must lie "
            "within (0, 1) and there must be at least two episodes"
        )
    n_held_out = min(max(1, round(fraction * data.n_episodes)), data.n_episodes - 1)
    order = child_generator(seed, "split").permutation(data.n_episodes)
    return data[np.sort(order[n_held_out:])], data[np.sort(order[:n_held_out])]


def keep_every(data: Demonstrations, every: int, offset: int) -> Demonstrations:
    """Each `every`-th step of every episode, as an episode of its own."""
    if every < 1 or offset < 0:
        raise DataError(f"every={every} must be positive and offset={offset} not negative")
    steps = np.arange(len(data)) - data.offsets[data.episode_index]
    rows = np.flatnonzero((steps >= offset) & ((steps - offset) % every == 0))
    if len(rows) == 0:
        raise DataError(f"no step left: every episode is shorter than offset={offset}")
    first = rows + data.episode_index[rows]
    return dataclasses.replace(
        _replace_transitions(
            data,
            rows=rows,
            observation_rows=np.stack([first, first + 1], axis=1).ravel(),
            offsets=np.arange(len(rows) + 1),
        ),
        metadata={**data.metadata, "subsampled_every": every},
    )


def keep_steps(data: Demonstrations, kept: np.ndarray) -> Demonstrations:
    """Some steps; those that are neighbours stay together, as fragments of their episode.

    :param kept: shape (N,), bool; at least one is true
    """
    rows = np.flatnonzero(kept)
    first_of_episode = np.zeros(len(data), dtype=bool)
    first_of_episode[data.offsets[:-1]] = True
    begins = first_of_episode[rows]
    begins[0] = True
    begins[1:] |= np.diff(rows) > 1
    starts = rows[begins]
    offsets = np.append(np.flatnonzero(begins), len(rows))
    observation_rows = ranges(data.observation_rows(starts), np.diff(offsets) + 1)
    return _replace_transitions(data, rows, observation_rows, offsets)


def join(parts: Sequence[Demonstrations]) -> Demonstrations:
    """Join data of equal spaces; columns that a part lacks are left out.

    :raises DataError: there are no parts, or their spaces differ
    """
    if not parts:
        raise DataError("cannot join an empty list of demonstrations")
    if not all(part.has_actions for part in parts):
        parts = [part.without_actions() for part in parts]
    first = parts[0]
    for number, part in enumerate(parts):
        if (part.observation_space, part.action_space) != (
            first.observation_space,
            first.action_space,
        ):
            raise DataError(
                f"part {number} has other spaces than part 0: {part.observation_space} and "
                f"{part.action_space}, not {first.observation_space} and {first.action_space}"
            )
    shifts = np.cumsum([0, *(len(part) for part in parts)])
    return dataclasses.replace(
        first,
        observations=col.concatenate([part.observations for part in parts]),
        actions=np.concatenate([part.actions for part in parts]),
        rewards=_join_optional([part.rewards for part in parts]),
        action_masks=_join_optional([part.action_masks for part in parts]),
        intervened=_join_optional([part.intervened for part in parts]),
        terminations=np.concatenate([part.terminations for part in parts]),
        truncations=np.concatenate([part.truncations for part in parts]),
        offsets=np.concatenate(
            [[0], *(part.offsets[1:] + shift for part, shift in zip(parts, shifts, strict=False))]
        ),
    )


def _join_optional(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Join columns, unless a part lacks its own."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if len(present) == len(parts) else None


def _replace_transitions(
    data: Demonstrations,
    rows: np.ndarray | slice,
    observation_rows: np.ndarray | slice,
    offsets: np.ndarray,
) -> Demonstrations:
    return dataclasses.replace(
        data,
        observations=col.take(data.observations, observation_rows),
        actions=data.actions[rows],
        rewards=None if data.rewards is None else data.rewards[rows],
        action_masks=None if data.action_masks is None else data.action_masks[rows],
        intervened=None if data.intervened is None else data.intervened[rows],
        terminations=data.terminations[rows],
        truncations=data.truncations[rows],
        offsets=offsets,
    )


def at_ends(offsets: np.ndarray, flags: Sequence[bool]) -> np.ndarray:
    """A column with the flag of each episode at its last step, and false before."""
    column = np.zeros(int(offsets[-1]), dtype=bool)
    column[offsets[1:] - 1] = flags
    return column


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate `arange(start, start + length)` for each pair, without a Python loop."""
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)


def breaks(observations: Columns, following: Columns) -> np.ndarray:
    """Where a row's next observation is not the observation of the row after it; the last row."""
    breaks = np.zeros(col.length(observations), dtype=bool)
    after = dict(col.named(following))
    for name, column in col.named(observations):
        differs = column[1:] != after[name][:-1]
        breaks[:-1] |= differs.any(axis=tuple(range(1, differs.ndim)))
    breaks[-1] = True
    return breaks
