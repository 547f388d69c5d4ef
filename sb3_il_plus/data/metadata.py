"""Facts that travel with demonstrations: plain JSON, whichever format they are stored in."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sb3_il_plus.errors import DataError

_LIBRARIES = ("sb3_il_plus", "stable-baselines3", "gymnasium", "numpy")


def library_versions() -> dict[str, str]:
    """Versions of the libraries on which data depends, by distribution name."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout, not installed
            versions[name] = "unknown"
    return versions


def as_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Copy `metadata` as JSON reads it back: tuples and arrays become lists.

    :raises DataError: a value has no JSON form; the message names its key
    """
    plain = {}
    for key, value in metadata.items():
        try:
            plain[str(key)] = json.loads(json.dumps(value, default=_from_numpy))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"metadata[{key!r}] is a {type(value).__name__} that cannot be written as JSON "
                f"({error}); keep numbers, strings, lists and dicts there"
            ) from error
    return plain


def _from_numpy(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")
