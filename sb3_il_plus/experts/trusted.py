"""`trust=True`: SB3's own loader, for files that cannot be read without executing them.

Everything that such a file holds is executed when it is read. This module is the only one of the
package that does so; it is used when the user says so, after the safe reader has refused, and it
warns of every name that the file asks for.
"""

from __future__ import annotations

import base64
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.environments import placeholder_env
from sb3_il_plus.errors import FileError
from sb3_il_plus.evaluation import global_seed
from sb3_il_plus.experts import allow_list
from sb3_il_plus.experts.wrappers import ObservationStatistics
from sb3_il_plus.registry import registry
from sb3_il_plus.serialization import refusing

_NOT_NEEDED = {"learning_rate": 0.0, "lr_schedule": None, "clip_range": 0.0, "buffer_size": 1}
"""Entries that only matter for learning, and what they are replaced by instead of unpickled."""


class TrustWarning(UserWarning):
    """A file was executed, because `trust=True` allowed it."""


def load_model(
    file: Path,
    algorithm: str | None,
    agent_spaces: tuple[spaces.Space, spaces.Space] | None,
    refusal: FileError,
) -> Any:
    """Load an agent as SB3 does.

    :param algorithm: name of the algorithm that trained it
    :param agent_spaces: of the observations that it sees, and of its actions; those of the file are
        then not unpickled
    :param refusal: why it cannot be read safely
    :raises FileError: the algorithm is not known, or SB3 cannot load it
    """
    if algorithm is None:
        raise FileError(
            f"{refusal}. With trust=True, name the algorithm that trained it, too: algorithm='ppo'"
        )
    replaced: dict[str, Any] = {**_NOT_NEEDED, "lr_schedule": _no_learning}
    if agent_spaces is not None:
        replaced |= dict(zip(("observation_space", "action_space"), agent_spaces, strict=True))
    _warn(str(file), refusal, _names_in_zip(file, set(replaced)))
    loader: Any = registry.get(algorithm).load()
    with refusing(f"{file}: SB3's own loader cannot read it either"), global_seed(0):
        return loader.load(file, custom_objects=replaced)


def load_statistics(
    file: Path, observation_space: spaces.Space, refusal: FileError
) -> ObservationStatistics | None:
    """Load what `VecNormalize.save` wrote as SB3 does.

    :raises FileError: SB3 cannot load it
    """
    _warn(str(file), refusal, allow_list.names_in(file.read_bytes()))
    with refusing(f"{file}: SB3's own loader cannot read it either"):
        venv = placeholder_env(observation_space, spaces.Discrete(1))
        return ObservationStatistics.from_vec_normalize(VecNormalize.load(str(file), venv))


def _warn(file: str, refusal: FileError, names: list[str]) -> None:
    warnings.warn(
        f"trust=True: {file} is unpickled by SB3's own loader, which executes what it holds. It "
        f"names {', '.join(names)}. It was not read safely because {refusal}",
        TrustWarning,
        stacklevel=4,
    )


def _names_in_zip(file: Path, replaced: set[str]) -> list[str]:
    """All that the JSON entries, apart from `replaced` ones, ask for."""
    with zipfile.ZipFile(file) as archive:
        data = json.loads(archive.read("data"))
    names: dict[str, None] = {}
    for key, value in data.items():
        if key not in replaced and isinstance(value, dict) and ":serialized:" in value:
            content = base64.b64decode(value[":serialized:"])
            names |= dict.fromkeys(allow_list.names_in(content))
    return list(names)


def _no_learning(progress_remaining: float) -> float:
    return 0.0
