"""People's own data: from NumPy arrays or lists to `Demonstrations`.

Two shapes of input are understood: flat columns over all steps, with the episode ends marked, and
lists with one entry per episode. Either way the result is validated, and all that is wrong with
lengths, shapes, dtypes and values is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Env, spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.problems import Problems
from sb3_il_plus.data.state_only import ACTIONS_UNKNOWN, check_finals, stand_ins_for
from sb3_il_plus.errors import DataError

REPEATED_FINAL = "final_observations_repeated"
"""Metadata key: the data had no observation after the last action, so the last one stands in."""


def from_arrays(
    observations: Any,
    actions: Any = None,
    rewards: Any = None,
    terminations: Any = None,
    truncations: Any = None,
    *,
    next_observations: Any = None,
    episode_lengths: Sequence[int] | None = None,
    env: Any = None,
    observation_space: spaces.Space | None = None,
    action_space: spaces.Space | None = None,
    metadata: Mapping[str, Any] | None = None,
    action_masks: Any = None,
    validate: bool = True,
) -> Demonstrations:
    """Build demonstrations from arrays, flat or one per episode.

    Flat: `observations` (N, ...) and `actions` (N, ...), with the ends of episodes marked by
    `terminations`, `truncations` or `episode_lengths`; without any, all is one episode. Per
    episode: lists of such arrays; the flags are then one bool per episode or an array of them.

    The observation after an episode's last action is taken from `next_observations`, or from
    `observations` where each episode has one more than actions. Where neither is there, the last
    observation is repeated and the metadata says so: behavioural cloning does not care, methods
    that read next observations do. An end that no flag explains counts as truncated, never as
    terminal.

    :param actions: None where they are not known, for methods that learn from observations alone;
        each episode then needs one observation more than steps, or `next_observations`
    :param rewards: (N,), or a list of arrays; None where unknown
    :param env: an environment id, `Env` or `VecEnv` to take the spaces from
    :param observation_space: in place of `env`; guessed from the arrays' shape where missing
    :param action_space: in place of `env`
    :param metadata: JSON-like facts to keep with the data
    :param action_masks: (N, number of choices), or a list of such arrays: true where a choice was
        allowed (see `data.masks`)
    :param validate: whether to check every value, and not only the lengths
    :raises DataError: something does not fit; the message names the episode, step and column
    """
    observation_space, action_space = resolve_spaces(env, observation_space, action_space)
    metadata = dict(metadata or {})
    if actions is None:
        metadata[ACTIONS_UNKNOWN] = True
        flags = (terminations, truncations)
        actions = stand_ins_for(
            observations, next_observations, flags, episode_lengths, observation_space, action_space
        )
        per_episode = isinstance(actions, list)
    else:
        per_episode = _is_per_episode(observations, actions, observation_space, action_space)
    flat = (_join_episodes if per_episode else _flatten)(
        {
            "observations": observations,
            "actions": actions,
            "rewards": rewards,
            "next_observations": next_observations,
            "action_masks": action_masks,
        },
        {"terminations": terminations, "truncations": truncations},
        None if episode_lengths is None else [int(length) for length in episode_lengths],
    )
    complete = _with_finals(flat, metadata)
    check_finals(metadata, REPEATED_FINAL)
    if observation_space is None:
        observation_space = guess_observation_space(complete)
    built = Demonstrations(
        observations=complete,
        actions=flat.actions,
        rewards=flat.rewards,
        terminations=flat.terminations,
        truncations=_explain_ends(flat),
        offsets=flat.offsets,
        observation_space=observation_space,
        action_space=action_space,
        metadata=metadata,
        action_masks=None if flat.action_masks is None else flat.action_masks.astype(bool),
    )
    return built.validate() if validate else built


def resolve_spaces(
    env: Any, observation_space: spaces.Space | None, action_space: spaces.Space | None
) -> tuple[spaces.Space | None, spaces.Space]:
    """Take the spaces that are not given from an environment.

    :param env: an environment id, `Env` or `VecEnv`, or None
    :raises DataError: the action space is unknown
    """
    if env is not None:
        from sb3_il_plus.environments import make_env

        made: Env | None = make_env(env) if isinstance(env, str) else None
        source = made or env
        observation_space = observation_space or source.observation_space
        action_space = action_space or source.action_space
        if made is not None:
            made.close()
    if action_space is None:
        raise DataError(
            "the action space is unknown: pass env='YourEnv-v0' (--env on the command line), or "
            "action_space=spaces.Discrete(n) or spaces.Box(low, high, shape); "
            "it cannot be guessed from the actions seen"
        )
    return observation_space, action_space


def guess_observation_space(observations: Columns) -> spaces.Space:
    """An unbounded space of the rows' shape (0 to 255 for bytes)."""

    def box(column: np.ndarray) -> spaces.Box:
        if column.dtype == np.uint8:
            return spaces.Box(0, 255, column.shape[1:], np.uint8)
        return spaces.Box(-np.inf, np.inf, column.shape[1:], np.float32)

    if isinstance(observations, Mapping):
        return spaces.Dict({key: box(column) for key, column in observations.items()})
    return box(observations)


@dataclass(frozen=True)
class _Flat:
    """The given columns over all steps, one episode after the other."""

    observations: Columns
    """With or without each episode's final one."""
    actions: np.ndarray
    rewards: np.ndarray | None
    next_observations: Columns | None
    action_masks: np.ndarray | None
    terminations: np.ndarray
    truncations: np.ndarray
    lengths: list[int]

    @property
    def offsets(self) -> np.ndarray:
        return np.cumsum([0, *self.lengths])


def _flatten(
    columns: Mapping[str, Any], flags: Mapping[str, Any], lengths: list[int] | None
) -> _Flat:
    """Read flat columns, and find the episodes by their lengths or by the flags."""
    problems = Problems()
    arrays: dict[str, Any] = dict.fromkeys(columns)
    for name, column in columns.items():
        with problems.gathering():
            arrays[name] = None if column is None else _array(column, name)
    problems.raise_any()
    n = len(arrays["actions"])
    if n == 0:
        raise DataError("actions is empty: demonstrations need at least one step")
    flat_flags = {}
    for name, flag in flags.items():
        with problems.gathering():
            flat_flags[name] = _flag_column(flag, n, name)
    problems.raise_any()
    if lengths is None:
        done = flat_flags["terminations"] | flat_flags["truncations"]
        lengths = np.diff(np.union1d(np.flatnonzero(done), [n - 1]), prepend=-1).tolist()
    if sum(lengths) != n:
        raise DataError(f"episode_lengths add up to {sum(lengths)}, but there are {n} actions")
    return _Flat(**arrays, **flat_flags, lengths=lengths)


def _join_episodes(
    columns: Mapping[str, Any], flags: Mapping[str, Any], lengths: list[int] | None
) -> _Flat:
    """Read lists with one array per episode, and check each episode's length."""
    n_episodes = len(columns["actions"])
    problems = Problems()
    for name, entries in {**columns, **flags}.items():
        if entries is not None and len(entries) != n_episodes:
            problems.add(f"{name} has {len(entries)} entries for {n_episodes} episodes")
    problems.raise_any()
    parts: dict[str, list[Any]] = {}
    for name, entries in columns.items():
        for number, part in enumerate(() if entries is None else entries):
            with problems.gathering():
                parts.setdefault(name, []).append(_array(part, f"{name} of episode {number}"))
    problems.raise_any()
    actual = [len(part) for part in parts["actions"]]
    if lengths not in (None, actual):
        raise DataError(f"episode_lengths is {lengths}, but the actions have lengths {actual}")
    extra = col.length(parts["observations"][0]) - actual[0]
    for name, entries in parts.items():
        more = extra if name == "observations" and extra == 1 else 0
        problems.add(*length_problems(name, entries, [length + more for length in actual]))
    problems.raise_any()
    joined: dict[str, Any] = dict.fromkeys(columns)
    joined |= {name: _join(name, entries) for name, entries in parts.items()}
    flat_flags = {name: _join_flags(flag, actual, name) for name, flag in flags.items()}
    return _Flat(**joined, **flat_flags, lengths=actual)


def length_problems(name: str, parts: Sequence[Columns], wanted: Sequence[int]) -> Iterator[str]:
    """Say which episodes' parts of a column do not have the wanted numbers of rows."""
    for number, (part, length) in enumerate(zip(parts, wanted, strict=True)):
        for label, column in col.named(part, f"{name} of episode {number}"):
            if len(column) != length:
                yield (
                    f"{label}: {len(column)} rows where {length} are expected; each episode needs "
                    "as many rows as actions, or for observations in all episodes one more"
                )


def _join(name: str, parts: Sequence[Columns]) -> Columns:
    try:
        return col.concatenate(parts)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name}: the episodes do not fit each other: {error}") from error


def _join_flags(flags: Any, lengths: list[int], name: str) -> np.ndarray:
    """Turn one bool per episode, or an array of them per episode, into one flat column."""
    columns = [np.zeros(length, dtype=bool) for length in lengths]
    for number, flag in enumerate(() if flags is None else flags):
        if np.ndim(flag) == 0:
            columns[number][-1:] = _flag_column([flag], 1, f"{name} of episode {number}")
        else:
            label = f"{name} of episode {number}"
            columns[number] = _flag_column(flag, lengths[number], label)
    return np.concatenate(columns)


def _flag_column(flags: Any, n: int, name: str) -> np.ndarray:
    if flags is None:
        return np.zeros(n, dtype=bool)
    column = _array(flags, name)
    if isinstance(column, Mapping) or column.shape != (n,):
        got = "a dict" if isinstance(column, Mapping) else f"shape {column.shape}"
        raise DataError(f"{name} needs one bool per step, shape ({n},); got {got}")
    return col.as_flags(column, name)


def _array(value: Any, name: str) -> Columns:
    """Turn one column into arrays, refusing ragged ones by name."""
    try:
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            columns = col.stack(value)
        else:
            columns = col.as_columns(value)
    except (KeyError, ValueError) as error:
        raise DataError(f"{name}: rows that differ cannot form one array ({error})") from error
    for label, column in col.named(columns, name):
        if column.dtype.kind not in "biuf" or column.ndim == 0:
            raise DataError(
                f"{label}: is {column.dtype} of shape {column.shape}, not an array of numbers"
            )
    return columns


def _with_finals(flat: _Flat, metadata: dict[str, Any]) -> Columns:
    """The observations with each episode's final one behind the others."""
    n, n_episodes = len(flat.actions), len(flat.lengths)
    rows = {name: len(column) for name, column in col.named(flat.observations)}
    for name, n_rows in rows.items():
        if n_rows not in (n, n + n_episodes):
            raise DataError(
                f"{name} has {n_rows} rows and actions {n} in {n_episodes} episodes; "
                "each episode needs as many observations as actions, or one more"
            )
    has_finals = n + n_episodes in rows.values()
    if has_finals and flat.next_observations is not None:
        raise DataError(
            "observations hold each episode's final one already; leave next_observations out"
        )
    if has_finals:
        return flat.observations
    if flat.next_observations is None:
        metadata[REPEATED_FINAL] = True
        following = flat.observations
    else:
        _check_chain(flat.observations, flat.next_observations, flat.offsets)
        following = flat.next_observations
    finals = col.take(following, flat.offsets[1:] - 1)
    return col.map_columns(
        lambda column, last: np.insert(column, flat.offsets[1:], last, axis=0),
        flat.observations,
        finals,
    )


def _explain_ends(flat: _Flat) -> np.ndarray:
    """The truncations, with every end that no flag explains among them."""
    truncations = flat.truncations.copy()
    ends = flat.offsets[1:] - 1
    truncations[ends] |= ~flat.terminations[ends]
    return truncations


def _check_chain(observations: Columns, next_observations: Columns, offsets: np.ndarray) -> None:
    """Within an episode, the next observation of a step is the observation of the next step."""
    inner = np.ones(int(offsets[-1]), dtype=bool)
    inner[offsets[1:] - 1] = False
    rows = np.flatnonzero(inner)
    following = dict(col.named(next_observations, "observations"))
    for name, column in col.named(observations):
        after = following.get(name)
        if after is None or after.shape != column.shape:
            shape = None if after is None else after.shape
            raise DataError(f"next_{name} has shape {shape}, {name} has {column.shape}")
        same = np.isclose(column[rows + 1], after[rows], equal_nan=True)
        broken = ~same.all(axis=tuple(range(1, same.ndim)))
        if broken.any():
            row = int(rows[np.argmax(broken)])
            raise DataError(
                f"next_{name}[{row}] differs from {name}[{row + 1}] although no episode ends at "
                f"index {row}; is an episode boundary missing in terminations or truncations?"
            )


def _is_per_episode(
    observations: Any,
    actions: Any,
    observation_space: spaces.Space | None,
    action_space: spaces.Space,
) -> bool:
    """Whether the columns hold one array per episode rather than one row per step."""
    if np.isscalar(actions) or len(actions) == 0:
        return False
    if _ndim(actions[0]) <= len(action_space.shape or ()):
        return False
    if any(len(entry) > 1 for entry in actions):
        return True
    # Episodes of one step, or rows with a superfluous axis: the observations decide.
    if observation_space is None or isinstance(observations, Mapping):
        return False
    first, space = observations[0], observation_space
    if isinstance(space, spaces.Dict) and isinstance(first, Mapping):
        key = next(iter(space.spaces))
        first, space = first.get(key), space.spaces[key]
    return _ndim(first) == len(space.shape or ()) + 1


def _ndim(value: Any) -> int:
    try:
        return np.ndim(value)
    except ValueError:  # ragged
        return 2
