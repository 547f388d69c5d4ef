"""Demonstrations in one NumPy file: the columns as arrays, everything else in a JSON header.

    header              JSON in a string array: format version, spaces, metadata, list of columns
    observations        or one entry `observations['key']` for each key of a Dict space
    actions, rewards, terminations, truncations, offsets      as in `Demonstrations`

Anyone can read it with `numpy.load`, and nothing in it is ever unpickled. A file that was cut,
altered or put together by hand is refused with a message instead of being half understood.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.data.metadata import as_json, library_versions
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.files import atomic_write
from sb3_il_plus.spaces import space_from_json, space_to_json

FORMAT = "sb3_il_plus demonstrations"
FORMAT_VERSION = 1

_HEADER = "header.npy"


def save_npz(demonstrations: Demonstrations, path: str | Path) -> Path:
    """Write `path`, replacing an older file; it appears complete or not at all.

    :raises FileError: the path cannot be written
    :raises DataError: the metadata is not JSON-like
    """
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
    with atomic_write(Path(path)) as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), **columns)
    return Path(path)


def load_npz(path: str | Path) -> Demonstrations:
    """Read what `save_npz` wrote.

    :raises FileError: the file is missing, damaged or of another kind; the message names it
    :raises DataError: its values contradict each other or its spaces
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
    except FileNotFoundError as error:
        raise FileError(f"there is no file {str(path)!r}") from error
    except Exception as error:  # whatever the reader stumbles over, the file is damaged
        raise FileError(f"{str(path)!r} is not a complete npz file: {error}") from error
    try:
        return _from_entries(entries)
    except UserError as error:
        raise type(error)(f"{str(path)!r}: {error}") from error


def _from_entries(entries: dict[str, bytes]) -> Demonstrations:
    header = _read_header(entries)
    columns = {
        name.removesuffix(".npy"): _read_array(content, name)
        for name, content in entries.items()
        if name != _HEADER
    }
    found = {name: _describe(column) for name, column in columns.items()}
    if found != header["columns"]:
        raise FileError(f"the header lists the columns {header['columns']}, the file has {found}")
    return Demonstrations.from_columns(
        columns,
        space_from_json(header["observation_space"]),
        space_from_json(header["action_space"]),
        header["metadata"],
    ).validate()


def _read_header(entries: dict[str, bytes]) -> dict[str, Any]:
    if _HEADER not in entries:
        raise FileError(
            "it has no header of ours; arrays of your own become demonstrations with "
            "Demonstrations.from_arrays(observations, actions, ...)"
        )
    try:
        header = json.loads(str(_read_array(entries[_HEADER], _HEADER)))
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


def _read_array(content: bytes, name: str) -> np.ndarray:
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # a header made to confuse NumPy can raise nearly anything
        raise FileError(f"entry {name} is not an array of numbers: {error}") from error
    if not array.dtype.isnative:
        raise FileError(f"entry {name} has the byte order of another kind of machine")
    return array


def _describe(column: np.ndarray) -> dict[str, Any]:
    return {"dtype": str(column.dtype), "shape": list(column.shape)}
