"""Our native form for data of any size: a folder of `.npy` columns that are mapped, not read.

    header.json         spaces, metadata, checksums (see `header.py`)
    observations.npy    or `observations.0.npy`, ... for the entries of a Dict space, in its order
    actions.npy, rewards.npy, terminations.npy, truncations.npy, offsets.npy, action_masks.npy,
    intervened.npy

Opening takes no time and no memory whatever the size: a column is a `numpy.memmap`, whose pages the
operating system reads when they are touched and drops again when memory is scarce. Writing goes
piece by piece. Checksums and values of small folders are checked at once, those of large ones when
they are converted or inspected, as reading gigabytes is what this format avoids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus.data import columns as col
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.header import Checksums, Header
from sb3_il_plus.data.hints import Hints
from sb3_il_plus.data.stream import Source, first_of, in_pieces, reading
from sb3_il_plus.errors import DataError, FileError
from sb3_il_plus.files import atomic_folder

FORMAT = "sb3_il_plus mapped demonstrations"

VERIFIED_BYTES = 2**26
"""Folders up to this size are verified when they are loaded; it takes a fraction of a second."""

_HEADER = "header.json"


def is_mapped_folder(path: Path) -> bool:
    """Whether `path` is a folder that `save_mapped` wrote."""
    try:
        return path.is_dir() and FORMAT in (path / _HEADER).read_text("utf-8", "replace")[:200]
    except OSError:
        return False


def save_mapped(source: Source, path: str | Path) -> Path:
    """Write a folder, replacing an older one; it appears complete or not at all.

    :param source: demonstrations, or a stream of pieces
    :raises FileError: the path cannot be written, or holds something that we did not write
    :raises DataError: the pieces do not fit each other, or the metadata is not JSON-like
    """
    path = Path(path)
    if path.exists() and not (is_mapped_folder(path) or _is_empty(path)):
        raise FileError(f"{str(path)!r} exists and is not replaced; choose another name")
    first, pieces = first_of(source)
    with atomic_folder(path) as folder:
        header = Header.of(first, _write_columns(pieces, first, folder))
        content = {"format": FORMAT, "header": header.to_json()}
        (folder / _HEADER).write_text(json.dumps(content, indent=1), "utf-8")
    return path


def load_mapped(path: str | Path) -> Demonstrations:
    """Open a folder that `save_mapped` wrote, without reading its columns.

    :return: demonstrations whose columns are mapped from the files, which must stay where they are
    :raises FileError: the folder is missing, damaged or of another kind; the message names it
    :raises DataError: the columns contradict each other or, where they are small, the spaces
    """
    path = Path(path)
    with reading(path, "folder of mapped demonstrations"):
        header = _read_header(path)
        demonstrations = _open(path, header)
        if sum(column.nbytes for column in demonstrations.columns().values()) <= VERIFIED_BYTES:
            for _ in header.verified(in_pieces(demonstrations)):
                pass
            demonstrations.validate()
        return demonstrations


def read_mapped(path: str | Path, hints: Hints | None = None) -> Iterator[Demonstrations]:
    """Read a folder that `save_mapped` wrote piece by piece, comparing the checksums.

    :param hints: not needed, as the folder holds the spaces
    :raises FileError: as `load_mapped`, or something was changed since it was saved
    """
    path = Path(path)
    with reading(path, "folder of mapped demonstrations"):
        header = _read_header(path)
        demonstrations = _open(path, header)
        for piece in header.verified(in_pieces(demonstrations)):
            yield piece
            for column in demonstrations.columns().values():
                col.release(column)


class _ColumnFile:
    """Appends rows to an `.npy` file, whose header gets the number of rows at the end."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        self._dtype, self._row_shape = like.dtype, like.shape[1:]
        self._n_rows = 0
        self._file = path.open("xb")
        self._write_header()

    def append(self, name: str, rows: np.ndarray) -> None:
        """Write rows of the dtype and shape of the first ones."""
        if rows.dtype != self._dtype or rows.shape[1:] != self._row_shape:
            raise DataError(
                f"{name}: rows of {rows.dtype} and shape {rows.shape[1:]} come after rows of "
                f"{self._dtype} and shape {self._row_shape}"
            )
        self._file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        self._n_rows += len(rows)

    def close(self) -> None:
        """Complete the file."""
        end_of_header = self._header_size
        self._file.seek(0)
        self._write_header()
        assert self._header_size == end_of_header  # NumPy leaves space for a growing first axis
        self._file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._n_rows, *self._row_shape),
            },
        )
        self._header_size = self._file.tell()


def _write_columns(
    pieces: Iterable[Demonstrations], first: Demonstrations, folder: Path
) -> Checksums:
    like = {**first.columns(), "offsets": np.zeros(1, np.int64)}
    files = _file_names(first.observation_space, like)
    writers = {name: _ColumnFile(folder / files[name], column) for name, column in like.items()}
    writers["offsets"].append("offsets", np.zeros(1, np.int64))
    sums = Checksums()
    for piece in pieces:
        columns = piece.columns()
        if list(columns) != list(like):
            raise DataError(
                f"a piece with the columns {', '.join(columns)} comes after one with "
                f"{', '.join(like)}"
            )
        columns["offsets"] = piece.offsets[1:].astype(np.int64) + sums.n_transitions
        for name, column in columns.items():
            writers[name].append(name, column)
        sums.add(piece)
    for writer in writers.values():
        writer.close()
    return sums


def _file_names(observation_space: spaces.Space, names: Iterable[str]) -> dict[str, str]:
    """Column -> file; keys of a Dict space may be what no file can be called."""
    observed = {name: i for i, (name, _) in enumerate(col.named_spaces(observation_space))}
    if isinstance(observation_space, spaces.Dict):
        return {
            name: f"observations.{observed[name]}.npy" if name in observed else f"{name}.npy"
            for name in names
        }
    return {name: f"{name}.npy" for name in names}


def _read_header(path: Path) -> Header:
    try:
        content = json.loads((path / _HEADER).read_text("utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise FileError(f"its header cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError("its header does not describe demonstrations")
    return Header.from_json(content.get("header"))


def _open(path: Path, header: Header) -> Demonstrations:
    files = _file_names(header.observation_space, header.columns)
    demonstrations = Demonstrations.from_columns(
        {name: _map(path, files[name], header.columns[name]) for name in files},
        header.observation_space,
        header.action_space,
        header.metadata,
    )
    if len(demonstrations) != header.n_transitions:
        raise FileError(
            f"it has {len(demonstrations)} transitions where {header.n_transitions} were saved"
        )
    return demonstrations


def _map(folder: Path, name: str, description: Mapping[str, Any]) -> np.ndarray:
    try:
        file = folder / Path(name).name
        column = np.lib.format.open_memmap(file, mode="r")
    except FileNotFoundError as error:
        raise FileError(f"the file {name} is missing") from error
    except Exception as error:  # a header made to confuse NumPy can raise nearly anything
        raise FileError(f"{name} is not a complete column: {error}") from error
    found = {"dtype": str(column.dtype), "row_shape": list(column.shape[1:])}
    if {**description, **found} != description or not column.dtype.isnative:
        raise FileError(f"{name} should hold {description}, but has {found}")
    size = column.offset + column.nbytes
    if file.stat().st_size != size or not column.flags.c_contiguous:
        raise FileError(f"{name} has {file.stat().st_size} bytes where {size} are expected")
    return column


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
