"""SB3's replay buffers: demonstrations from what an agent has seen, and a buffer filled with them.

    model = SAC(...).learn(100_000)
    seen = Demonstrations.from_replay_buffer(model.replay_buffer)
    other.replay_buffer = expert.to_replay_buffer(buffer_size=1_000_000)

What a buffer holds is not quite what was seen:

* SB3 scales continuous actions to the interval from -1 to 1 before it stores them;
* it stores an episode's end as `dones`, and in `timeouts` whether a time limit was the reason. A
  buffer made with `handle_timeout_termination=False` does not know the reason: its ends count as
  truncations unless the caller knows better;
* with `optimize_memory_usage`, an episode's first observation takes the place of the last one of
  the episode before. The step that led there is kept if it terminated the episode, as its value is
  zero anyway, and dropped if not;
* an episode that both terminated and was truncated is stored as terminated, and one that goes on
  elsewhere (a fragment) is told by the observation that does not follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.assembly import breaks
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import warn
from sb3_il_plus.data.state_only import require_actions
from sb3_il_plus.errors import DataError


def from_replay_buffer(
    buffer: ReplayBuffer,
    *,
    scaled_actions: bool = True,
    dones_are_terminal: bool | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Demonstrations:
    """Convert what a buffer holds: each environment's steps in the order in which they were made.

    :param buffer: a `ReplayBuffer`, a `DictReplayBuffer`, or one derived from them
    :param scaled_actions: whether continuous actions are scaled to [-1, 1], as SB3's algorithms
        store them
    :param dones_are_terminal: what `dones` means where the buffer does not handle timeouts; None to
        take it as truncations, and say so
    :param metadata: JSON-like facts to keep with the data
    :raises DataError: it is no replay buffer, is empty, or its values do not fit its spaces
    """
    if not isinstance(buffer, ReplayBuffer):
        raise DataError(
            f"a {type(buffer).__name__} is no ReplayBuffer; off-policy models have one "
            "(model.replay_buffer), and VecEnvRecorder records what on-policy ones do"
        )
    rows = _rows_in_order(buffer)
    newest = np.tile(rows == rows[-1], buffer.n_envs)
    observations = _flat(buffer.observations, rows, buffer.observation_space)
    dones = _flat(buffer.dones, rows).astype(bool)
    terminations, truncations = _reasons(buffer, rows, dones, dones_are_terminal)
    ends, kept = dones | newest, np.ones(len(dones), dtype=bool)
    if buffer.optimize_memory_usage:
        after = (rows + 1) % buffer.buffer_size
        following = _flat(buffer.observations, after, buffer.observation_space)
        # The newest step's next observation is still there; those of earlier ends are not.
        overwritten = dones & ~newest
        following[overwritten] = observations[overwritten]
        kept = ~overwritten | terminations
        before = np.flatnonzero(~kept) - 1
        before = before[(before >= 0) & ~ends[before]]
        ends[before], truncations[before] = True, True
    else:
        following = _flat(buffer.next_observations, rows, buffer.observation_space)
        ends |= breaks(observations, following)
    if not kept.any():
        raise DataError("no step of the replay buffer has a known next observation")
    offsets = np.concatenate([[0], np.flatnonzero(ends[kept]) + 1])
    actions = _flat(buffer.actions, rows, buffer.action_space)[kept]
    return Demonstrations(
        observations=col.map_columns(
            lambda column, after: np.insert(column[kept], offsets[1:], after[kept & ends], axis=0),
            observations,
            following,
        ),
        actions=_unscaled(actions, buffer.action_space) if scaled_actions else actions,
        rewards=_flat(buffer.rewards, rows)[kept],
        terminations=terminations[kept],
        truncations=truncations[kept],
        offsets=offsets,
        observation_space=buffer.observation_space,
        action_space=buffer.action_space,
        metadata=metadata or {},
    ).validate()


def to_replay_buffer(
    demonstrations: Demonstrations,
    *,
    buffer_size: int | None = None,
    n_envs: int = 1,
    device: str = "auto",
    scaled_actions: bool = True,
) -> ReplayBuffer:
    """Fill a new buffer, which a model can use in place of its own.

    :param buffer_size: transitions that fit; by default as many as there are. More leave room for
        those that an agent will add
    :param n_envs: copies of the environment that the model uses; each gets an equal part
    :param device: of the batches that are sampled
    :param scaled_actions: whether to scale continuous actions to [-1, 1], as SB3's algorithms
        expect it
    :return: a `DictReplayBuffer` for Dict observations, otherwise a `ReplayBuffer`
    :raises DataError: there are no rewards or actions, or more transitions than fit
    """
    data = demonstrations
    if buffer_size is None:
        buffer_size = len(data) // n_envs * n_envs
    is_dict = isinstance(data.observation_space, spaces.Dict)
    kind: Any = DictReplayBuffer if is_dict else ReplayBuffer
    # A buffer has room for one step at least, so what does not fit is refused before it is built.
    _refuse_what_does_not_fit(data, buffer_size // n_envs, n_envs)
    given_spaces = data.observation_space, data.action_space
    buffer: ReplayBuffer = kind(buffer_size, *given_spaces, device, n_envs)
    add_to_replay_buffer(data, buffer, scaled_actions=scaled_actions)
    return buffer


def add_to_replay_buffer(
    demonstrations: Demonstrations, buffer: ReplayBuffer, *, scaled_actions: bool = True
) -> int:
    """Add demonstrations behind what a buffer holds; each environment gets consecutive steps.

    A buffer that keeps more than columns (`HerReplayBuffer`) is given them step by step, and ends
    that are none in the data, where an episode was cut, are time limits there.

    :param buffer: to fill; it forgets its oldest steps where it has no room for all
    :param scaled_actions: see `to_replay_buffer`
    :return: how many transitions were added
    :raises DataError: there are no rewards or actions, or more transitions than fit; or the buffer
        saves memory and so has no place for the observations that episodes end with
    """
    data, n_envs = demonstrations, buffer.n_envs
    _refuse_what_does_not_fit(data, buffer.buffer_size, n_envs)
    if buffer.optimize_memory_usage:
        raise DataError(
            "a replay buffer with optimize_memory_usage=True has no place for the observations "
            "that episodes end with; build the model without it"
        )
    n_rows = len(data) // n_envs
    if n_rows * n_envs < len(data):
        warn(f"the last {len(data) - n_rows * n_envs} steps are left out, to fill {n_envs} parts")
    if (data.terminations & data.truncations).any():
        warn("episodes that both terminated and were truncated are stored as terminated")
    index = np.arange(n_rows * n_envs).reshape(n_envs, n_rows)
    actions = _scaled(data.actions, buffer.action_space) if scaled_actions else data.actions
    fills_columns = type(buffer).add in (ReplayBuffer.add, DictReplayBuffer.add)
    (_write_columns if fills_columns else _add_steps)(data, actions, index, buffer)
    return index.size


def _write_columns(
    data: Demonstrations, actions: np.ndarray, index: np.ndarray, buffer: ReplayBuffer
) -> None:
    n_envs, n_rows = index.shape
    index = index.ravel()
    timeouts = data.truncations & ~data.terminations
    knows_timeouts = buffer.handle_timeout_termination
    columns: list[tuple[Any, Any]] = [
        (buffer.observations, data.observations_at(index)),
        (buffer.next_observations, data.next_observations_at(index)),
        (buffer.actions, actions[index]),
        (buffer.rewards, data.rewards[index]),  # type: ignore[index]
        # Where there is no column for the reason, an end has to be one that has no value after it.
        (buffer.dones, (data.terminations | (timeouts & knows_timeouts))[index]),
        (buffer.timeouts, (timeouts & knows_timeouts)[index]),
    ]
    rows = (buffer.pos + np.arange(n_rows)) % buffer.buffer_size
    for target, values in columns:
        places = dict(col.named(target))
        for name, column in col.named(values):
            parts = column.reshape(n_envs, n_rows, *places[name].shape[2:])
            places[name][rows] = parts.swapaxes(0, 1)
    stop = buffer.pos + n_rows
    buffer.full, buffer.pos = buffer.full or stop >= buffer.buffer_size, stop % buffer.buffer_size


def _add_steps(
    data: Demonstrations, actions: np.ndarray, index: np.ndarray, buffer: ReplayBuffer
) -> None:
    assert data.rewards is not None
    ends = np.zeros(len(data), dtype=bool)
    ends[data.offsets[1:] - 1] = True
    ends[index[:, -1]] = True
    for steps in index.T:
        timeouts = ends[steps] & ~data.terminations[steps]
        buffer.add(
            data.observations_at(steps),  # type: ignore[arg-type]
            data.next_observations_at(steps),  # type: ignore[arg-type]
            actions[steps],
            data.rewards[steps],
            ends[steps],
            [{"TimeLimit.truncated": bool(timeout)} for timeout in timeouts],
        )


def _refuse_what_does_not_fit(data: Demonstrations, n_places: int, n_envs: int) -> None:
    """:param n_places: steps of each environment that fit"""
    require_actions(data, "a replay buffer")
    if data.rewards is None:
        raise DataError("a replay buffer needs rewards, and these demonstrations have none")
    if not 0 < len(data) // n_envs <= n_places:
        raise DataError(
            f"{len(data)} transitions for {n_envs} environments do not fit into a buffer of "
            f"{n_places * n_envs}; take a larger buffer_size, or select episodes"
        )


def _rows_in_order(buffer: ReplayBuffer) -> np.ndarray:
    """The rows of the buffer that are valid, oldest first."""
    if not buffer.full:
        rows = np.arange(buffer.pos)
    else:
        rows = (np.arange(buffer.buffer_size) + buffer.pos) % buffer.buffer_size
        if buffer.optimize_memory_usage:
            rows = rows[1:]  # its observation was overwritten by the newest next observation
    if len(rows) == 0:
        raise DataError("the replay buffer is empty")
    return rows


def _flat(column: Any, rows: np.ndarray, space: spaces.Space | None = None) -> Any:
    """Rows of a column, one environment's after the other's, in the shape of the space."""
    if isinstance(column, Mapping):
        entries = space.spaces if isinstance(space, spaces.Dict) else {}
        return {key: _flat(column[key], rows, entries[key]) for key in entries}
    flat = column[rows].swapaxes(0, 1)
    shape: Any = flat.shape[2:] if space is None else space.shape
    return flat.reshape(-1, *shape)


def _reasons(
    buffer: ReplayBuffer, rows: np.ndarray, dones: np.ndarray, dones_are_terminal: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """Terminations and truncations."""
    if buffer.handle_timeout_termination:
        timeouts = _flat(buffer.timeouts, rows).astype(bool)
        return dones & ~timeouts, dones & timeouts
    if dones_are_terminal is None and dones.any():
        warn(
            "the replay buffer does not handle timeouts, so why its episodes ended is unknown: "
            "their ends count as truncations; pass dones_are_terminal=True if there is no time "
            "limit"
        )
    return (dones, np.zeros_like(dones)) if dones_are_terminal else (np.zeros_like(dones), dones)


def _is_scaled(space: spaces.Space) -> bool:
    """Whether scaling changes actions of this space."""
    if not isinstance(space, spaces.Box) or np.dtype(space.dtype).kind != "f":
        return False
    return bool(space.is_bounded() and ((space.low != -1) | (space.high != 1)).any())


def _scaled(actions: np.ndarray, space: spaces.Space) -> np.ndarray:
    if not isinstance(space, spaces.Box) or not _is_scaled(space):
        return actions
    return 2.0 * ((actions - space.low) / (space.high - space.low)) - 1.0


def _unscaled(actions: np.ndarray, space: spaces.Space) -> np.ndarray:
    if not isinstance(space, spaces.Box) or not _is_scaled(space):
        return actions
    raw = space.low + 0.5 * (actions + 1.0) * (space.high - space.low)
    return np.clip(raw, space.low, space.high).astype(actions.dtype)
