"""Demonstrations piece by piece, so that data of any size passes through a bounded memory.

A *stream* is any iterable of `Demonstrations`, each a piece of whole episodes of one data set, with
equal spaces and metadata. Every format's reader yields one and every writer takes one; converting
is no more than handing one to the other, and loading is joining the pieces. Only an episode that is
larger than a piece needs more memory than a piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.assembly import join
from sb3_il_plus.data.checking import Checker
from sb3_il_plus.data.columns import Columns
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import warn
from sb3_il_plus.data.problems import Problems
from sb3_il_plus.errors import DataError, FileError, MissingExtraError, UserError

Source: TypeAlias = Demonstrations | Iterable[Demonstrations]
"""What writers take: demonstrations, or a stream of pieces."""

PIECE_BYTES = 2**24
"""A piece is about this large: much for a disk to read at once, little for a memory."""


@dataclass(frozen=True)
class Steps:
    """One episode as a file holds it, with nothing checked yet."""

    observations: Columns
    """Shape (T + 1, *observation shape)."""
    actions: np.ndarray
    """Shape (T, *action shape)."""
    rewards: np.ndarray | None
    """Shape (T,)."""
    terminations: np.ndarray
    """Shape (T,), bool."""
    truncations: np.ndarray
    """Shape (T,), bool."""

    @property
    def nbytes(self) -> int:
        """Size of the larger columns."""
        return self.actions.nbytes + sum(c.nbytes for _, c in col.named(self.observations))

    def problems(self) -> Iterator[str]:
        """What is wrong with the lengths of the columns."""
        n = len(self.actions) if self.actions.ndim else 0
        if n == 0:
            yield "has no steps"
        for name, column in col.named(self.observations):
            if column.ndim == 0 or len(column) != n + 1:
                yield f"has {name} of shape {column.shape} for {n} actions; {n + 1} rows are needed"
        for name in ("rewards", "terminations", "truncations"):
            column = getattr(self, name)
            if column is not None and column.shape != (n,):
                yield f"has {name} of shape {column.shape} for {n} actions"


def in_pieces(demonstrations: Demonstrations) -> Iterator[Demonstrations]:
    """Cut demonstrations into pieces, as views."""
    n_bytes = sum(column.nbytes for column in demonstrations.columns().values())
    n_steps = steps_per_piece(n_bytes / len(demonstrations))
    for first, last in episode_blocks(demonstrations.offsets, n_steps):
        yield demonstrations[first:last]


def steps_per_piece(step_bytes: float) -> int:
    """How many steps of this size a piece holds."""
    return max(1, int(PIECE_BYTES / max(1.0, step_bytes)))


def episode_blocks(offsets: np.ndarray, n_steps: int) -> Iterator[tuple[int, int]]:
    """Cut episodes into consecutive blocks of at most `n_steps` steps, or of one longer episode.

    :return: numbers of the first episode of each block and of the one after its last
    """
    first = 0
    while first < len(offsets) - 1:
        fitting = int(np.searchsorted(offsets, offsets[first] + n_steps, side="right")) - 1
        last = max(first + 1, fitting)
        yield first, last
        first = last


def of_episodes(
    episodes: Iterable[Steps],
    observation_space: spaces.Space,
    action_space: spaces.Space,
    metadata: Mapping[str, Any],
) -> Iterator[Demonstrations]:
    """Gather episodes into pieces.

    :raises DataError: episodes whose columns differ in length or form; it comes after the last
        episode, and names all of them, with the wrong values of those behind the first
    """
    facts = observation_space, action_space, metadata
    waiting: list[Steps] = []
    size = 0
    numbered = enumerate(episodes)
    for number, episode in numbered:
        if any(episode.problems()):
            if waiting:
                yield _piece(waiting, *facts)
            _raise_problems(chain([(number, episode)], numbered), *facts)
        waiting.append(episode)
        size += episode.nbytes
        if size >= PIECE_BYTES:
            yield _piece(waiting, *facts)
            waiting, size = [], 0
    if waiting:
        yield _piece(waiting, *facts)


def _raise_problems(
    episodes: Iterable[tuple[int, Steps]],
    observation_space: spaces.Space,
    action_space: spaces.Space,
    metadata: Mapping[str, Any],
) -> None:
    """Look through the episodes from a broken one on, and say all that is wrong with them."""
    problems, checker = Problems(), Checker(observation_space, action_space)
    for number, episode in episodes:
        found = list(episode.problems())
        problems.add(*(f"episode {number} {problem}" for problem in found))
        if not found:
            try:
                piece = _piece([episode], observation_space, action_space, metadata)
                checker.add(piece, first_episode=number)
            except DataError as error:
                problems.add(f"episode {number}: {error}")
    problems.add(*checker.problems())
    problems.raise_any()


def _piece(
    episodes: list[Steps],
    observation_space: spaces.Space,
    action_space: spaces.Space,
    metadata: Mapping[str, Any],
) -> Demonstrations:
    try:
        observations = col.concatenate([episode.observations for episode in episodes])
        actions = np.concatenate([episode.actions for episode in episodes])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the episodes do not fit each other: {error}") from error
    rewards = [episode.rewards for episode in episodes if episode.rewards is not None]
    return Demonstrations(
        observations=observations,
        actions=actions,
        rewards=np.concatenate(rewards) if len(rewards) == len(episodes) else None,
        terminations=np.concatenate([episode.terminations for episode in episodes]),
        truncations=np.concatenate([episode.truncations for episode in episodes]),
        offsets=np.cumsum([0, *(len(episode.actions) for episode in episodes)]),
        observation_space=observation_space,
        action_space=action_space,
        metadata=metadata,
    )


def first_of(source: Source) -> tuple[Demonstrations, Iterator[Demonstrations]]:
    """Return the first piece, whose spaces and metadata are those of all, and the whole stream.

    :raises DataError: the stream is empty
    """
    pieces = in_pieces(source) if isinstance(source, Demonstrations) else iter(source)
    first = next(pieces, None)
    if first is None:
        raise DataError("there are no episodes: demonstrations need at least one")
    return first, chain([first], pieces)


def joined(stream: Iterable[Demonstrations]) -> Demonstrations:
    """All pieces in memory, each value checked.

    :raises DataError: there are no pieces, or values that contradict the spaces or each other
    """
    pieces = list(checked(stream))
    return pieces[0] if len(pieces) == 1 else join(pieces)


def checked(stream: Iterable[Demonstrations]) -> Iterator[Demonstrations]:
    """Pass pieces on while checking each value.

    :raises DataError: after the last piece, naming every problem; or there are no pieces
    """
    first, pieces = first_of(stream)
    problems, checker = Problems(), Checker(first.observation_space, first.action_space)
    with problems.gathering():  # the stream's own, to be named with those of the values
        for piece in pieces:
            checker.add(piece)
            yield piece
    problems.add(*checker.problems())
    problems.raise_any()


def refuse_what_it_lacks(piece: Demonstrations, what: str, dicts: bool) -> None:
    """Refuse to write what a format has no place for; warn of actions that mean nothing.

    :param what: the format, as the subject of the message
    :param dicts: whether it has a place for Dict observations
    :raises FileError: names all of it
    """
    lacking = {
        "Dict observations": isinstance(piece.observation_space, spaces.Dict) and not dicts,
        "action masks": piece.action_masks is not None,
        "marks of interventions": piece.intervened is not None,
    }
    lost = [name for name, present in lacking.items() if present]
    if lost:
        raise FileError(f"{what} has no place for {' or '.join(lost)}; save as .npz or .mapped")
    if not piece.has_actions:
        warn(
            f"{what} has no place for unknown actions: stand-ins are written, which only "
            "sb3_il_plus knows for what they are"
        )


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Let every error name the file, and turn whatever a damaged one raises into a `FileError`.

    :param what: the file should be, for the message
    """
    try:
        yield
    except MissingExtraError:
        raise
    except UserError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{str(path)!r}: {error}") from error
    except Exception as error:  # each library has its own, and a damaged file can raise any
        raise FileError(
            f"{str(path)!r} is not a complete {what} ({type(error).__name__}: {error})"
        ) from error
