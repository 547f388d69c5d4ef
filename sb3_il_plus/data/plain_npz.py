"""Other people's npz files: arrays under the names that most of them use.

    observations (obs, states)  actions (acts)  rewards (rews)  next_observations (next_obs, ...)
    terminations (terminals, terminated)  truncations (timeouts, truncated)
    dones, episode_starts, episode_lengths

flat over all steps, or for each episode apart as `episode_0/observations`, `episode_1/...`; entries
of Dict observations as `observations/camera`. The action space has to be given.

`dones` says that an episode ended, not why; files recorded with the old gym say `terminal` of a
time limit, too. So where the time limit is known, from the environment or `max_episode_steps`, an
episode of exactly that length was cut by it, and a shorter one that is done has terminated. Where
it is not known, an end that only `dones` or `episode_starts` tell counts as a truncation.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.arrays import from_arrays, length_problems
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import Hints, warn
from sb3_il_plus.data.npz import entries_of, read_array
from sb3_il_plus.data.problems import Problems
from sb3_il_plus.data.stream import in_pieces, reading
from sb3_il_plus.errors import DataError, FileError

_SYNONYMS = {
    "observations": ("observation", "obs", "states", "state"),
    "actions": ("action", "acts"),
    "rewards": ("reward", "rews"),
    "next_observations": ("next_observation", "next_obs", "next_states", "next_state"),
    "terminations": ("termination", "terminated", "terminals", "terminal"),
    "truncations": ("truncation", "truncated", "timeouts", "timeout"),
    "dones": ("done",),
    "episode_starts": (),
    "episode_lengths": ("lengths",),
}
_NAMES = {word: name for name, others in _SYNONYMS.items() for word in (name, *others)}
_FLAGS = ("terminations", "truncations", "dones", "episode_starts")
_EPISODE = re.compile(r"(.*\d)/([^/]+)")

Flat = dict[str, Any]
"""Columns by our names: arrays, or dicts of them."""


def is_plain_npz(path: Path) -> bool:
    """Whether an npz file has observations and actions under names that we know."""
    names = {_split(entry.removesuffix(".npy"))[1] for entry in entries_of(path)}
    return {"observations", "actions"} <= names


def read_plain_npz(path: str | Path, hints: Hints | None = None) -> Iterator[Demonstrations]:
    """Read arrays that somebody saved with `numpy.savez`; pickled ones are refused.

    :param hints: the action space; the observation space where it shall not be guessed; the time
        limit
    :raises FileError: the file is missing, damaged or of another kind
    :raises DataError: something does not fit, or the action space is unknown
    """
    hints = hints or Hints()
    with reading(path, "npz file"), zipfile.ZipFile(path) as archive:
        episodes = _columns(archive)
        given = episodes[None] if set(episodes) == {None} else _joined(episodes)
        yield from in_pieces(_demonstrations(given, hints))


def _split(entry: str) -> tuple[str | None, str | None, str | None]:
    """Episode, column by our name, and key of a Dict observation that an entry's name means."""
    match = _EPISODE.fullmatch(entry)
    episode, rest = match.groups() if match else (None, entry)
    word, _, key = rest.partition("/")
    return episode, _NAMES.get(word.lower()), key or None


def _columns(archive: zipfile.ZipFile) -> dict[str | None, Flat]:
    """Columns by episode, or under None.

    :raises FileError: entries are no arrays of numbers, or two mean the same
    """
    found: dict[str | None, dict[str, dict[str | None, np.ndarray]]] = {}
    problems = Problems()
    for entry in archive.namelist():
        episode, name, key = _split(entry.removesuffix(".npy"))
        if name is None:
            continue
        entries = found.setdefault(episode, {}).setdefault(name, {})
        with problems.gathering(FileError):
            if key in entries or None in entries or (key is None and entries):
                raise FileError(f"{entry} is the second column of {name}")
            entries[key] = _numbers(archive, entry)
    problems.raise_any(FileError)
    return {
        episode: {name: entries.get(None, entries) for name, entries in columns.items()}
        for episode, columns in found.items()
    }


def _numbers(archive: zipfile.ZipFile, entry: str) -> np.ndarray:
    array = read_array(archive, entry)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise FileError(
            f"entry {entry} is {array.dtype} of shape {array.shape}, not numbers, one row a step"
        )
    return array


def _joined(episodes: Mapping[str | None, Flat]) -> Flat:
    """One column over all episodes, in the order of their numbers.

    :raises DataError: they do not fit each other, or an episode's columns each other
    """
    ordered = sorted((e for e in episodes if e is not None), key=_number)
    names = [set(episodes[episode]) for episode in ordered]
    if None in episodes or any(other != names[0] for other in names):
        raise DataError("not all episodes have the same columns")
    parts = [episodes[episode] for episode in ordered]
    if not {"observations", "actions"} <= names[0]:
        raise DataError("its episodes need observations and actions")
    _check_lengths(parts)
    try:
        joined: Flat = {name: col.concatenate([p[name] for p in parts]) for name in parts[0]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the episodes do not fit each other: {error}") from error
    joined["episode_lengths"] = np.array([len(part["actions"]) for part in parts])
    return joined


def _check_lengths(parts: list[Flat]) -> None:
    """What is too long in one episode could make up for what is too short in another."""
    problems, lengths = Problems(), [len(part["actions"]) for part in parts]
    n_finals = int(col.length(parts[0]["observations"]) == lengths[0] + 1)
    for name in parts[0]:
        more = n_finals if name == "observations" else 0
        wanted = [length + more for length in lengths]
        problems.add(*length_problems(name, [part[name] for part in parts], wanted))
    problems.raise_any()


def _number(episode: str) -> tuple[int, str]:
    digits = re.findall(r"\d+", episode)
    return int(digits[-1]), episode


def _demonstrations(given: Flat, hints: Hints) -> Demonstrations:
    n_steps, problems = len(given["actions"]), Problems()
    columns = {name: column for name, column in given.items() if name not in _FLAGS}
    for name in columns.keys() & {"rewards", "next_observations"}:
        for label, column in col.named(columns[name], name):
            if len(column) != n_steps:
                problems.add(f"{label} has shape {column.shape} for {n_steps} actions")
    flags = {}
    for name in _FLAGS:
        with problems.gathering():
            flags[name] = _flags(given.get(name), name, n_steps)
    problems.raise_any()
    terminations, truncations = _ends(given, flags, hints.max_episode_steps)
    return from_arrays(
        terminations=terminations,
        truncations=truncations,
        observation_space=hints.observation_space,
        action_space=hints.action_space,
        validate=False,
        **columns,
    )


def _ends(
    given: Flat, marks: Mapping[str, np.ndarray], limit: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Terminations and truncations, shape (N,) each, from whatever marks the ends."""
    dones, terminations, truncations = marks["dones"], marks["terminations"], marks["truncations"]
    if "terminations" not in given and limit is not None:
        terminations = dones & ~truncations
    elif "terminations" not in given and (dones & ~truncations).any():
        warn(
            "'dones' does not tell why an episode ended, and the time limit is unknown (pass "
            "env=... or max_episode_steps=...): its ends count as truncations"
        )
    truncations = truncations | (dones & ~terminations)
    truncations[:-1] |= marks["episode_starts"][1:] & ~terminations[:-1]
    if limit is not None:
        ends = terminations | truncations
        if "episode_lengths" in given:
            ends[np.cumsum(given["episode_lengths"]) - 1] = True
        rows = np.flatnonzero(ends)
        cut = rows[(np.diff(rows, prepend=-1) == limit) & terminations[rows]]
        if len(cut):
            warn(
                f"{len(cut)} episodes that are said to terminate have the {limit} steps of the "
                "time limit: their ends count as truncations"
            )
        terminations[cut], truncations[cut] = False, True
    return terminations, truncations


def _flags(values: Any, name: str, n_steps: int) -> np.ndarray:
    """A column of booleans; all false where there is none."""
    if values is None:
        return np.zeros(n_steps, dtype=bool)
    column = np.asarray(values)
    if column.size != n_steps:
        raise DataError(f"{name} has shape {column.shape} for {n_steps} actions")
    return col.as_flags(column.reshape(-1), name)
