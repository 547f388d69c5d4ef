"""`Job`: one piece of work of a table, named by a hash of everything that determines its result.

Two jobs with the same id give the same result, so a result on disk is never computed again, and a
result of older code, other settings or other library versions is never taken for a newer one.
Importing this file imports no library: workers read it before they choose their thread count.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

Cell = tuple[str, str]
"""Task and row of a table."""

Kind = Literal[
    "expert", "demonstrations", "expert evaluation", "random evaluation", "training", "measurement"
]

RECORD_VERSION = 1
"""Raise it when a job's work or its record changes, so that older results are not reused."""

_DISTRIBUTIONS = (
    "sb3_il_plus",
    "stable_baselines3",
    "sb3_contrib",
    "imitation",
    "rl_zoo3",
    "gymnasium",
    "seals",
    "mujoco",
    "numpy",
    "torch",
)
_WITHOUT_INFLUENCE = frozenset({"__main__.py", "tables", "testing"})
"""Parts of this package that no result depends on (`RECORD_VERSION` stands for `tables`)."""


@dataclass(frozen=True)
class Job:
    """One piece of work.

    :param kind: what is to be done
    :param label: for people: `"gail seed 1"`
    :param settings: plain JSON that, with `needs` and the code, determines the result
    :param needs: role -> id of the job whose result it reads, such as `{"expert": "6f0c..."}`
    :param inputs: role -> path of a user's file; `settings` hold a digest of its content, so that
        moving the file changes nothing
    :param cells: where its result is shown, which may be in several places
    :param time_limit: seconds after which it is stopped; None for never
    """

    kind: Kind
    label: str
    settings: Mapping[str, Any]
    needs: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    time_limit: float | None = None

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits that name the job and its result."""
        identity = {
            "record_version": RECORD_VERSION,
            "kind": self.kind,
            "settings": self.settings,
            "needs": self.needs,
            "versions": versions(),
            "code": package_digest(__name__.partition(".")[0]),
        }
        text = json.dumps(identity, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The job as plain JSON, its id included."""
        return {
            "id": self.id,
            "kind": self.kind,
            "label": self.label,
            "settings": dict(self.settings),
            "needs": dict(self.needs),
        }


def provenance(command: str) -> dict[str, Any]:
    """What a record says of where it comes from, besides the job: versions, machine, command."""
    return {
        "command": command,
        "versions": {**versions(), "python": platform.python_version()},
        "machine": platform.platform(),
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


@cache
def versions() -> dict[str, str]:
    """Versions of the installed packages that results depend on."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def package_digest(package: str) -> str:
    """A hash of the Python source of a top-level package or module, empty where there is none.

    Version numbers stay the same while somebody edits an algorithm; this does not.
    """
    if package in sys.modules:  # such as a script that registered its own algorithm: __main__
        origin = getattr(sys.modules[package], "__file__", None)
    else:
        spec = importlib.util.find_spec(package)
        origin = None if spec is None else spec.origin
    if origin is None:
        return ""
    root = Path(origin).parent
    files = [Path(origin)]
    if files[0].name == "__init__.py":
        files = sorted(root.rglob("*.py"))
        if package == "sb3_il_plus":
            files = [path for path in files if _matters(path.relative_to(root).parts[0])]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _matters(name: str) -> bool:
    """Whether results depend on a file or folder of this package."""
    return name not in _WITHOUT_INFLUENCE and not name.startswith("cli")
