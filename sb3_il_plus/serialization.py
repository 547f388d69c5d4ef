"""Model files: a zip in SB3's layout that is never executed, only read.

    data                    plain JSON: arguments, counters, spaces
    policy.pth, ...         tensors, one entry per name, loaded with `weights_only=True`

`encode` and `decode` turn constructor arguments into JSON and back. A class is stored as its import
path and looked up again only in packages that belong to this ecosystem; functions cannot be stored
and come back as `Unsaved`. Files appear complete or not at all.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import BaseBuffer

from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.files import atomic_write
from sb3_il_plus.spaces import space_from_json, space_to_json

TRUSTED_PACKAGES = frozenset(
    {"torch", "stable_baselines3", "sb3_contrib", "imitation", "sb3_il_plus"}
)
"""Packages whose classes a file may name."""

_PARTS = (th.nn.Module, th.optim.Optimizer, BaseAlgorithm, BaseBuffer)
"""Kinds of classes a file may name: building one of these does nothing to the machine."""

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Unsaved:
    """Stands for a value that a file cannot hold, such as a function."""

    description: str


@dataclass(frozen=True)
class Archive:
    """The content of a model file."""

    data: dict[str, Any]
    tensors: dict[str, Any]
    """Entry name (without `.pth`) -> state dict or tensors."""


def encode(value: Any) -> Any:
    """Turn a constructor argument into JSON; what JSON lacks is a one-key dict `{"!kind": ...}`."""
    if isinstance(value, (np.bool_, np.number)):
        value = value.item()
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"!float": repr(value)}
    if isinstance(value, (Path, th.device)):
        return str(value)
    if isinstance(value, spaces.Space):  # first, as a Dict space is a mapping too
        return {"!space": space_to_json(value)}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(k, str) and k[:1] != "!" for k in value):
        return {key: encode(item) for key, item in value.items()}
    return _encode_kind(value)


def _encode_kind(value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {"!tuple": [encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"!dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        flat = [encode(item) for item in value.flatten().tolist()]
        return {"!array": {"dtype": value.dtype.str, "shape": list(value.shape), "values": flat}}
    if isinstance(value, type):
        return {"!class": f"{value.__module__}:{value.__qualname__}"}
    return {"!unsaved": f"{type(value).__name__} {getattr(value, '__name__', '')}".strip()}


def decode(value: Any, trusted: Collection[str] = TRUSTED_PACKAGES) -> Any:
    """Turn what `encode` wrote back into values.

    :param trusted: top-level packages whose classes may be named
    :raises FileError: nothing that `encode` writes, or a class outside `trusted`
    """
    with refusing("not a value that a file holds"):
        return _decode(value, trusted)


def _decode(value: Any, trusted: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_decode(item, trusted) for item in value]
    if not isinstance(value, dict):
        return value
    if ":serialized:" in value:
        raise FileError("a pickled object is in place of a value; it was not loaded")
    if len(value) != 1 or not next(iter(value)).startswith("!"):
        return {key: _decode(item, trusted) for key, item in value.items()}
    (kind, content), *_ = value.items()
    if kind == "!float":
        return float(content)
    if kind == "!tuple":
        return tuple(_decode(item, trusted) for item in content)
    if kind == "!dict":
        return {_decode(key, trusted): _decode(item, trusted) for key, item in content}
    if kind == "!array":
        return _decode_array(trusted=trusted, **content)
    if kind == "!space":
        return space_from_json(content)
    if kind == "!class":
        return _find_class(content, trusted)
    if kind == "!unsaved":
        return Unsaved(content)
    raise FileError(f"unknown kind of value {kind!r}: was the file written by a newer version?")


def _decode_array(dtype: str, shape: list[int], values: list, trusted: Collection[str]) -> Any:
    if np.dtype(dtype).kind not in "biuf":
        raise TypeError(f"an array of {dtype}")
    return np.array(_decode(values, trusted), dtype=dtype).reshape(shape)


def _find_class(path: str, trusted: Collection[str]) -> type:
    module_name, _, qualname = str(path).partition(":")
    if module_name.partition(".")[0] not in trusted:
        raise FileError(
            f"the file names the class {path!r}, which is not from {', '.join(sorted(trusted))}; "
            "pass it yourself with custom_objects={'argument': TheClass}"
        )
    try:
        found: Any = importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise FileError(
            f"the file names the class {path!r}, which cannot be found: {error}"
        ) from error
    if not isinstance(found, type):
        raise FileError(f"the file names {path!r} as a class, but it is a {type(found).__name__}")
    if not issubclass(found, _PARTS):
        raise FileError(
            f"the file names the class {path!r}, which is not of a kind that models are made of; "
            "pass it yourself with custom_objects={'argument': TheClass}"
        )
    return found


def write_archive(
    path: str | Path | IO[bytes], data: Mapping[str, Any], tensors: Mapping[str, Any]
) -> None:
    """Write a model file; as in SB3, a path without a suffix gets `.zip`.

    :param data: plain JSON (see `encode`)
    :param tensors: entry name -> anything that `torch.load(weights_only=True)` can read
    """
    if isinstance(path, (str, Path)):
        path = Path(path)
        with atomic_write(path if path.suffix else path.with_suffix(".zip")) as file:
            write_archive(file, data, tensors)
        return
    content = {"format_version": FORMAT_VERSION, **data, "tensors": sorted(tensors)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(content, indent=1, allow_nan=False))
        for name, value in tensors.items():
            buffer = io.BytesIO()
            th.save(value, buffer)
            archive.writestr(f"{name}.pth", buffer.getvalue())


def read_data(path: str | Path | IO[bytes]) -> dict[str, Any]:
    """Read the plain JSON of a model file and leave its tensors alone.

    :return: the `data` that `write_archive` was given, and under `"tensors"` the tensors' names
    :raises FileError: the file is missing, damaged, of another kind, or holds what we do not write
    """
    with _opened(path) as (_, content):
        return content


def read_archive(path: str | Path | IO[bytes], device: th.device | str = "cpu") -> Archive:
    """Read a model file without executing anything in it.

    :raises FileError: the file is missing, damaged, of another kind, or holds more than tensors
    """
    with _opened(path) as (archive, content):
        tensors = {}
        for name in content.pop("tensors"):
            with (
                refusing(f"{path}: entry {name}.pth holds something other than tensors"),
                zipfile.ZipFile(io.BytesIO(archive.read(f"{name}.pth"))) as entry,
            ):
                _check_stored(entry)
            tensors[name] = read_tensors(archive, name, device)
        return Archive(content, tensors)


@contextmanager
def refusing(what: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever damaged content raises into a `FileError` that begins with `what`.

    :param remedy: what the user can do about it, if that can be said
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # zlib, struct, torch, ... each has its own
        advice = f"; {remedy}" if remedy else ""
        raise FileError(f"{what}: {type(error).__name__}: {error}{advice}") from error


@contextmanager
def _opened(path: str | Path | IO[bytes]) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """Open a model file and read its JSON; its entries must be those that `write_archive` makes."""
    with (
        refusing(
            f"{path} is not a complete model file",
            "it was cut off, damaged or packed by another program, so load an earlier checkpoint",
        ),
        zipfile.ZipFile(_find(path)) as archive,
    ):
        _check_stored(archive)
        content = _read_data(archive.read("data"), path)
        unexpected = set(archive.namelist()) - {"data", *(f"{n}.pth" for n in content["tensors"])}
        if unexpected:
            raise FileError(
                f"{path} holds {', '.join(map(repr, sorted(unexpected)))}, which sb3_il_plus does "
                "not write, so somebody has changed it; nothing of it was loaded"
            )
        yield archive, content


def _check_stored(archive: zipfile.ZipFile) -> None:
    """Refuse what unpacks to more than the file's own size; our entries are never compressed."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise zipfile.BadZipFile("two entries have the same name")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise zipfile.BadZipFile("an entry is compressed")
    if sum(max(entry.compress_size, entry.file_size) for entry in entries) > archive.start_dir:
        raise zipfile.BadZipFile("its entries declare more bytes than the file has")


def _find(path: str | Path | IO[bytes]) -> Path | IO[bytes]:
    if not isinstance(path, (str, Path)):
        return path
    for candidate in (Path(path), Path(f"{path}.zip")):
        if candidate.is_file():
            return candidate
    raise FileError(f"there is no model file {str(path)!r}")


def _read_data(text: bytes, path: Any) -> dict[str, Any]:
    try:
        content = json.loads(text)
        version = content["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path} was not saved by sb3_il_plus ({error}); "
            "agents that SB3 saved are read by load_expert()"
        ) from error
    if version != FORMAT_VERSION:
        raise FileError(f"{path} has format {version}; this version reads {FORMAT_VERSION}")
    return content


def read_tensors(archive: zipfile.ZipFile, name: str, device: th.device | str) -> Any:
    """Read the tensors in the entry `name`.pth.

    :raises FileError: it holds something other than tensors, or is damaged
    :raises KeyError: there is no such entry
    """
    buffer = io.BytesIO(archive.read(f"{name}.pth"))
    try:
        if zipfile.is_zipfile(buffer):  # as PyTorch has written since version 1.6
            with zipfile.ZipFile(buffer) as entry:
                _check_stored(entry)
        buffer.seek(0)
        return th.load(buffer, map_location=device, weights_only=True)
    except Exception as error:  # pickle, zlib, struct, ... each has its own
        # torch's own message advises to execute the file.
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
        reason = reason.partition("\n")[0].partition(". ")[0]
        raise FileError(
            f"{archive.filename or 'the file'}: entry {name}.pth holds something other than "
            f"tensors: {type(error).__name__}: {reason}; it is damaged, or was made to execute "
            "code, and nothing of it was loaded"
        ) from error
