"""Demonstrations as D4RL's HDF5 files: flat columns, all episodes one after the other.

    observations, actions, rewards, terminals       shape (N, ...)
    timeouts                                        since D4RL's v1; older files lack it
    next_observations                               in some files
    infos/, metadata/                               ignored

What the format leaves open is read on the safe side, so that no time limit is learned as the end of
the world and no step leads into the next episode:

* an end that is no terminal is a truncation, whether `timeouts` says so, the file ends there, the
  next observation is not the next step's (where `next_observations` is there), or the time limit is
  reached (where `timeouts` is missing and `max_episode_steps` or the environment is given);
* without `next_observations`, the observation after an episode's last step is unknown. A terminal
  step stays, with its observation repeated, as its value is zero anyway. Another last step is
  dropped, as D4RL's own `qlearning_dataset` does: its observation becomes the final one;
* D4RL holds no spaces. Where none are given, observations are unbounded and actions within ±1,
  as in all of D4RL's environments.

What we write has `next_observations` and `timeouts`, and a group `sb3_il_plus` with the spaces, the
metadata and the offsets of the episodes, which others ignore; it is read back without loss. Where a
fragment ends whose episode goes on elsewhere, others find a timeout, or they would take the next
row for the next step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data.arrays import REPEATED_FINAL, guess_observation_space
from sb3_il_plus.data.assembly import ranges
from sb3_il_plus.data.d4rl_columns import SCANNED_STEPS, FileColumns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hdf5 import dataset, import_h5py, subgroup
from sb3_il_plus.data.header import Checksums, Header
from sb3_il_plus.data.hints import Hints, warn
from sb3_il_plus.data.stream import (
    Source,
    episode_blocks,
    first_of,
    reading,
    refuse_what_it_lacks,
    steps_per_piece,
)
from sb3_il_plus.errors import DataError, FileError
from sb3_il_plus.files import atomic_write

DROPPED_LAST = "last_steps_dropped"
"""Metadata key: steps whose next observation the file does not hold were left out."""

_OURS = "sb3_il_plus"
_CHUNK_BYTES = 2**18


def read_d4rl(path: str | Path, hints: Hints | None = None) -> Iterator[Demonstrations]:
    """Read a D4RL file piece by piece.

    :param hints: spaces, and the time limit where the file does not mark it
    :raises FileError: the file is missing, damaged or of another kind
    :raises DataError: its columns contradict each other
    :raises MissingExtraError: h5py is not installed
    """
    h5py = import_h5py()
    with reading(path, "D4RL file"), h5py.File(path, "r") as file:
        ours = subgroup(file, _OURS)
        header = None if ours is None else _read_header(ours)
        pieces = _pieces(file, ours, header, hints or Hints())
        yield from pieces if header is None else header.verified(pieces)


def save_d4rl(source: Source, path: str | Path) -> Path:
    """Write a D4RL file, replacing an older one; it appears complete or not at all.

    :param source: demonstrations, or a stream of pieces
    :raises FileError: the path cannot be written, or the format has no place for something
    :raises MissingExtraError: h5py is not installed
    """
    h5py = import_h5py()
    first, pieces = first_of(source)
    refuse_what_it_lacks(first, "a D4RL file", dicts=False)
    with atomic_write(Path(path)) as file, h5py.File(file.name, "w") as hdf5:
        _write(hdf5, first, pieces)
    return Path(path)


@dataclass(frozen=True)
class _Facts:
    """What is known about a file before its rows are read."""

    ours: bool
    """Whether we wrote it, so that its ends are marked completely."""
    complete: bool
    """Whether the next observations are stored."""
    rewards: bool
    observation_space: spaces.Space
    action_space: spaces.Space
    metadata: Mapping[str, Any]
    open_ends: np.ndarray | None = None
    """Steps that end a fragment, in order: `timeouts` is set there for others."""


def _pieces(
    file: Any, ours: Any | None, header: Header | None, hints: Hints
) -> Iterator[Demonstrations]:
    columns = FileColumns(file)
    if ours is None or header is None:
        facts, offsets = _guessed_facts(columns, hints), _guessed_offsets(columns, hints)
    else:
        facts, offsets = _our_facts(ours, header, columns), _our_offsets(ours, columns)
    step_bytes = sum(column.nbytes for column in columns.arrays.values()) / columns.n_steps
    for first, last in episode_blocks(offsets, steps_per_piece(step_bytes)):
        piece = _piece(columns, offsets[first : last + 1], facts)
        if piece is not None:
            yield piece


def _read_header(ours: Any) -> Header:
    """What we wrote beside D4RL's columns."""
    header = dataset(ours, "header")
    if header is None:
        raise FileError(f"its group {_OURS} has no header")
    return Header.from_json(json.loads(header[()].tobytes()))


def _our_facts(ours: Any, header: Header, columns: FileColumns) -> _Facts:
    open_ends = dataset(ours, "open_ends")
    return _Facts(
        ours=True,
        complete="next_observations" in columns,
        rewards="rewards" in header.columns,
        observation_space=header.observation_space,
        action_space=header.action_space,
        metadata=header.metadata,
        open_ends=None if open_ends is None else open_ends[()],
    )


def _guessed_facts(columns: FileColumns, hints: Hints) -> _Facts:
    complete = "next_observations" in columns
    return _Facts(
        ours=False,
        complete=complete,
        rewards="rewards" in columns,
        observation_space=hints.observation_space
        or guess_observation_space(columns.rows("observations", 0, 1)),
        action_space=hints.action_space or _guess_action_space(columns, hints),
        metadata={} if complete else {REPEATED_FINAL: True, DROPPED_LAST: True},
    )


def _guess_action_space(columns: FileColumns, hints: Hints) -> spaces.Space:
    actions = columns.arrays["actions"]
    if actions.dtype.kind != "f":
        return hints.known_action_space()
    return spaces.Box(-1.0, 1.0, actions.shape[1:], np.float32)


def _our_offsets(ours: Any, columns: FileColumns) -> np.ndarray:
    """Where the episodes begin, and where the last one ends; shape (E + 1,)."""
    stored = dataset(ours, "offsets")
    offsets = np.zeros(0, np.int64) if stored is None else np.asarray(stored[()], np.int64)
    sound = len(offsets) > 1 and offsets[0] == 0 and (np.diff(offsets) > 0).all()
    if not sound or offsets[-1] != columns.n_steps:
        raise FileError("its offsets of episodes are damaged")
    return offsets


def _guessed_offsets(columns: FileColumns, hints: Hints) -> np.ndarray:
    """As `_our_offsets`, from whatever tells of ends."""
    ends = columns.all_flags("terminals") | columns.all_flags("timeouts")
    if "next_observations" in columns:
        ends |= _breaks(columns)
    ends[-1] = True
    offsets = np.concatenate([[0], np.flatnonzero(ends) + 1])
    return offsets if "timeouts" in columns else _with_time_limit(offsets, columns, hints)


def _with_time_limit(offsets: np.ndarray, columns: FileColumns, hints: Hints) -> np.ndarray:
    """Cut what is longer than the time limit, for files that do not mark it."""
    limit = hints.max_episode_steps
    if limit is None:
        if "next_observations" not in columns:
            warn(
                "the file marks no time limits (no 'timeouts', no 'next_observations'): steps at a "
                "limit seem to lead into the next episode, unless max_episode_steps=... or "
                "env=... says where it is (--max-episode-steps or --env on the command line)"
            )
        return offsets
    cuts = [np.arange(start, stop, limit) for start, stop in pairwise(offsets)]
    return np.append(np.concatenate(cuts), offsets[-1])


def _breaks(columns: FileColumns) -> np.ndarray:
    """Where the next observation is not the observation of the next step; shape (N,), bool."""
    breaks = np.zeros(columns.n_steps, dtype=bool)
    for start in range(0, columns.n_steps - 1, SCANNED_STEPS):
        stop = min(start + SCANNED_STEPS, columns.n_steps - 1)
        after = columns.rows("observations", start + 1, stop + 1)
        following = columns.rows("next_observations", start, stop)
        axes = tuple(range(1, after.ndim))
        rows = np.flatnonzero((after != following).any(axis=axes))
        same = np.isclose(after[rows], following[rows], equal_nan=True).all(axis=axes)
        breaks[start + rows[~same]] = True
    return breaks


def _piece(columns: FileColumns, offsets: np.ndarray, facts: _Facts) -> Demonstrations | None:
    """The episodes between `offsets`; None where no step of them can be kept."""
    start, stop = int(offsets[0]), int(offsets[-1])
    offsets = offsets - start
    observations = columns.rows("observations", start, stop)
    terminations = columns.flags("terminals", start, stop)
    truncations = columns.flags("timeouts", start, stop)
    if facts.open_ends is not None:
        inside = slice(*np.searchsorted(facts.open_ends, (start, stop)))
        truncations[facts.open_ends[inside] - start] = False
    rows: np.ndarray | slice = slice(None)
    if facts.complete:
        finals = columns.rows("next_observations", start, stop)[offsets[1:] - 1]
        observations = np.insert(observations, offsets[1:], finals, axis=0)
    else:
        rows, observation_rows, offsets = _known_steps(offsets, terminations)
        observations = observations[observation_rows]
        terminations, truncations = terminations[rows], truncations[rows]
    if len(offsets) == 1:
        return None
    if not facts.ours:
        ends = offsets[1:] - 1
        truncations[ends] |= ~terminations[ends]
    return Demonstrations(
        observations=observations,
        actions=columns.rows("actions", start, stop)[rows],
        rewards=columns.rows("rewards", start, stop)[rows] if facts.rewards else None,
        terminations=terminations,
        truncations=truncations,
        offsets=offsets,
        observation_space=facts.observation_space,
        action_space=facts.action_space,
        metadata=facts.metadata,
    )


def _known_steps(
    offsets: np.ndarray, terminations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which steps can be kept where no next observations are stored.

    :return: rows of the steps, rows of their observations with each episode's final one, and the
        offsets of what is left of the episodes
    """
    starts, lengths, terminal = offsets[:-1], np.diff(offsets), terminations[offsets[1:] - 1]
    kept = terminal | (lengths > 1)
    starts, lengths, terminal = starts[kept], lengths[kept], terminal[kept]
    n_observations = lengths + terminal  # a terminal step's is repeated
    observation_rows = np.minimum(
        ranges(starts, n_observations), np.repeat(starts + lengths - 1, n_observations)
    )
    n_steps = n_observations - 1
    return ranges(starts, n_steps), observation_rows, np.cumsum([0, *n_steps])


def _write(hdf5: Any, first: Demonstrations, pieces: Iterable[Demonstrations]) -> None:
    arrays = {name: _growing(hdf5, name, rows) for name, rows in _rows_of(first).items()}
    offsets, open_ends = [np.zeros(1, np.int64)], []
    sums = Checksums()
    for piece in pieces:
        for name, rows in _rows_of(piece).items():
            if rows.dtype != arrays[name].dtype or rows.shape[1:] != arrays[name].shape[1:]:
                raise DataError(f"{name}: pieces of different dtype or shape cannot be joined")
            arrays[name].resize(sums.n_transitions + len(piece), axis=0)
            arrays[name][sums.n_transitions :] = rows
        offsets.append(piece.offsets[1:] + sums.n_transitions)
        open_ends.append(_open_ends(piece) + sums.n_transitions)
        sums.add(piece)
    group = hdf5.create_group(_OURS)
    # An array of bytes, as attributes of HDF5 end at 64 KiB.
    header = json.dumps(Header.of(first, sums).to_json()).encode()
    group.create_dataset("header", data=np.frombuffer(header, np.uint8))
    group.create_dataset("offsets", data=np.concatenate(offsets))
    group.create_dataset("open_ends", data=np.concatenate(open_ends))


def _open_ends(piece: Demonstrations) -> np.ndarray:
    """The last steps of fragments."""
    last = piece.offsets[1:] - 1
    return last[~(piece.terminations | piece.truncations)[last]]


def _rows_of(piece: Demonstrations) -> dict[str, Any]:
    """A piece's columns under D4RL's names; rewards that are unknown are NaN."""
    index = np.arange(len(piece))
    rewards, timeouts = piece.rewards, piece.truncations.copy()
    timeouts[_open_ends(piece)] = True
    return {
        "observations": piece.observations_at(index),
        "actions": piece.actions,
        "rewards": np.full(len(piece), np.nan, np.float32) if rewards is None else rewards,
        "terminals": piece.terminations,
        "timeouts": timeouts,
        "next_observations": piece.next_observations_at(index),
    }


def _growing(hdf5: Any, name: str, like: np.ndarray) -> Any:
    """An empty array that grows by rows."""
    n_rows = min(len(like), _CHUNK_BYTES // max(1, like[:1].nbytes))
    return hdf5.create_dataset(
        name,
        shape=(0, *like.shape[1:]),
        maxshape=(None, *like.shape[1:]),
        chunks=(max(1, n_rows), *like.shape[1:]),
        dtype=like.dtype,
    )
