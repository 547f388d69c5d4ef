"""Which format a path has: the one table, and saving, loading and converting through it.

A new format is one file beside this one and one entry in `FORMATS`: a reader that yields a stream
of pieces (see `stream.py`), and a writer that takes one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import d4rl, hdf5, imitation_files, mapped, minari, npz, plain_npz
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import Hints
from sb3_il_plus.data.stream import Source, checked, first_of, joined, reading
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.errors import FileError, suggest

_MOST_NAMES = 8
"""Names of what a path holds that a message lists."""


@dataclass(frozen=True)
class Format:
    """One way to store demonstrations.

    :param name: as users type it
    :param description: for messages
    :param recognises: whether an existing path holds it, from its content
    :param read: called with the path and `Hints`; yields pieces
    :param write: called with demonstrations or a stream, and the path; None if it is only read
    :param suffixes: of the paths that are saved in this format when none is named
    :param load: called with the path, where loading is not joining the pieces
    :param holds_spaces: whether a file tells its spaces whoever wrote it
    :param has_ids: whether data sets may be written under an id, into Minari's store
    """

    name: str
    description: str
    recognises: Callable[[Path], bool]
    read: Callable[[Any, Hints], Iterator[Demonstrations]]
    write: Callable[[Source, Any], Path] | None = None
    suffixes: tuple[str, ...] = ()
    load: Callable[[Path], Demonstrations] | None = None
    holds_spaces: bool = True
    has_ids: bool = False


FORMATS = (
    Format(
        name="npz",
        description="an .npz file",
        recognises=npz.is_ours,
        read=npz.read_npz,
        write=npz.save_npz,
        suffixes=(".npz",),
        load=npz.load_npz,
    ),
    Format(
        name="mapped",
        description="a .mapped folder (for data larger than memory)",
        recognises=mapped.is_mapped_folder,
        read=mapped.read_mapped,
        write=mapped.save_mapped,
        suffixes=(".mapped",),
        load=mapped.load_mapped,
    ),
    Format(
        name="d4rl",
        description="a D4RL file (.hdf5)",
        recognises=hdf5.is_hdf5,
        read=d4rl.read_d4rl,
        write=d4rl.save_d4rl,
        suffixes=(".hdf5", ".h5"),
        holds_spaces=False,
    ),
    Format(
        name="minari-arrow",
        description="a Minari data set in Arrow storage",
        recognises=minari.is_arrow_dataset,
        read=minari.read_minari,
        write=minari.save_minari_arrow,
        has_ids=True,
    ),
    Format(
        name="minari",
        description="a Minari data set (a folder: no suffix)",
        recognises=minari.is_dataset,
        read=minari.read_minari,
        write=minari.save_minari,
        suffixes=("",),
        has_ids=True,
    ),
    Format(
        name="imitation",
        description="a data set of imitation",
        recognises=imitation_files.is_dataset_folder,
        read=imitation_files.read_imitation,
        write=imitation_files.save_imitation,
        holds_spaces=False,
    ),
    Format(
        name="imitation-npz",
        description="an .npz file of imitation's older versions",
        recognises=imitation_files.is_old_npz,
        read=imitation_files.read_old_npz,
        holds_spaces=False,
    ),
    Format(
        name="plain-npz",
        description="an .npz file with observations and actions",
        recognises=plain_npz.is_plain_npz,
        read=plain_npz.read_plain_npz,
        holds_spaces=False,
    ),
)


def save(source: Source, path: str | Path, format: str | None = None) -> Path:
    """Write demonstrations in the named format, or in the one that the suffix of `path` means.

    :param source: demonstrations, or a stream of pieces
    :param path: where to write; in Minari's formats, a string such as "CartPole/expert-v0" is the
        id of a new data set of Minari's store, unless a folder of that name exists
    :param format: "npz", "mapped", "d4rl", "minari", "minari-arrow" or "imitation"
    :return: the path written
    :raises FileError: the format or suffix is unknown, or the path cannot be written
    """
    found = _writable(path, format)
    assert found.write is not None
    is_id = found.has_ids and not Path(path).exists() and minari.is_id(path)
    return found.write(source, path if is_id else Path(path))


def load(path: str | Path, **hints: Any) -> Demonstrations:
    """Read demonstrations in any format; nothing in the file is executed.

    :param path: a file, a folder, or the id of a data set in Minari's local store
    :param hints: what the file may leave unsaid, see `Hints.of`
    :raises FileError: it is missing, damaged or of an unknown kind
    :raises DataError: its values contradict each other, the spaces, or the hints
    """
    format_, place = recognise(path)
    given = Hints.of(**hints)
    with reading(path, format_.description):
        if format_.load and not given.clip_actions:
            loaded = format_.load(place)
        else:
            loaded = joined(_clipped(format_.read(place, given), given))
        return _agreeing(loaded, given)


def load_for(path: str | Path, env: Any) -> Demonstrations:
    """`load`, for use in an environment that is only asked for what the file does not hold.

    :param env: environment id, or an object that has the spaces
    """
    return load(path) if recognise(path)[0].holds_spaces else load(path, env=env)


def read(path: str | Path, **hints: Any) -> Iterator[Demonstrations]:
    """Read demonstrations piece by piece, without checking the values: a stream.

    :param hints: as for `load`
    :raises FileError: as `load`; what is wrong further on is raised when it is reached
    """
    format_, place = recognise(path)
    given = Hints.of(**hints)
    with reading(path, format_.description):
        first, pieces = first_of(_clipped(format_.read(place, given), given))
        _agreeing(first, given)
    return pieces


def convert(source: str | Path, target: str | Path, to: str | None = None, **hints: Any) -> Path:
    """Write what one path holds to another, piece by piece, checking every value.

    :param source: a path in any format
    :param target: in the format `to`, or in the one that its suffix means (see `save`); complete or
        not at all
    :param hints: as for `load`
    :return: the path written
    :raises UserError: as `load` and `save`
    """
    _writable(target, to)  # fails before anything is read
    pieces = read(source, **hints)
    with reading(source, "data set"):
        return save(checked(pieces), target, to)


def recognise(path: str | Path) -> tuple[Format, Any]:
    """Find the format of what is at a path, from its content.

    :return: the format, and what its reader takes: a path, or an id of Minari's store
    :raises FileError: there is nothing, or nothing known
    """
    place = Path(path)
    if not place.exists():
        name = place.as_posix()
        if minari.is_in_store(name):
            return _named("minari"), name
        download = f"; to download it: minari download {name}" if minari.is_id(path) else ""
        raise FileError(f"there are no demonstrations at {str(path)!r}{download}")
    for format_ in FORMATS:
        if format_.recognises(place):
            return format_, place
    raise FileError(
        f"{str(path)!r} holds no demonstrations{_what_else(place)}; known are "
        f"{', '.join(f.description for f in FORMATS)}, and arrays of your own with "
        "Demonstrations.from_arrays(...)"
    )


def _what_else(path: Path) -> str:
    """What a path holds that is often mistaken for demonstrations."""
    if path.is_dir():
        return f" (a folder with {_list(sorted(entry.name for entry in path.iterdir()))})"
    with path.open("rb") as file:
        begin = file.read(6)
    if not begin:
        return " (it is empty)"
    if begin[:1] == b"\x80":
        return (
            " (a pickle, which could run any program; an SB3 replay buffer is taken from the model "
            "that loaded it: Demonstrations.from_replay_buffer(model.replay_buffer))"
        )
    if begin[:2] == b"PK":
        names = [entry.removesuffix(".npy") for entry in npz.entries_of(path)]
        return f" (a zip without observations and actions: it has {_list(names)})"
    if begin == b"\x93NUMPY":
        return " (a single array; numpy.savez keeps several, under the names of the columns)"
    return ""


def _list(names: Sequence[str]) -> str:
    """Some of the names, for a message."""
    return ", ".join([*names[:_MOST_NAMES], *(["..."] if len(names) > _MOST_NAMES else [])]) or (
        "nothing in it"
    )


def _writable(path: str | Path, name: str | None) -> Format:
    """The format in which to write a path.

    :raises FileError: there is none
    """
    writable = [format_ for format_ in FORMATS if format_.write]
    if name is not None:
        found = _named(name)
    else:
        suffix = Path(path).suffix
        matching = [format_ for format_ in writable if suffix in format_.suffixes]
        if not matching:
            raise FileError(
                f"cannot save demonstrations as {suffix!r} ({path}); choose "
                f"{', '.join(f.description for f in writable if f.suffixes)}, or name the format: "
                f"{', '.join(f.name for f in writable)}"
            )
        found = matching[0]
    if found.write is None:
        names = ", ".join(format_.name for format_ in writable)
        raise FileError(f"the format {found.name!r} can be read but not written; choose {names}")
    return found


def _named(name: str) -> Format:
    for format_ in FORMATS:
        if format_.name == name:
            return format_
    names = [format_.name for format_ in FORMATS]
    raise FileError(f"there is no format {name!r}{suggest(name, names)}")


def _clipped(pieces: Iterator[Demonstrations], hints: Hints) -> Iterator[Demonstrations]:
    """Clip actions to the bounds of their space, if that is asked for."""
    for piece in pieces:
        space = piece.action_space
        if hints.clip_actions and isinstance(space, spaces.Box):
            actions = np.clip(piece.actions, space.low, space.high).astype(piece.actions.dtype)
            yield dataclasses.replace(piece, actions=actions)
        else:
            yield piece


def _agreeing(data: Demonstrations, hints: Hints) -> Demonstrations:
    """Refuse data of other spaces than the ones that the caller expects."""
    fit_to(
        data,
        hints.observation_space or data.observation_space,
        hints.action_space or data.action_space,
    )
    return data
