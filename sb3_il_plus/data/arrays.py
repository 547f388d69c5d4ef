"""People's own data: from NumPy arrays or lists to `Demonstrations`.

Two shapes of input are understood: flat columns over all steps, with the episode ends marked, and
lists with one entry per episode. Either way the result is validated, and the first wrong index,
shape or dtype is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Env, spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import DataError

REPEATED_FINAL = "final_observations_repeated"
"""Metadata key: the data had no observation after the last action, so the last one stands in."""


def from_arrays(
    observations: Any,
    actions: Any,
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
) -> Demonstrations:
    """Build demonstrations from arrays, flat or one per episode.

    Flat: `observations` (N, ...) and `actions` (N, ...), with the ends of episodes marked by
    `terminations`, `truncations` or `episode_lengths`; without any, all is one episode. Per episode:
    lists of such arrays; the flags are then one bool per episode or per step.

    The observation after an episode's last action is taken from `next_observations`, or from
    `observations` where each episode has one more than actions. Where neither is there, the last
    observation is repeated and the metadata says so: behavioural cloning does not care, methods that
    read next observations do. An end that no flag explains counts as truncated, never as terminal.

    :param rewards: (N,), or a list of arrays; None where unknown
    :param env: an environment id, `Env` or `VecEnv` to take the spaces from
    :param observation_space: in place of `env`; guessed from the arrays' shape where missing
    :param action_space: in place of `env`
    :param metadata: JSON-like facts to keep with the data
    :raises DataError: something does not fit; the message names the episode, step and column
    """
    observation_space, action_space = _spaces(env, observation_space, action_space)
    per_episode = _is_per_episode(actions, action_space)
    if per_episode:
        lengths = [len(part) for part in actions]
        flat_actions = _join(actions, "actions")
        flat_observations = col.concatenate(
            [_whole(part, "observations", i) for i, part in enumerate(observations)]
        )
        rewards = None if rewards is None else _join(rewards, "rewards")
        terminations = _flags(terminations, lengths, "terminations")
        truncations = _flags(truncations, lengths, "truncations")
        next_flat = (
            None
            if next_observations is None
            else col.concatenate([_whole(x, "next_observations", i) for i, x in enumerate(next_observations)])
        )
    else:
        flat_actions = _whole(actions, "actions")
        flat_observations = _whole(observations, "observations")
        next_flat = None if next_observations is None else _whole(next_observations, "next_observations")
        lengths = _lengths(len(flat_actions), terminations, truncations, episode_lengths)
        rewards = None if rewards is None else np.asarray(rewards)
    return _assemble(
        flat_observations,
        next_flat,
        np.asarray(flat_actions),
        rewards,
        _column(terminations, len(flat_actions)),
        _column(truncations, len(flat_actions)),
        np.asarray(lengths, dtype=np.int64),
        observation_space,
        action_space,
        dict(metadata or {}),
    )


def _assemble(
    observations: Columns,
    next_observations: Columns | None,
    actions: np.ndarray,
    rewards: np.ndarray | None,
    terminations: np.ndarray,
    truncations: np.ndarray,
    lengths: np.ndarray,
    observation_space: spaces.Space | None,
    action_space: spaces.Space,
    metadata: dict[str, Any],
) -> Demonstrations:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if offsets[-1] != len(actions):
        raise DataError(f"episode lengths add up to {offsets[-1]}, but there are {len(actions)} actions")
    for name, column in col.named(observations):
        n_rows = len(column)
        if n_rows not in (len(actions), len(actions) + len(lengths)):
            raise DataError(
                f"{name} has {n_rows} rows and actions {len(actions)} in {len(lengths)} episodes; "
                "each episode needs as many observations as actions, or one more"
            )
    if col.length(observations) == len(actions):
        if next_observations is not None:
            _check_chain(observations, next_observations, offsets)
            finals = col.take(next_observations, offsets[1:] - 1)
        else:
            finals = col.take(observations, offsets[1:] - 1)
            metadata[REPEATED_FINAL] = True
        observations = _insert_finals(observations, finals, offsets)
    ends = offsets[1:] - 1
    unexplained = ends[~(terminations[ends] | truncations[ends])]
    truncations = truncations.copy()
    truncations[unexplained] = True
    return Demonstrations(
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        offsets=offsets,
        observation_space=observation_space or _guess_observation_space(observations),
        action_space=action_space,
        metadata=metadata,
    ).validate()


def _insert_finals(observations: Columns, finals: Columns, offsets: np.ndarray) -> Columns:
    """Put each episode's final observation behind its others."""
    if isinstance(observations, Mapping):
        return {
            key: np.insert(column, offsets[1:], finals[key], axis=0)  # type: ignore[index]
            for key, column in observations.items()
        }
    return np.insert(observations, offsets[1:], finals, axis=0)  # type: ignore[arg-type]


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
        broken = ~same.reshape(len(rows), -1).all(axis=1)
        if broken.any():
            row = int(rows[np.argmax(broken)])
            raise DataError(
                f"next_{name}[{row}] differs from {name}[{row + 1}] although no episode ends at "
                f"index {row}; is an episode boundary missing in terminations or truncations?"
            )


def _lengths(
    n: int, terminations: Any, truncations: Any, episode_lengths: Sequence[int] | None
) -> list[int]:
    if episode_lengths is not None:
        return [int(length) for length in episode_lengths]
    if n == 0:
        raise DataError("actions is empty: demonstrations need at least one step")
    done = _column(terminations, n) | _column(truncations, n)
    ends = np.union1d(np.flatnonzero(done), [n - 1])
    return np.diff(ends, prepend=-1).tolist()


def _column(flags: Any, n: int) -> np.ndarray:
    if flags is None:
        return np.zeros(n, dtype=bool)
    column = np.asarray(flags)
    if column.shape != (n,):
        raise DataError(f"terminations and truncations need shape ({n},), one has {column.shape}")
    return column.astype(bool)


def _flags(flags: Any, lengths: list[int], name: str) -> np.ndarray | None:
    """Turn one bool per episode, or an array of them per episode, into one flat column."""
    if flags is None:
        return None
    if len(flags) != len(lengths):
        raise DataError(f"{name} has {len(flags)} entries for {len(lengths)} episodes")
    column = np.zeros(sum(lengths), dtype=bool)
    end = 0
    for flag, length in zip(flags, lengths, strict=True):
        end += length
        if np.ndim(flag) == 0:
            column[end - 1] = bool(flag)
        else:
            column[end - length : end] = flag
    return column


def _join(parts: Sequence[Any], name: str) -> np.ndarray:
    columns = [_whole(part, name, number) for number, part in enumerate(parts)]
    shapes = {column.shape[1:] for column in columns}  # type: ignore[union-attr]
    if len(shapes) > 1:
        raise DataError(f"{name}: episodes disagree on the shape of a row: {sorted(shapes)}")
    return col.concatenate(columns)  # type: ignore[return-value]


def _whole(value: Any, name: str, episode: int | None = None) -> Columns:
    """Turn one column into arrays, refusing ragged ones by name."""
    where = name if episode is None else f"{name} of episode {episode}"
    try:
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            columns = col.stack(value)
        else:
            columns = col.as_columns(value)
    except ValueError as error:
        raise DataError(f"{where}: rows of different shapes cannot form one array ({error})") from error
    for label, column in col.named(columns, where):
        if column.dtype == object or column.ndim == 0:
            raise DataError(f"{label}: is {column.dtype} of shape {column.shape}, not an array of numbers")
    return columns


def _is_per_episode(actions: Any, action_space: spaces.Space) -> bool:
    """Whether `actions` is a list of one array per episode rather than of one action per step."""
    if not isinstance(actions, (list, tuple)) or not actions:
        return False
    return np.ndim(actions[0]) == len(action_space.shape or ()) + 1


def _spaces(
    env: Any, observation_space: spaces.Space | None, action_space: spaces.Space | None
) -> tuple[spaces.Space | None, spaces.Space]:
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
            "the action space is unknown: pass env='YourEnv-v0', or action_space=spaces.Discrete(n) "
            "or spaces.Box(low, high, shape); it cannot be guessed from the actions seen"
        )
    return observation_space, action_space


def _guess_observation_space(observations: Columns) -> spaces.Space:
    """An unbounded space of the rows' shape (0 to 255 for bytes)."""

    def box(column: np.ndarray) -> spaces.Box:
        if column.dtype == np.uint8:
            return spaces.Box(0, 255, column.shape[1:], np.uint8)
        return spaces.Box(-np.inf, np.inf, column.shape[1:], np.float32)

    if isinstance(observations, Mapping):
        return spaces.Dict({key: box(column) for key, column in observations.items()})
    return box(observations)
