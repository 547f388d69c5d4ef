"""What is in a data set of any format, without loading it: pieces pass by and are summed up.

The memory in use does not grow with the data, and wrong values are listed instead of raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.checking import Checker
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.formats import read, recognise
from sb3_il_plus.data.metadata import as_json
from sb3_il_plus.data.minari import folder_of
from sb3_il_plus.data.stream import first_of
from sb3_il_plus.errors import DataError, FileError
from sb3_il_plus.files import atomic_write
from sb3_il_plus.spaces import space_to_json

_MOST_CHOICES = 1000
_SUSPICIOUS_LENGTH = 50
"""Episodes shorter than this may well terminate at the same step."""


@dataclass
class Coverage:
    """What values one column takes, those that are not finite left out.

    :param space: of the column
    """

    space: spaces.Space
    n_rows: int = 0
    low: np.ndarray | None = None
    """Smallest value of each component, shape of the space."""
    high: np.ndarray | None = None
    total: np.ndarray | None = None
    n_finite: np.ndarray | int = 0
    """Finite values of each component."""
    counts: list[np.ndarray] = field(default_factory=list)
    """Of each choice, for each component of a Discrete or MultiDiscrete space."""

    def add(self, column: np.ndarray) -> None:
        """Count rows in."""
        self.n_rows += len(column)
        finite = np.isfinite(column)
        self.n_finite = self.n_finite + finite.sum(axis=0)
        if not finite.all():
            column = np.where(finite, column, np.nan)
        # Unlike `nanmin` and `nanmax`, these two say nothing where there are only NaNs.
        low, high = np.fmin.reduce(column), np.fmax.reduce(column)
        total = np.asarray(column.sum(axis=0, dtype=np.float64, where=finite))
        if self.low is None or self.high is None or self.total is None:
            self.low, self.high, self.total = low, high, total
        else:
            self.low, self.high = np.fmin(self.low, low), np.fmax(self.high, high)
            self.total = self.total + total
        sizes, starts = _choices(self.space)
        if sizes and sum(sizes) <= _MOST_CHOICES and column.dtype.kind in "iu":
            self.counts = self.counts or [np.zeros(size, np.int64) for size in sizes]
            flat = column.reshape(len(column), -1)
            for i, counts in enumerate(self.counts):
                chosen = np.clip(flat[:, i].astype(np.int64) - starts[i], 0, len(counts) - 1)
                counts += np.bincount(chosen, minlength=len(counts))

    @property
    def mean(self) -> np.ndarray:
        """Of each component, shape of the space."""
        n_finite = np.where(self.n_finite, self.n_finite, np.nan)
        return np.asarray(self.total) / n_finite

    def shares(self) -> list[list[float]]:
        """Share of each choice, for each component; [] where there are no choices."""
        return [(counts / self.n_rows).tolist() for counts in self.counts]


@dataclass
class Summary:
    """What `summarize` found."""

    path: str
    format: str
    size_bytes: int
    observation_space: spaces.Space
    action_space: spaces.Space
    metadata: dict[str, Any]
    n_transitions: int
    lengths: np.ndarray
    """Steps of each episode, shape (E,)."""
    returns: np.ndarray | None
    """Undiscounted return of each episode, shape (E,)."""
    ends: dict[str, int]
    """Episodes that "terminated", were "truncated", or are "fragments"."""
    coverage: dict[str, Coverage]
    """By column."""
    problems: list[str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON; null where there is no finite number."""
        columns = {}
        for name, found in self.coverage.items():
            columns[name] = {
                "low": _numbers(found.low),
                "high": _numbers(found.high),
                "mean": _numbers(found.mean),
                "shares": found.shares(),
            }
        return as_json(
            {
                "path": self.path,
                "format": self.format,
                "size_bytes": self.size_bytes,
                "observation_space": space_to_json(self.observation_space),
                "action_space": space_to_json(self.action_space),
                "metadata": self.metadata,
                "n_episodes": len(self.lengths),
                "n_transitions": self.n_transitions,
                "lengths": _statistics(self.lengths),
                "returns": None if self.returns is None else _statistics(self.returns),
                "ends": self.ends,
                "columns": columns,
                "problems": self.problems,
                "notes": self.notes,
            }
        )


def summarize(path: str | Path, **hints: Any) -> Summary:
    """Read a data set of any format once and sum it up.

    :param hints: what the file does not hold, see `Hints.of`
    :raises FileError: it is missing, of an unknown kind, or damaged from the beginning
    :raises DataError: its columns contradict each other from the beginning; what is wrong further
        on is listed instead
    """
    format_, place = recognise(path)
    first, pieces = first_of(read(path, **hints))
    checker = Checker(first.observation_space, first.action_space)
    lengths: list[np.ndarray] = []
    returns: list[np.ndarray] = []
    ends = {"terminated": 0, "truncated": 0, "fragments": 0}
    coverage: dict[str, Coverage] = {}
    broken: list[str] = []
    for piece in _until_broken(pieces, broken):
        checker.add(piece)
        lengths.append(piece.episode_lengths)
        if piece.rewards is not None:
            returns.append(piece.episode_returns)
        _count_ends(piece, ends)
        for name, column, space in _columns(piece):
            coverage.setdefault(name, Coverage(space)).add(column)
    all_lengths = np.concatenate(lengths)
    return Summary(
        path=str(path),
        format=format_.description,
        size_bytes=_size(place if isinstance(place, Path) else folder_of(place)),
        observation_space=first.observation_space,
        action_space=first.action_space,
        metadata=dict(first.metadata),
        n_transitions=int(all_lengths.sum()),
        lengths=all_lengths,
        returns=np.concatenate(returns) if len(returns) == len(lengths) else None,
        ends=ends,
        coverage=coverage,
        problems=[*checker.problems(), *broken],
        notes=list(_notes(all_lengths, ends, coverage)),
    )


def plot_returns(summary: Summary, path: str | Path) -> Path:
    """Write a histogram of the episodes' returns, beside one of their lengths.

    :param path: an image file; its suffix names the format
    :raises DataError: there are no rewards
    :raises FileError: the format is unknown, or the path cannot be written
    """
    suffix = image_suffix(path)
    if summary.returns is None:
        raise DataError(f"{summary.path} has no rewards, so there are no returns to plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, values, name in zip(
        figure.subplots(1, 2),
        (summary.returns, summary.lengths),
        ("return", "length in steps"),
        strict=True,
    ):
        axes.hist(values[np.isfinite(values)], bins=30)
        axes.set(xlabel=name, ylabel="episodes")
    figure.suptitle(f"{Path(summary.path).name}: {len(summary.lengths):,} episodes")
    with atomic_write(Path(path)) as file:
        figure.savefig(file, format=suffix, dpi=150)
    return Path(path)


def image_suffix(path: str | Path) -> str:
    """What an image file is called at its end, without the dot.

    :raises FileError: it is no format that can be written
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    suffix, known = Path(path).suffix[1:].lower(), sorted(FigureCanvasAgg.filetypes)
    if suffix not in known:
        raise FileError(f"cannot write the image {str(path)!r}: its suffix is none of {known}")
    return suffix


def _until_broken(pieces: Iterable[Demonstrations], broken: list[str]) -> Iterator[Demonstrations]:
    """Pass pieces on; what is wrong with later ones becomes a problem of the list."""
    iterator = iter(pieces)
    yield next(iterator)
    while True:
        try:
            piece = next(iterator)
        except StopIteration:
            return
        except (DataError, FileError) as error:
            broken.append(str(error))
            return
        yield piece


def _columns(piece: Demonstrations) -> Iterator[tuple[str, np.ndarray, spaces.Space]]:
    named_spaces = dict(col.named_spaces(piece.observation_space))
    for name, column in col.named(piece.observations):
        yield name, column, named_spaces[name]
    if piece.has_actions:
        yield "actions", piece.actions, piece.action_space
    if piece.rewards is not None:
        yield "rewards", piece.rewards, spaces.Box(-np.inf, np.inf, ())
    if piece.intervened is not None:
        yield "intervened", piece.intervened.astype(np.int8), spaces.Discrete(2)


def _choices(space: spaces.Space) -> tuple[list[int], list[int]]:
    """Number of choices of each component, and the first of each."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)], [int(space.start)]
    if isinstance(space, spaces.MultiDiscrete):
        starts = np.broadcast_to(space.start, space.nvec.shape).reshape(-1)
        return space.nvec.reshape(-1).tolist(), starts.tolist()
    return [], []


def _count_ends(piece: Demonstrations, ends: dict[str, int]) -> None:
    last = piece.offsets[1:] - 1
    terminated, truncated = piece.terminations[last], piece.truncations[last]
    ends["terminated"] += int(terminated.sum())
    ends["truncated"] += int((truncated & ~terminated).sum())
    ends["fragments"] += int((~terminated & ~truncated).sum())


def _notes(
    lengths: np.ndarray, ends: dict[str, int], coverage: dict[str, Coverage]
) -> Iterator[str]:
    """What is no error, but worth a look."""
    longest = int(lengths.max())
    same = (lengths == longest).all() and len(lengths) > 1 and longest >= _SUSPICIOUS_LENGTH
    if same and ends["terminated"] == len(lengths):
        yield (
            f"every episode terminates after exactly {longest} steps: is that a time limit? Then "
            "they are truncated, not terminated"
        )
    for name, found in coverage.items():
        if found.low is None or found.low.ndim == 0 or isinstance(found.space, spaces.Discrete):
            continue
        constant = int((found.low == found.high).sum())
        if constant:
            yield f"{name}: {constant} of {found.low.size} components never change"
    for name, found in coverage.items():
        for counts in found.counts:
            unused = np.flatnonzero(counts == 0)
            if name == "actions" and len(unused):
                yield f"actions: {len(unused)} of {len(counts)} choices are never taken"


def _numbers(values: Any) -> Any:
    """Lists of numbers, with None for what is not finite."""
    array = np.asarray(values)
    plain = array.astype(object)
    plain[~np.isfinite(array)] = None
    return plain.tolist()


def _statistics(values: np.ndarray) -> dict[str, float] | None:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "std": float(values.std()),
    }


def _size(path: Path) -> int:
    """Bytes on the disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
