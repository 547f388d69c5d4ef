"""A generator's replay buffer in a file, without the pickle that SB3 writes.

The file is an archive like a model's (see `serialization.py`): counters and spaces as plain JSON,
the transitions as tensors. It fits into a buffer of the same size, copies and spaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_il_plus import serialization
from sb3_il_plus.errors import FileError, UserError

SUFFIX = ".replay"
"""Added to a path without a suffix; a model's file next to it has `.zip`."""

_KIND = "replay_buffer"
_COLUMNS = (
    "observations",
    "next_observations",
    "actions",
    "rewards",
    "dones",
    "timeouts",
)


def save(buffer: ReplayBuffer, path: Any) -> None:
    """Write a buffer, atomically.

    :raises UserError: it holds more than arrays
    :raises FileError: `path` cannot be written
    """
    if isinstance(buffer, HerReplayBuffer):
        raise UserError("a HerReplayBuffer holds its environment, which a file of ours cannot")
    if isinstance(path, (str, Path)):
        path = Path(path) if Path(path).suffix else Path(f"{path}{SUFFIX}")
    n = _n_rows(buffer, buffer.size())
    transitions = {name: th.as_tensor(column[:n]) for name, column in _columns(buffer)}
    content = {"kind": _KIND, **_description(buffer), "pos": buffer.pos, "full": buffer.full}
    serialization.write_archive(path, content, {"transitions": transitions})


def load(buffer: ReplayBuffer, path: Any) -> None:
    """Fill a buffer with what `save` wrote; its own content is lost.

    :raises FileError: the file is missing, damaged, a pickle, or of a buffer that differs in size,
        copies or spaces; nothing has changed then
    """
    if isinstance(path, (str, Path)) and not Path(path).is_file():
        path = f"{path}{SUFFIX}"
    content = _read_header(path)
    for name, present in _description(buffer).items():
        if content.get(name) != present:
            raise FileError(
                f"{path} was saved with {name} {content.get(name)}, this generator's buffer has "
                f"{present}; go on with the environment and generator_kwargs that it was saved with"
            )
    tensors = serialization.read_archive(path).tensors
    with serialization.refusing(f"{path} is damaged"):
        _fill(buffer, tensors["transitions"], content["pos"], content["full"])


def _read_header(path: Any) -> dict[str, Any]:
    try:
        content = serialization.read_data(path)
    except FileError as error:
        raise FileError(
            f"{path} is not a replay buffer that sb3_il_plus saved ({error}); those that SB3 "
            "saves are pickles, which would have to be executed"
        ) from error
    if content.get("kind") != _KIND:
        raise FileError(
            f"{path} holds a model of {content.get('algorithm')!r}, not a replay buffer"
        )
    return content


def _fill(buffer: ReplayBuffer, transitions: Mapping[str, Any], pos: int, full: bool) -> None:
    size = buffer.buffer_size if full else pos
    if type(pos) is not int or type(full) is not bool or not 0 <= size <= buffer.buffer_size:
        raise ValueError(f"position {pos!r} of {buffer.buffer_size}")
    n = _n_rows(buffer, size)
    rows = {name: np.asarray(transitions[name]) for name, _ in _columns(buffer)}
    for name, column in _columns(buffer):
        if rows[name].shape != (n, *column.shape[1:]) or rows[name].dtype != column.dtype:
            raise ValueError(f"{name} of shape {rows[name].shape}, dtype {rows[name].dtype}")
    for name, column in _columns(buffer):
        column[:n] = rows[name]
    buffer.pos, buffer.full = pos, full


def _n_rows(buffer: ReplayBuffer, size: int) -> int:
    """Rows that hold `size` steps; one that saves memory has a next observation in another row."""
    return min(size + buffer.optimize_memory_usage, buffer.buffer_size)


def _columns(buffer: ReplayBuffer) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a buffer by name, each of shape (size, copies, ...)."""
    for name in _COLUMNS:
        column = getattr(buffer, name, None)
        if isinstance(column, Mapping):
            yield from ((f"{name}[{key!r}]", column[key]) for key in sorted(column))
        elif column is not None:
            yield name, column


def _description(buffer: ReplayBuffer) -> dict[str, Any]:
    """What two buffers have in common if one can hold what is in the other."""
    return {
        "observation_space": serialization.encode(buffer.observation_space),
        "action_space": serialization.encode(buffer.action_space),
        "buffer_size": buffer.buffer_size,
        "n_envs": buffer.n_envs,
        "optimize_memory_usage": buffer.optimize_memory_usage,
    }
