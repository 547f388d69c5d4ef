"""Which format a path has: the one table, and saving and loading through it.

A new format is one file beside this one and one line in `_FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from sb3_il_plus.data import minari
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.errors import FileError


@dataclass(frozen=True)
class Format:
    """One way to store demonstrations.

    :param description: for error messages
    :param suffix: of the paths that are saved in this format
    :param recognises: whether an existing path holds it, from its content
    :param writer: `"module:function"`, called with the demonstrations and the path
    :param reader: `"module:function"`, called with the path
    """

    description: str
    suffix: str
    recognises: Callable[[Path], bool]
    writer: str
    reader: str


def _starts_with(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


_FORMATS = (
    Format(
        description="an .npz file",
        suffix=".npz",
        recognises=lambda path: path.suffix == ".npz" or _starts_with(path, b"PK"),
        writer="sb3_il_plus.data.npz:save_npz",
        reader="sb3_il_plus.data.npz:load_npz",
    ),
    Format(
        description="a Minari data set (a folder: no suffix)",
        suffix="",
        recognises=minari.is_dataset,
        writer="sb3_il_plus.data.minari:save_minari",
        reader="sb3_il_plus.data.minari:load_minari",
    ),
)


def save(demonstrations: Demonstrations, path: str | Path) -> Path:
    """Write demonstrations in the format that the suffix of `path` names.

    :raises FileError: the suffix is unknown, or the path cannot be written
    """
    path = Path(path)
    for format_ in _FORMATS:
        if path.suffix == format_.suffix:
            written: Path = _resolve(format_.writer)(demonstrations, path)
            return written
    raise FileError(
        f"cannot save demonstrations as {path.suffix!r} ({path}); choose {_descriptions()}"
    )


def load(path: str | Path) -> Demonstrations:
    """Read demonstrations in any format; nothing in the file is executed.

    :param path: a file, a folder, or the id of a data set in Minari's local store
    :raises FileError: it is missing, damaged or of an unknown kind
    """
    path = Path(path)
    if not path.exists():
        if minari.is_in_store(path.as_posix()):
            return minari.load_minari(path.as_posix())
        raise FileError(f"there are no demonstrations at {str(path)!r}")
    for format_ in _FORMATS:
        if format_.recognises(path):
            loaded: Demonstrations = _resolve(format_.reader)(path)
            return loaded
    pickled = " (a pickle, which could run any program)" if _starts_with(path, b"\x80") else ""
    raise FileError(
        f"{str(path)!r} holds no demonstrations{pickled}; known are {_descriptions()}, and arrays "
        "of your own with Demonstrations.from_arrays(...)"
    )


def _descriptions() -> str:
    return " or ".join(format_.description for format_ in _FORMATS)


def _resolve(entry_point: str) -> Any:
    module, _, name = entry_point.partition(":")
    return getattr(import_module(module), name)
