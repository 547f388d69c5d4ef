"""Telling saved models from other files, and finding the one in a folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

from sb3_il_plus.errors import FileError

_MOST_COMPRESSED = 50
"""SB3 does not compress at all; JSON and weights that others compress shrink to a tenth."""


def is_model_file(path: str | Path) -> bool:
    """Whether a file is a zip with a model's settings."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "data" in archive.namelist()
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return False


def check_sizes(archive: zipfile.ZipFile, file: Path) -> None:
    """Refuse a file that would fill the memory when it is read.

    :raises FileError: its entries declare more than any agent's would
    """
    declared = sum(entry.file_size for entry in archive.infolist())
    if declared > _MOST_COMPRESSED * file.stat().st_size:
        raise FileError(
            f"{file} would unpack to {declared:,} bytes, more than {_MOST_COMPRESSED} times its "
            "size, which no saved agent does; nothing of it was read"
        )


def models_in(folder: Path) -> list[Path]:
    """The models' zips in a folder, or else in the folders in it.

    Of several, the one that has a folder of its own name beside it is RL Zoo's last one, and is
    returned alone.
    """
    for pattern in ("*.zip", "*/*.zip"):
        models = [path for path in sorted(folder.glob(pattern)) if is_model_file(path)]
        own = [path for path in models if path.with_suffix("").is_dir()]
        if models:
            return own if len(own) == 1 else models
    return []


def model_in(folder: Path) -> Path:
    """The one model's zip in a folder of RL Zoo, the Hub, or anybody's.

    :raises FileError: there is none, or there are several
    """
    models = models_in(folder)
    if len(models) == 1:
        return models[0]
    raise FileError(
        f"folder {str(folder)!r} holds {len(models)} zip files of agents; name the one to load"
        + "".join(f" ({found.name})" for found in models[:5])
    )
