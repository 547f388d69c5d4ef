"""What is in a saved model, without loading it: settings, versions, and the shapes of its tensors.

It reads the zips of SB3, sb3-contrib and this package. Settings that SB3 pickled are named with
their type, but stay closed.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sb3_il_plus.errors import FileError

_DATA, _VERSION, _SYSTEM = "data", "_stable_baselines3_version", "system_info.txt"


@dataclass(frozen=True)
class ModelSummary:
    """What `summarize_model` found."""

    path: str
    kind: str
    size_bytes: int
    settings: dict[str, Any]
    """Plain values; a pickled one is shown as its type in angle brackets."""
    tensors: dict[str, tuple[int, ...]]
    """Shape of each tensor, by entry and name."""
    system: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries with which it was saved."""


def is_model_file(path: str | Path) -> bool:
    """Whether a file is a zip with a model's settings."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _DATA in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def summarize_model(path: str | Path) -> ModelSummary:
    """Look into a saved model; nothing in it is executed.

    :raises FileError: it is damaged, or no saved model
    """
    from sb3_il_plus.serialization import refusing

    with refusing(f"{str(path)!r} is not a complete model file"), zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read(_DATA))
        if not isinstance(data, dict):
            raise FileError(f"{str(path)!r}: the entry 'data' holds no settings")
        ours = "format_version" in data
        kind = str(data.get("kind", "model")) if ours else "model"
        return ModelSummary(
            path=str(path),
            kind=f"{kind} of {'sb3_il_plus' if ours else 'Stable-Baselines3'}",
            size_bytes=Path(path).stat().st_size,
            settings={name: _shown(value) for name, value in data.items()},
            tensors=_tensors(archive),
            system=_system(archive),
        )


def _shown(value: Any) -> Any:
    if isinstance(value, dict) and ":serialized:" in value:
        return value.get(":type:", "<pickled>")
    return value


def _tensors(archive: zipfile.ZipFile) -> dict[str, tuple[int, ...]]:
    """Shapes, by entry and name; read as tensors alone, never unpickled."""
    from sb3_il_plus.serialization import read_tensors

    shapes: dict[str, tuple[int, ...]] = {}
    for entry in archive.namelist():
        if entry.endswith(".pth"):
            name = entry.removesuffix(".pth")
            _collect(read_tensors(archive, name, "cpu"), name, shapes)
    return shapes


def _collect(value: Any, name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    if hasattr(value, "shape"):
        shapes[name] = tuple(value.shape)
    elif isinstance(value, dict):
        for key, entry in value.items():
            _collect(entry, f"{name}.{key}", shapes)


def _system(archive: zipfile.ZipFile) -> dict[str, str]:
    names = set(archive.namelist())
    found = {}
    if _SYSTEM in names:
        lines = archive.read(_SYSTEM).decode("utf-8", "replace").splitlines()
        pairs = (line.lstrip("- ").partition(":") for line in lines if ":" in line)
        found = {key.strip(): value.strip() for key, _, value in pairs}
    elif _VERSION in names:
        version = archive.read(_VERSION).decode("utf-8", "replace")
        found = {"Stable-Baselines3": version.strip()}
    return found
