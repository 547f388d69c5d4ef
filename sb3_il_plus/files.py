"""Files and folders that appear complete or not at all.

Whatever is written gets a hidden temporary name beside its target first and is renamed at the end,
so that an interrupted program, a full disk or a reader at the wrong moment never meets half a file.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sb3_il_plus.errors import FileError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""Names that `_beside` makes."""


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the name `path`, replacing an older one, once it is complete.

    Missing folders are made.

    :raises FileError: `path` cannot be written
    """
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        raise FileError(f"cannot write {str(path)!r}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes the name `path`, replacing an older one, once it is complete.

    :raises FileError: `path` cannot be written
    """
    temporary = _beside(path)
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            outdated = _beside(path)
            path.rename(outdated)
            temporary.rename(path)
            shutil.rmtree(outdated)
        else:
            temporary.rename(path)
    except OSError as error:
        raise FileError(f"cannot write {str(path)!r}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Make sure that files can be written in `folder`, which need not exist, leaving nothing there.

    :raises FileError: they cannot
    """
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        if not existing.is_dir():
            raise NotADirectoryError(f"{str(existing)!r} is no folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise FileError(f"cannot write in the folder {str(folder)!r}: {error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; nobody may be writing there now."""
    for path in folder.glob(".*"):
        if path.is_file() and _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A fresh hidden name in the folder of `path`, which is made where missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {str(path.parent)!r}: {error}") from error
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
