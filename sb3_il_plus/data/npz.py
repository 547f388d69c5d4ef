"""Demonstrations in one NumPy file: the columns as arrays, everything else in a JSON header.

    header              JSON in a string array: format version, spaces, metadata, list of columns
    observations        or one entry `observations['key']` for each key of a Dict space
    actions, rewards, terminations, truncations, offsets, action_masks, intervened
                        as in `Demonstrations`

Anyone can read it with `numpy.load`, and nothing in it is ever unpickled. A file that was cut,
altered or put together by hand is refused with a message instead of being half understood.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.hints import Hints
from sb3_il_plus.data.mapped import load_mapped, save_mapped
from sb3_il_plus.data.metadata import as_json, library_versions
from sb3_il_plus.data.stream import PIECE_BYTES, Source, in_pieces, reading
from sb3_il_plus.errors import FileError
from sb3_il_plus.files import atomic_write
from sb3_il_plus.spaces import space_from_json, space_to_json

FORMAT = "sb3_il_plus demonstrations"
FORMAT_VERSION = 1

_HEADER = "header.npy"


def save_npz(source: Source, path: str | Path) -> Path:
    """Write `path`, replacing an older file; it appears complete or not at all.

    The columns stand one after the other, so a stream is gathered in a temporary folder first.

    :param source: demonstrations, or a stream of pieces
    :raises FileError: the path cannot be written
    :raises DataError: the metadata is not JSON-like
    """
    path = Path(path)
    if isinstance(source, Demonstrations):
        return _write(source, path)
    with tempfile.TemporaryDirectory(prefix="sb3_il_plus-") as folder:
        return _write(load_mapped(save_mapped(source, Path(folder) / "columns")), path)


def load_npz(path: str | Path) -> Demonstrations:
    """Read what `save_npz` wrote into memory.

    :raises FileError: the file is missing, damaged or of another kind; the message names it
    :raises DataError: its values contradict each other or its spaces
    """
    with reading(path, "npz file"), _opened(path) as archive:
        return _from_archive(archive, read_array).validate()


def read_npz(path: str | Path, hints: Hints | None = None) -> Iterator[Demonstrations]:
    """Read what `save_npz` wrote piece by piece, large files from a temporary folder.

    :param hints: not needed, as the file holds the spaces
    :raises FileError: the file is missing, damaged or of another kind; the message names it
    """
    with reading(path, "npz file"), _opened(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) <= PIECE_BYTES:
            yield _from_archive(archive, read_array)
            return
        with tempfile.TemporaryDirectory(prefix="sb3_il_plus-") as folder:
            yield from in_pieces(_from_archive(archive, _extract_to(Path(folder))))


def is_ours(path: Path) -> bool:
    """Whether an npz file has a header of ours."""
    return _HEADER in entries_of(path)


def entries_of(path: Path) -> list[str]:
    """Names of the entries of a zip; [] if it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # the reader will say what is wrong
        return []


def _write(demonstrations: Demonstrations, path: Path) -> Path:
    columns: dict[str, Any] = demonstrations.columns()
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": library_versions(),
        "observation_space": space_to_json(demonstrations.observation_space),
        "action_space": space_to_json(demonstrations.action_space),
        "metadata": as_json(demonstrations.metadata),
        "columns": {name: _describe(column) for name, column in columns.items()},
    }
    with atomic_write(path) as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), **columns)
    return path


def _opened(path: str | Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise FileError(f"there is no file {str(path)!r}") from error


_ReadArray = Callable[[zipfile.ZipFile, str], np.ndarray]


def _from_archive(archive: zipfile.ZipFile, read: _ReadArray) -> Demonstrations:
    names = archive.namelist()
    header = _read_header(archive)
    columns = {name.removesuffix(".npy"): read(archive, name) for name in names if name != _HEADER}
    found = {name: _describe(column) for name, column in columns.items()}
    if found != header["columns"]:
        raise FileError(f"the header lists the columns {header['columns']}, the file has {found}")
    return Demonstrations.from_columns(
        columns,
        space_from_json(header["observation_space"]),
        space_from_json(header["action_space"]),
        header["metadata"],
    )


def _read_header(archive: zipfile.ZipFile) -> dict[str, Any]:
    if _HEADER not in archive.namelist():
        raise FileError(
            "it has no header of ours; arrays of your own become demonstrations with "
            "Demonstrations.from_arrays(observations, actions, ...)"
        )
    try:
        header = json.loads(str(read_array(archive, _HEADER)))
        known, version = header["format"] == FORMAT, header["format_version"]
        complete = all(type(header[key]) is dict for key in ("columns", "metadata"))
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise FileError(f"its header cannot be read: {error}") from error
    if not known or not complete:
        raise FileError("its header does not describe demonstrations")
    if version != FORMAT_VERSION:
        raise FileError(
            f"it has format version {version}, and this version of sb3_il_plus reads "
            f"{FORMAT_VERSION}; was it written by a newer one?"
        )
    return header


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an entry of an npz file without unpickling.

    :raises FileError: it is not an array of numbers or text
    """
    content = archive.read(name)
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # a header made to confuse NumPy can raise nearly anything
        raise FileError(f"entry {name} is not an array of numbers: {error}") from error
    return _native(array, name)


def _extract_to(folder: Path) -> _ReadArray:
    """Reads entries by writing them to files and mapping these."""

    def read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
        # A name of our own, as that of an entry could lead elsewhere.
        target = folder / f"{len(list(folder.iterdir()))}.npy"
        with archive.open(name) as entry, target.open("wb") as file:
            shutil.copyfileobj(entry, file, PIECE_BYTES)
        try:
            return _native(np.lib.format.open_memmap(target, mode="r"), name)
        except FileError:
            raise
        except Exception as error:  # as above
            raise FileError(f"entry {name} is not an array of numbers: {error}") from error

    return read


def _native(array: np.ndarray, name: str) -> np.ndarray:
    if not array.dtype.isnative:
        raise FileError(f"entry {name} has the byte order of another kind of machine")
    return array


def _describe(column: np.ndarray) -> dict[str, Any]:
    return {"dtype": str(column.dtype), "shape": list(column.shape)}
