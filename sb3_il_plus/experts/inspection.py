"""What is in a saved agent, without loading it, and what of it would be refused.

It reads the zips of SB3, sb3-contrib and this package, with the files of RL Zoo beside them.
Settings that SB3 pickled are read by `safe_pickle` where `load_expert` reads them; the others are
named with their type and stay closed, but whatever they ask for is looked through.
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sb3_il_plus.errors import FileError
from sb3_il_plus.experts import allow_list
from sb3_il_plus.experts.loading import ENTRIES, read_entry
from sb3_il_plus.experts.statistics import read_statistics, statistics_beside
from sb3_il_plus.experts.zoo_folder import zoo_settings
from sb3_il_plus.model_files import check_sizes
from sb3_il_plus.serialization import read_tensors, refusing

_VERSION, _SYSTEM = "_stable_baselines3_version", "system_info.txt"


@dataclass(frozen=True)
class ModelSummary:
    """What `summarize_model` found."""

    path: str
    kind: str
    size_bytes: int
    settings: dict[str, Any]
    """Plain values; a pickled one is shown as its type in angle brackets."""
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of each tensor, by entry and name."""
    system: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries with which it was saved."""
    agent: dict[str, str] = field(default_factory=dict)
    """Policy, spaces and normalisation, as `load_expert` understands them."""
    refused: list[str] = field(default_factory=list)
    """What cannot be read without executing it, and what asks to do harm."""


def summarize_model(path: str | Path) -> ModelSummary:
    """Look into a saved model; nothing in it is executed.

    :raises FileError: it is damaged, or no saved model
    """
    file = Path(path)
    with refusing(f"{str(path)!r} is not a complete model file"), zipfile.ZipFile(file) as archive:
        check_sizes(archive, file)
        data = json.loads(archive.read("data"))
        if not isinstance(data, dict):
            raise FileError(f"{str(path)!r}: the entry 'data' holds no settings")
        ours = "format_version" in data
        kind = str(data.get("kind", "model")) if ours else "model"
        summary = ModelSummary(
            path=str(path),
            kind=f"{kind} of {'sb3_il_plus' if ours else 'Stable-Baselines3'}",
            size_bytes=file.stat().st_size,
            settings={name: _shown(value) for name, value in data.items()},
            system=_system(archive),
        )
        _add_tensors(summary, archive)
        if not ours:
            _add_agent(summary, data, file)
            _add_harmful(summary, data)
    return summary


def _shown(value: Any) -> Any:
    if isinstance(value, dict) and ":serialized:" in value:
        return value.get(":type:", "<pickled>")
    return value


@contextmanager
def _noting(refused: list[str]) -> Iterator[None]:
    try:
        yield
    except FileError as error:
        refused.append(str(error))


def _add_agent(summary: ModelSummary, data: dict[str, Any], file: Path) -> None:
    """Add what decides how it acts, each in the way in which `load_expert` reads it."""
    for name, convert in ENTRIES.items():
        with _noting(summary.refused):
            value = read_entry(data, name, file, convert)
            summary.agent[name] = getattr(value, "__name__", None) or str(value)
    with _noting(summary.refused):
        settings = zoo_settings(file)
        for name, said in (
            ("trained with", settings.algorithm),
            ("trained in", settings.env_id),
            ("env_kwargs", settings.env_kwargs),
            ("wrappers", ", ".join(name for name, _ in settings.wrappers)),
            ("frame_stack", settings.frame_stack if settings.frame_stack > 1 else None),
        ):
            if said:
                summary.agent[name] = str(said)
    beside = statistics_beside(file)
    if beside is not None:
        with _noting(summary.refused):
            statistics = read_statistics(beside)
            text = "observations are not normalised"
            if statistics is not None:
                text = f"observations are normalised and clipped to ±{statistics.clip_obs:g}"
            summary.agent[beside.name] = text


def _add_harmful(summary: ModelSummary, data: dict[str, Any]) -> None:
    """Look through the entries that stay closed for what no saved agent needs."""
    for name, value in data.items():
        if name in ENTRIES or not (isinstance(value, dict) and ":serialized:" in value):
            continue
        try:
            content = base64.b64decode(value[":serialized:"])
        except (TypeError, ValueError):
            continue
        harmful = [asked for asked in allow_list.names_in(content) if allow_list.is_harmful(asked)]
        if harmful:
            summary.refused.append(
                f"entry {name!r}, which is never read, refers to {', '.join(harmful)}; the file "
                "was probably made to do harm"
            )


def _add_tensors(summary: ModelSummary, archive: zipfile.ZipFile) -> None:
    """Add shapes, by entry and name; read as tensors alone, never unpickled."""
    for entry in archive.namelist():
        if entry.endswith(".pth"):
            name = entry.removesuffix(".pth")
            with _noting(summary.refused):
                _collect(read_tensors(archive, name, "cpu"), name, summary.tensors)


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
