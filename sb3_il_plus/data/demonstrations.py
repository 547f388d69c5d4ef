"""`Demonstrations`: the one data type, for imitation and offline RL alike.

Flat columns with episode offsets. An episode of T steps has T actions and T + 1 observations, so
next observations are the same array read one later, and nothing is stored twice. Instances are
immutable: slicing, filtering and joining give new ones. This file holds the type and what needs
nothing else; reading and writing formats is in the neighbouring files.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.errors import DataError
from sb3_il_plus.randomness import child_generator

if TYPE_CHECKING:
    from imitation.data.types import TrajectoryWithRew


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode (or a fragment of one) as views into the columns."""

    observations: Columns
    """Shape (T + 1, *observation shape): the last one is where the episode ended."""
    actions: np.ndarray
    """Shape (T, *action shape)."""
    rewards: np.ndarray | None
    """Shape (T,), or None where the data has none."""
    terminated: bool
    """Whether the last state is terminal (its value is zero)."""
    truncated: bool
    """Whether a time limit or the like cut the episode (its last state still has a value)."""

    def __len__(self) -> int:
        return len(self.actions)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Demonstrations:
    """Episodes of observations and actions, with rewards where they are known.

    N is the number of transitions and E of episodes. Most people want `from_arrays`, `load` or
    `collect` rather than this constructor, which checks lengths only.

    :raises DataError: the columns' lengths contradict each other; the message says where
    """

    observations: Columns
    """Shape (N + E, *observation shape), or a dict of such: each episode's last one is kept."""
    actions: np.ndarray
    """Shape (N, *action shape)."""
    terminations: np.ndarray
    """Shape (N,), bool: the step led to a terminal state."""
    truncations: np.ndarray
    """Shape (N,), bool: the episode was cut after the step, by a time limit or the like."""
    offsets: np.ndarray
    """Shape (E + 1,), int64: episode e holds transitions `offsets[e]` to `offsets[e + 1] - 1`."""
    observation_space: spaces.Space
    action_space: spaces.Space
    rewards: np.ndarray | None = None
    """Shape (N,), or None."""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """JSON-like facts: environment id, expert, seed, library versions."""

    def __post_init__(self) -> None:
        n_transitions, n_episodes = len(self.actions), len(self.offsets) - 1
        if n_episodes < 1 or n_transitions < 1:
            raise DataError(
                "the demonstrations are empty: they need at least one episode with one step"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != n_transitions:
            raise DataError(
                f"episode offsets run from {self.offsets[0]} to {self.offsets[-1]}, but there are "
                f"{n_transitions} actions"
            )
        short = np.flatnonzero(np.diff(self.offsets) < 1)
        if len(short):
            raise DataError(f"episode {short[0]} has no steps")
        for name, column in col.named(self.observations):
            if len(column) != n_transitions + n_episodes:
                raise DataError(
                    f"{name} has {len(column)} rows; {n_transitions} transitions in {n_episodes} "
                    f"episodes need {n_transitions + n_episodes} (one more than actions in each)"
                )
        for name in ("rewards", "terminations", "truncations"):
            column = getattr(self, name)
            if column is not None and np.shape(column) != (n_transitions,):
                raise DataError(
                    f"{name} has shape {np.shape(column)}; {n_transitions} actions need "
                    f"({n_transitions},)"
                )
        for name in ("observations", "actions", "rewards", "terminations", "truncations", "offsets"):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, col.map_columns(_read_only, column))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    # -- sizes -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of transitions, N."""
        return len(self.actions)

    @property
    def n_episodes(self) -> int:
        """Number of episodes, E."""
        return len(self.offsets) - 1

    @cached_property
    def episode_lengths(self) -> np.ndarray:
        """Steps in each episode, shape (E,)."""
        return np.diff(self.offsets)

    @cached_property
    def episode_index(self) -> np.ndarray:
        """The episode that each transition belongs to, shape (N,)."""
        return np.repeat(np.arange(self.n_episodes), self.episode_lengths)

    @cached_property
    def episode_returns(self) -> np.ndarray:
        """Undiscounted return of each episode, shape (E,).

        :raises DataError: there are no rewards
        """
        if self.rewards is None:
            raise DataError("these demonstrations have no rewards, so their returns are unknown")
        return np.add.reduceat(self.rewards, self.offsets[:-1], dtype=np.float64)

    def __repr__(self) -> str:
        parts = [f"{self.n_episodes} episodes", f"{len(self)} transitions"]
        if self.rewards is not None:
            returns = self.episode_returns
            parts.append(f"return {returns.mean():.1f} ± {returns.std():.1f}")
        if "env_id" in self.metadata:
            parts.append(str(self.metadata["env_id"]))
        return f"Demonstrations({', '.join(parts)})"

    # -- reading transitions ---------------------------------------------------------------------

    def observations_at(self, index: np.ndarray) -> Columns:
        """Observations of the transitions `index`, shape (B, *observation shape)."""
        return col.take(self.observations, index + self.episode_index[index])

    def next_observations_at(self, index: np.ndarray) -> Columns:
        """Observations one step after the transitions `index`, shape (B, *observation shape)."""
        return col.take(self.observations, index + self.episode_index[index] + 1)

    def episode(self, number: int) -> Episode:
        """Return one episode, as views; negative numbers count from the end."""
        if not -self.n_episodes <= number < self.n_episodes:
            raise IndexError(f"episode {number} of {self.n_episodes}")
        number %= self.n_episodes
        start, stop = int(self.offsets[number]), int(self.offsets[number + 1])
        return Episode(
            observations=col.take(self.observations, slice(start + number, stop + number + 1)),
            actions=self.actions[start:stop],
            rewards=None if self.rewards is None else self.rewards[start:stop],
            terminated=bool(self.terminations[stop - 1]),
            truncated=bool(self.truncations[stop - 1]),
        )

    def episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes, as views."""
        return (self.episode(number) for number in range(self.n_episodes))

    # -- new demonstrations from these -----------------------------------------------------------

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray) -> Demonstrations:
        """Select episodes: a number, a slice, a list of numbers or a boolean mask of length E."""
        if isinstance(key, (int, np.integer)):
            key = [range(self.n_episodes)[int(key)]]
        chosen = np.arange(self.n_episodes)[np.asarray(key) if isinstance(key, Sequence) else key]
        if len(chosen) == 0:
            raise DataError(f"no episode left: {key!r} selects none of {self.n_episodes}")
        starts, lengths = self.offsets[chosen], self.episode_lengths[chosen]
        rows = _ranges(starts, lengths)
        return dataclasses.replace(
            self,
            observations=col.take(self.observations, _ranges(starts + chosen, lengths + 1)),
            actions=self.actions[rows],
            rewards=None if self.rewards is None else self.rewards[rows],
            terminations=self.terminations[rows],
            truncations=self.truncations[rows],
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
        )

    def filter_by_return(
        self, minimum: float = -np.inf, maximum: float = np.inf
    ) -> Demonstrations:
        """Keep the episodes whose return lies within `[minimum, maximum]`."""
        returns = self.episode_returns
        return self[(returns >= minimum) & (returns <= maximum)]

    def top(self, fraction: float) -> Demonstrations:
        """Keep the best `fraction` of the episodes by return, at least one, in their order."""
        if not 0 < fraction <= 1:
            raise DataError(f"fraction={fraction} must lie within (0, 1]")
        n_kept = max(1, round(fraction * self.n_episodes))
        return self[np.sort(np.argsort(-self.episode_returns, kind="stable")[:n_kept])]

    def sample_episodes(self, n_episodes: int, seed: int) -> Demonstrations:
        """Keep `n_episodes` episodes drawn without replacement, in their order."""
        if not 1 <= n_episodes <= self.n_episodes:
            raise DataError(f"cannot draw {n_episodes} of {self.n_episodes} episodes")
        rng = child_generator(seed, "episodes")
        return self[np.sort(rng.choice(self.n_episodes, n_episodes, replace=False))]

    def split(self, fraction: float, seed: int) -> tuple[Demonstrations, Demonstrations]:
        """Split by episode into (`1 - fraction`, `fraction`), each with at least one episode.

        Steps of one episode are alike, so a split by transition would leak.
        """
        if not 0 < fraction < 1 or self.n_episodes < 2:
            raise DataError(
                f"cannot hold out {fraction} of {self.n_episodes} episodes: the fraction must lie "
                "within (0, 1) and there must be at least two episodes"
            )
        n_held_out = min(max(1, round(fraction * self.n_episodes)), self.n_episodes - 1)
        order = child_generator(seed, "split").permutation(self.n_episodes)
        return self[np.sort(order[n_held_out:])], self[np.sort(order[:n_held_out])]

    def subsample(self, every: int, offset: int = 0) -> Demonstrations:
        """Keep every `every`-th step of each episode, as the GAIL paper does for scarce data.

        The kept steps are no longer neighbours, so each becomes a fragment of its own with its
        observation and next observation.
        """
        if every < 1 or offset < 0:
            raise DataError(f"every={every} must be positive and offset={offset} not negative")
        steps = np.arange(len(self)) - self.offsets[self.episode_index]
        rows = np.flatnonzero((steps >= offset) & ((steps - offset) % every == 0))
        if len(rows) == 0:
            raise DataError(f"no step left: every episode is shorter than offset={offset}")
        first = rows + self.episode_index[rows]
        return dataclasses.replace(
            self,
            observations=col.take(self.observations, np.stack([first, first + 1], 1).ravel()),
            actions=self.actions[rows],
            rewards=None if self.rewards is None else self.rewards[rows],
            terminations=self.terminations[rows],
            truncations=self.truncations[rows],
            offsets=np.arange(len(rows) + 1),
            metadata={**self.metadata, "subsampled_every": every},
        )

    @staticmethod
    def concatenate(parts: Sequence[Demonstrations]) -> Demonstrations:
        """Join data of equal spaces; rewards are kept if all parts have them.

        :raises DataError: there are no parts, or their spaces differ
        """
        if not parts:
            raise DataError("cannot join an empty list of demonstrations")
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
        rewards = [part.rewards for part in parts if part.rewards is not None]
        shifts = np.cumsum([0] + [len(part) for part in parts])
        return dataclasses.replace(
            first,
            observations=col.concatenate([part.observations for part in parts]),
            actions=np.concatenate([part.actions for part in parts]),
            rewards=np.concatenate(rewards) if len(rewards) == len(parts) else None,
            terminations=np.concatenate([part.terminations for part in parts]),
            truncations=np.concatenate([part.truncations for part in parts]),
            offsets=np.concatenate(
                [[0], *(part.offsets[1:] + shift for part, shift in zip(parts, shifts, strict=False))]
            ),
        )

    # -- checks and identity ---------------------------------------------------------------------

    def validate(self) -> Demonstrations:
        """Check every value against the spaces and return the same object.

        :raises DataError: names every problem with its episode, step and column
        """
        from sb3_il_plus.data.validation import problems

        found = problems(self)
        if found:
            raise DataError("; ".join(found))
        return self

    def fingerprint(self) -> str:
        """A hash of the columns: equal data has an equal one, wherever it was read from."""
        digest = hashlib.sha256()
        parts = [*col.named(self.observations), ("actions", self.actions)]
        parts += [("rewards", self.rewards)] if self.rewards is not None else []
        parts += [("terminations", self.terminations), ("truncations", self.truncations)]
        for name, column in [*parts, ("offsets", self.offsets)]:
            digest.update(f"{name} {column.dtype} {column.shape}".encode())
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()[:16]

    # -- formats (each in its own file) ----------------------------------------------------------

    @classmethod
    def from_arrays(cls, observations: Any, actions: Any, *args: Any, **kwargs: Any) -> Demonstrations:
        """Build from your own arrays: see `sb3_il_plus.data.arrays.from_arrays`."""
        from sb3_il_plus.data.arrays import from_arrays

        return from_arrays(observations, actions, *args, **kwargs)

    @classmethod
    def coerce(cls, source: Any) -> Demonstrations:
        """Return demonstrations from whatever users hand over.

        :param source: a `Demonstrations`, a path (see `load`), or `imitation`'s trajectories or
            transitions
        """
        if isinstance(source, Demonstrations):
            return source
        if isinstance(source, (str, Path)):
            return cls.load(source)
        return cls.from_imitation(source)

    @classmethod
    def from_imitation(cls, source: Any, **kwargs: Any) -> Demonstrations:
        """Convert `imitation`'s `Trajectory` sequence or `Transitions`: see `data.imitation`."""
        from sb3_il_plus.data.imitation import from_imitation

        return from_imitation(source, **kwargs)

    def to_trajectories(self) -> list[TrajectoryWithRew]:
        """Convert to `imitation`'s trajectories: see `data.imitation`."""
        from sb3_il_plus.data.imitation import to_trajectories

        return to_trajectories(self)

    def save(self, path: str | Path) -> Path:
        """Write to `path`: `.npz` for one file, anything else for a Minari data set folder.

        The file appears complete or not at all. Returns the path written.
        """
        from sb3_il_plus.data.formats import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Demonstrations:
        """Read what `save` wrote, without executing anything in it.

        :raises FileError: the file is missing, damaged or of an unknown kind
        """
        from sb3_il_plus.data.formats import load

        return load(Path(path))


def _read_only(column: np.ndarray) -> np.ndarray:
    view = np.asarray(column).view()
    view.flags.writeable = False
    return view


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate `arange(start, start + length)` for each pair, without a Python loop."""
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
