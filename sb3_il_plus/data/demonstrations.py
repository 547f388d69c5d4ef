"""`Demonstrations`: the one data type, for imitation and offline RL alike.

Flat columns with episode offsets. An episode of T steps has T actions and T + 1 observations, so
next observations are the same array read one later, and nothing is stored twice. Instances are
immutable: slicing, filtering and joining give new ones. This file holds the type; the work on its
columns, and reading and writing formats, is in the neighbouring files.
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
from sb3_il_plus.data.assembly import join, keep_every, sample_episodes, select_episodes, split
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.episode import Episode
from sb3_il_plus.data.state_only import ACTIONS_UNKNOWN, stand_ins, without_actions
from sb3_il_plus.data.validation import check_structure, problems
from sb3_il_plus.errors import DataError

if TYPE_CHECKING:
    from imitation.data.types import Trajectory, Transitions
    from stable_baselines3.common.buffers import ReplayBuffer


_OPTIONAL = frozenset({"actions", "rewards", "action_masks", "intervened"})

_FLAT = (
    "actions",
    "rewards",
    "terminations",
    "truncations",
    "offsets",
    "action_masks",
    "intervened",
)
"""The columns beside the observations."""


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
    """Shape (N, *action shape); stand-ins where they are not known (see `data.state_only`)."""
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
    action_masks: np.ndarray | None = None
    """Shape (N, number of choices), bool: the choices that were allowed (see `data.masks`)."""
    intervened: np.ndarray | None = None
    """Shape (N,), bool: a person acted in the step, not the learner; None where one always did."""

    def __post_init__(self) -> None:
        for name in ("observations", *_FLAT):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, col.map_columns(col.read_only, column))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        check_structure(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # The read-only view of the metadata cannot be sent to another process as it is.
        facts = self.observation_space, self.action_space, dict(self.metadata)
        return Demonstrations.from_columns, (self.columns(), *facts)

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

    @property
    def has_actions(self) -> bool:
        """Whether it is known what was done, and not only what was seen."""
        return not self.metadata.get(ACTIONS_UNKNOWN, False)

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
        if not self.has_actions:
            parts.append("actions unknown")
        if "env_id" in self.metadata:
            parts.append(str(self.metadata["env_id"]))
        return f"Demonstrations({', '.join(parts)})"

    # -- reading transitions ---------------------------------------------------------------------

    def observations_at(self, index: np.ndarray) -> Columns:
        """Observations of the transitions `index`, shape (B, *observation shape)."""
        return col.take(self.observations, self.observation_rows(index))

    def next_observations_at(self, index: np.ndarray) -> Columns:
        """Observations one step after the transitions `index`, shape (B, *observation shape)."""
        return col.take(self.observations, self.observation_rows(index) + 1)

    def observation_rows(self, index: np.ndarray) -> np.ndarray:
        """Where the observations of the transitions `index` are in their column, shape (B,).

        The observations that follow them are one row later.
        """
        # Not by `episode_index`: with ten million transitions it would be large itself.
        return index + np.searchsorted(self.offsets, index, side="right") - 1

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
        return select_episodes(self, chosen)

    def filter_by_return(self, minimum: float = -np.inf, maximum: float = np.inf) -> Demonstrations:
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
        return sample_episodes(self, n_episodes, seed)

    def split(self, fraction: float, seed: int) -> tuple[Demonstrations, Demonstrations]:
        """Split by episode into (`1 - fraction`, `fraction`), each with at least one episode.

        Steps of one episode are alike, so a split by transition would leak.
        """
        return split(self, fraction, seed)

    def subsample(self, every: int, offset: int = 0) -> Demonstrations:
        """Keep every `every`-th step of each episode, as the GAIL paper does for scarce data.

        The kept steps are no longer neighbours, so each becomes a fragment of its own with its
        observation and next observation.
        """
        return keep_every(self, every, offset)

    def without_actions(self) -> Demonstrations:
        """Forget the actions: for methods that learn from observations alone."""
        return without_actions(self)

    def corrupt(self, *, seed: int, **flaws: Any) -> Demonstrations:
        """Make the data noisy, wrong or scarce: see `data.corruption.corrupt`.

        :param flaws: `observation_noise`, `action_noise`, `random_actions`, `wrong_actions`,
            `dropped_episodes`, `dropped_steps`
        """
        from sb3_il_plus.data.corruption import corrupt

        return corrupt(self, seed=seed, **flaws)

    @staticmethod
    def concatenate(parts: Sequence[Demonstrations]) -> Demonstrations:
        """Join data of equal spaces; rewards are kept if all parts have them.

        :raises DataError: there are no parts, or their spaces differ
        """
        return join(parts)

    # -- checks and identity ---------------------------------------------------------------------

    def validate(self) -> Demonstrations:
        """Check every value against the spaces and return the same object.

        :raises DataError: names every problem with its episode, step and column
        """
        found = problems(self)
        if found:
            raise DataError("; ".join(found))
        return self

    def fingerprint(self) -> str:
        """A hash of the columns: equal data has an equal one, wherever it was read from."""
        digest = hashlib.sha256()
        for name, column in sorted(self.columns().items()):
            digest.update(f"{name} {column.dtype} {column.shape}".encode())
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()[:16]

    def columns(self) -> dict[str, np.ndarray]:
        """All arrays by name, as files hold them; `from_columns` is the inverse.

        The entries of a `Dict` observation are named `observations['key']`.
        """
        columns = {name: getattr(self, name) for name in _FLAT if getattr(self, name) is not None}
        if not self.has_actions:
            del columns["actions"]
        return {**dict(col.named(self.observations)), **columns}

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, np.ndarray],
        observation_space: spaces.Space,
        action_space: spaces.Space,
        metadata: Mapping[str, Any] | None = None,
    ) -> Demonstrations:
        """Build from arrays named as `columns` names them; without actions, they are unknown.

        :raises DataError: one is missing, unknown, or contradicts the others
        """
        names: dict[str | None, str] = {None: "observations"}
        if isinstance(observation_space, spaces.Dict):
            names = {key: f"observations[{key!r}]" for key in observation_space.spaces}
        missing = {*names.values(), *_FLAT} - _OPTIONAL - set(columns)
        unknown = set(columns) - {*names.values(), *_FLAT}
        if missing or unknown:
            raise DataError(f"columns missing: {sorted(missing)}, unknown: {sorted(unknown)}")
        observations: Any = {key: columns[name] for key, name in names.items()}
        if "actions" not in columns:
            actions = stand_ins(action_space, len(columns["terminations"]))
            columns = {**columns, "actions": actions}
            metadata = {**(metadata or {}), ACTIONS_UNKNOWN: True}
        return cls(
            observations=observations.get(None, observations),
            observation_space=observation_space,
            action_space=action_space,
            metadata=metadata or {},
            **{name: columns[name] for name in _FLAT if name in columns},
        )

    # -- formats (each in its own file) ----------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        observations: Any,
        actions: Any = None,
        rewards: Any = None,
        terminations: Any = None,
        truncations: Any = None,
        **options: Any,
    ) -> Demonstrations:
        """Build from your own arrays, flat or one per episode: see `data.arrays.from_arrays`.

        :param options: `env`, or `action_space` and `observation_space`; `next_observations`,
            `episode_lengths`, `metadata`
        """
        from sb3_il_plus.data.arrays import from_arrays

        return from_arrays(observations, actions, rewards, terminations, truncations, **options)

    @classmethod
    def coerce(cls, source: Any, *, env: Any = None) -> Demonstrations:
        """Return demonstrations from whatever users hand over.

        :param source: a `Demonstrations`, a path (see `load`), or `imitation`'s trajectories or
            transitions
        :param env: id or object that has the spaces, which `imitation`'s types and some files lack
        """
        if isinstance(source, Demonstrations):
            return source
        if isinstance(source, (str, Path)):
            from sb3_il_plus.data.formats import load_for

            return load_for(source, env)
        return cls.from_imitation(source, env=env)

    @classmethod
    def from_imitation(cls, source: Any, **kwargs: Any) -> Demonstrations:
        """Convert `imitation`'s trajectories or transitions: see `data.imitation`."""
        from sb3_il_plus.data.imitation import from_imitation

        return from_imitation(source, **kwargs)

    def to_trajectories(self) -> list[Trajectory]:
        """Convert to `imitation`'s trajectories: see `data.imitation`."""
        from sb3_il_plus.data.imitation import to_trajectories

        return to_trajectories(self)

    def to_transitions(self) -> Transitions:
        """Convert to `imitation`'s transitions: see `data.imitation`."""
        from sb3_il_plus.data.imitation import to_transitions

        return to_transitions(self)

    @classmethod
    def from_replay_buffer(cls, buffer: ReplayBuffer, **options: Any) -> Demonstrations:
        """Convert what an SB3 replay buffer holds: see `data.replay_buffer`."""
        from sb3_il_plus.data.replay_buffer import from_replay_buffer

        return from_replay_buffer(buffer, **options)

    def to_replay_buffer(self, **options: Any) -> ReplayBuffer:
        """Convert to an SB3 replay buffer: see `data.replay_buffer`."""
        from sb3_il_plus.data.replay_buffer import to_replay_buffer

        return to_replay_buffer(self, **options)

    def save(self, path: str | Path, format: str | None = None) -> Path:
        """Write `path`, in the format that its suffix means: see `data.formats.save`.

        `.npz`, `.hdf5` (D4RL), `.mapped` (a folder for data larger than memory), or no suffix (a
        Minari data set: a folder, or for a string like "CartPole/mine-v0" a new id of Minari's
        store). It appears complete or not at all. Returns the path written.

        :param format: "npz", "mapped", "d4rl", "minari", "minari-arrow" or "imitation" instead
        :raises FileError: the format is unknown, or the path cannot be written
        """
        from sb3_il_plus.data.formats import save

        return save(self, path, format)

    @classmethod
    def load(cls, path: str | Path, **hints: Any) -> Demonstrations:
        """Read any format (see `data.formats`), or a data set of Minari's store by its id.

        Nothing in the file is executed.

        :param hints: what some formats do not hold: `env`, or `observation_space` and
            `action_space`; `max_episode_steps`
        :raises FileError: it is missing, damaged or of an unknown kind
        """
        from sb3_il_plus.data.formats import load

        return load(path, **hints)
