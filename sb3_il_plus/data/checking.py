"""Every value of demonstrations against their spaces, piece by piece, with all problems at once.

A `Checker` is fed with pieces (whole data sets, or parts of one that is too large for the memory)
and looks at a bounded number of rows at a time. It counts every offender, and names the first of
each kind, and the last, with episode, step, column and value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.masks import mask_problem
from sb3_il_plus.spaces import outside

if TYPE_CHECKING:
    from sb3_il_plus.data.demonstrations import Demonstrations

_CHUNK_BYTES = 2**23
"""Of a column, looked at in one go."""

_CLIP = (
    "; environments clip such actions, so np.clip yours, or load with clip_actions=True "
    "(--clip-actions on the command line)"
)
_GOES_ON = "is true, but the episode goes on after it; is an episode boundary missing?"

_INTEGERS = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


@dataclass
class _Offence:
    """One kind of problem in one column."""

    first: str
    last: str
    count: int

    def __str__(self) -> str:
        if self.count == 1:
            return self.first
        return f"{self.first} (and {self.count - 1:,} more, the last in {self.last})"


class Checker:
    """Checks demonstrations that come in pieces of whole episodes.

    :param observation_space: of all pieces
    :param action_space: of all pieces
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self._observation_space = observation_space
        self._action_space = action_space
        self._offences: dict[tuple[str, str], _Offence] = {}
        self._n_episodes = 0

    def add(self, piece: Demonstrations, first_episode: int | None = None) -> None:
        """Look at every value of the next piece.

        :param first_episode: the number of its first episode, where some were left out before it
        """
        if first_episode is not None:
            self._n_episodes = first_episode
        rows = _Rows(piece, self._n_episodes)
        self._check_observations(piece)
        bad_actions = self._check("actions", piece.actions, self._action_space, rows)
        if piece.rewards is not None:
            self._scan("rewards", piece.rewards, rows, {"": _not_finite})
        self._check_ends(piece)
        if piece.action_masks is not None and not bad_actions:
            problem = mask_problem(piece.action_masks, piece, "action_masks", self._n_episodes)
            if problem is not None:
                self._note("action_masks", "", problem)
        self._n_episodes += piece.n_episodes

    def problems(self) -> list[str]:
        """A sentence for each kind of problem; [] if there are none."""
        return [str(offence) for offence in self._offences.values()]

    def _check_observations(self, piece: Demonstrations) -> None:
        expected = dict(col.named_spaces(self._observation_space))
        given = dict(col.named(piece.observations))
        if set(given) != set(expected):
            self._note(
                "observations",
                "names",
                f"the data has the columns {', '.join(given)}; the space "
                f"{self._observation_space} needs {', '.join(expected)}",
            )
            return
        rows = _Rows(piece, self._n_episodes, extra=1)
        for name, space in expected.items():
            self._check(name, given[name], space, rows)

    def _check(self, name: str, column: np.ndarray, space: spaces.Space, rows: _Rows) -> bool:
        """Check one column against its space, and return whether something is wrong."""
        complaint = _form_problem(column, space)
        if complaint is not None:
            self._note(name, complaint, f"{name}: {complaint}")
            return True
        checks: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        if column.dtype.kind == "f":
            checks["which is not finite"] = _not_finite
        # Box bounds of observations are often nominal, so only those of actions count.
        if name == "actions" or not isinstance(space, spaces.Box):
            remedy = _CLIP if isinstance(space, spaces.Box) else ""
            checks[f"which lies outside {space}{remedy}"] = lambda part: (
                outside(part, space) & ~_not_finite(part)
            )
        return self._scan(name, column, rows, checks)

    def _scan(
        self,
        name: str,
        column: np.ndarray,
        rows: _Rows,
        checks: dict[str, Callable[[np.ndarray], np.ndarray]],
    ) -> bool:
        """Look for offenders, a chunk of rows at a time."""
        found = False
        for start, part in _chunks(column):
            for complaint, check in checks.items():
                bad = check(part)
                if bad.any():
                    found = True
                    self._note_values(name, complaint, part, np.argwhere(bad), start, rows)
        return found

    def _note_values(
        self,
        name: str,
        complaint: str,
        part: np.ndarray,
        positions: np.ndarray,
        start: int,
        rows: _Rows,
    ) -> None:
        first, last = (tuple(int(i) for i in positions[i]) for i in (0, -1))
        component = f", component {first[1:]}" if len(first) > 1 else ""
        place = f"{rows.place(start + first[0])}{component} is {part[first]}"
        sentence = f"{name}: {place}" + (f", {complaint}" if complaint else "")
        self._note(name, complaint, sentence, rows.place(start + last[0]), len(positions))

    def _check_ends(self, piece: Demonstrations) -> None:
        """An episode ends at its last step and nowhere else."""
        rows = _Rows(piece, self._n_episodes)
        for name in ("terminations", "truncations"):
            column = getattr(piece, name)
            inside = np.setdiff1d(np.flatnonzero(column), piece.offsets[1:] - 1)
            if len(inside):
                first, last = rows.place(int(inside[0])), rows.place(int(inside[-1]))
                self._note(name, _GOES_ON, f"{name}: {first} {_GOES_ON}", last, len(inside))
            if (column.view(np.uint8) > 1).any():
                self._note(name, "bool", f"{name}: holds bytes that are no booleans")

    def _note(
        self, name: str, complaint: str, sentence: str, last: str = "", count: int = 1
    ) -> None:
        offence = self._offences.setdefault((name, complaint), _Offence(sentence, last, 0))
        # What is wrong with a whole column is said once, however many pieces it has.
        offence.count = offence.count + count if last else 1
        offence.last = last


class _Rows:
    """Where the rows of a piece's columns are: their episodes, counted over all pieces, and steps.

    :param extra: rows that each episode has beside its steps: 1 for observations
    """

    def __init__(self, piece: Demonstrations, n_before: int, extra: int = 0) -> None:
        self._starts = piece.offsets[:-1] + extra * np.arange(piece.n_episodes)
        self._n_before = n_before

    def place(self, row: int) -> str:
        episode = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"episode {self._n_before + episode}, step {row - int(self._starts[episode])}"


def _form_problem(column: np.ndarray, space: spaces.Space) -> str | None:
    """What is wrong with the shape or dtype of a column, if anything."""
    if space.shape is None:
        return f"the space {space} is of a kind that Stable-Baselines3 does not handle"
    if column.shape[1:] != space.shape:
        return f"a row has shape {column.shape[1:]}, the space {space} has {space.shape}"
    if isinstance(space, _INTEGERS) and column.dtype.kind not in "iub":
        return f"has dtype {column.dtype}, which the space {space} cannot hold"
    return None


def _not_finite(values: np.ndarray) -> np.ndarray:
    return ~np.isfinite(values)


def _chunks(column: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the values of consecutive parts."""
    n_rows = max(1, _CHUNK_BYTES // max(1, column[:1].nbytes))
    for start in range(0, len(column), n_rows):
        yield start, column[start : start + n_rows]
