"""`load_expert`: an `Expert` from a file, without executing anything in it.

It reads the zips that SB3 and sb3-contrib save (of any version: only spaces, policy class, policy
arguments and weights are taken from them) and those of `Expert.save`. SB3's own `load` unpickles
whatever the file holds and is never used.
"""

from __future__ import annotations

import base64
import binascii
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_il_plus.environments import make_env, policy_alias
from sb3_il_plus.errors import FileError
from sb3_il_plus.experts import safe_pickle
from sb3_il_plus.experts.archive import KIND, expert_from_archive
from sb3_il_plus.experts.expert import Expert, ObservationStatistics, as_expert, check_spaces
from sb3_il_plus.experts.rebuild import build_policy, space_of_policy
from sb3_il_plus.registry import registry
from sb3_il_plus.serialization import read_archive, read_tensors

T = TypeVar("T")

_STATISTICS_NAMES = ("vecnormalize.pkl", "vec_normalize.pkl")


def load_expert(
    path: str | Path,
    env: str | gym.Env | VecEnv | None = None,
    *,
    vec_normalize: str | Path | VecNormalize | Literal[False] | None = None,
    algorithm: str | None = None,
) -> Expert:
    """Load a saved agent as an `Expert`. Nothing in the file is executed.

    :param path: a zip saved by SB3, sb3-contrib, `Expert.save` or an algorithm of this package; the
        suffix may be left out; a folder with one such zip
    :param env: id, `Env` or `VecEnv` to act in; its spaces then count instead of the file's
    :param vec_normalize: the statistics that `VecNormalize.save` wrote, or a `VecNormalize`; by
        default `vecnormalize.pkl` beside the zip, as RL Zoo lays it out; False for none
    :param algorithm: name of the algorithm that trained it; only needed where the file's policy
        class cannot be read
    :raises FileError: the file is missing, damaged, unsafe to read, or fits no policy
    :raises InapplicableError: it was trained on other spaces than those of `env`
    """
    file = _find(path)
    given = None if env is None else _spaces(env)
    try:
        with zipfile.ZipFile(file) as archive:
            data = _read_data(archive, file)
            if "format_version" not in data:
                expert = _from_sb3(archive, data, file, given, algorithm)
            else:
                expert = _from_ours(file, data, given)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, RuntimeError) as error:
        raise FileError(f"{file} is no complete file of a saved agent: {error}") from error
    return _with_statistics(expert, file, vec_normalize)


def _find(path: str | Path) -> Path:
    for candidate in (Path(path), Path(f"{path}.zip")):
        if candidate.is_file():
            return candidate
    if Path(path).is_dir():
        zips = sorted(Path(path).glob("*.zip"))
        if len(zips) == 1:
            return zips[0]
        raise FileError(
            f"folder {str(path)!r} holds {len(zips)} zip files; name the one to load"
            + "".join(f" ({found.name})" for found in zips[:5])
        )
    if str(path) in registry.names():
        raise FileError(
            f"{str(path)!r} is the name of an algorithm, and no file of that name is here; "
            f"train_expert(env_id, algorithm={str(path)!r}) trains an expert with it"
        )
    raise FileError(f"there is no file {str(path)!r}")


def _spaces(env: str | gym.Env | VecEnv) -> tuple[spaces.Space, spaces.Space]:
    if not isinstance(env, str):
        return env.observation_space, env.action_space
    made = make_env(env)
    made.close()
    return made.observation_space, made.action_space


def _read_data(archive: zipfile.ZipFile, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(archive.read("data"))
    except (RecursionError, ValueError) as error:
        raise FileError(f"{file}: the entry 'data' is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise FileError(f"{file}: the entry 'data' holds no settings")
    return data


def _from_ours(file: Path, data: dict[str, Any], given: tuple | None) -> Expert:
    if data.get("kind") == KIND:
        expert = expert_from_archive(read_archive(file), str(file))
        if given is not None:
            check_spaces(expert, *given)
        return expert
    # An algorithm of this package, which this module must not depend on otherwise.
    from sb3_il_plus.persistence import load_model

    model = load_model(file)
    return as_expert(model, *(given or (model.observation_space, model.action_space)))


def _from_sb3(
    archive: zipfile.ZipFile,
    data: dict[str, Any],
    file: Path,
    given: tuple[spaces.Space, spaces.Space] | None,
    algorithm: str | None,
) -> Expert:
    """Take spaces, policy class, arguments and weights from a zip of SB3."""

    def entry(name: str, convert: Callable[[Any], T]) -> T:
        return _entry(data, name, file, convert)

    if given is None:
        given = (
            entry("observation_space", safe_pickle.to_space),
            entry("action_space", safe_pickle.to_space),
        )
    observation_space, action_space = given
    if algorithm is None:
        policy_class = entry("policy_class", _to_policy_class)
    else:
        policy_class = _policy_of(algorithm, observation_space)
    arguments = entry("policy_kwargs", safe_pickle.to_value) or {}
    if not isinstance(arguments, dict):
        raise FileError(f"{file}: entry 'policy_kwargs' is damaged")
    arguments.setdefault("use_sde", data.get("use_sde") is True)
    weights = read_tensors(archive, "policy", "cpu")
    policy = build_policy(
        policy_class, space_of_policy(observation_space), action_space, arguments, weights
    )
    metadata = {"source": file.name, "policy_class": policy_class.__name__}
    if isinstance(data.get("num_timesteps"), int):
        metadata["total_timesteps"] = data["num_timesteps"]
    if algorithm is not None:
        metadata["algorithm"] = algorithm
    return Expert(policy, observation_space, action_space, name=file.stem, metadata=metadata)


def _entry(data: dict[str, Any], name: str, file: Path, convert: Callable[[Any], T]) -> T:
    """An entry of SB3's JSON: as it stands, or the pickle that it holds, read safely."""
    where = f"{file}: entry {name!r}"
    try:
        value = data[name]
    except KeyError as error:
        raise FileError(f"{where} is missing: it is no agent that SB3 saved") from error
    if not (isinstance(value, dict) and ":serialized:" in value):
        return convert(value)
    try:
        content = base64.b64decode(value[":serialized:"], validate=False)
    except (TypeError, binascii.Error, ValueError) as error:
        raise FileError(f"{where} is damaged: {error}") from error
    return safe_pickle.read(content, where, convert)


def _to_policy_class(record: Any) -> type[BasePolicy]:
    found = safe_pickle.to_class(record)
    if not issubclass(found, BasePolicy):
        raise FileError(f"{found.__name__} is no policy")
    return found


def _policy_of(algorithm: str, observation_space: spaces.Space) -> type[BasePolicy]:
    aliases = getattr(registry.get(algorithm).load(), "policy_aliases", {})
    alias = policy_alias(observation_space)
    name = alias if alias in aliases else alias.replace("Policy", "LstmPolicy")
    if name not in aliases:
        raise FileError(f"algorithm {algorithm!r} has no policy for {observation_space}")
    policy_class: type[BasePolicy] = aliases[name]
    return policy_class


def _with_statistics(
    expert: Expert, file: Path, vec_normalize: str | Path | VecNormalize | Literal[False] | None
) -> Expert:
    """Give the expert the statistics it was trained with, where there are some."""
    if isinstance(vec_normalize, VecNormalize):
        expert.statistics = ObservationStatistics.from_vec_normalize(vec_normalize)
    elif vec_normalize is None and expert.statistics is None:
        vec_normalize = _statistics_beside(file)
    if isinstance(vec_normalize, (str, Path)):
        expert.statistics = read_statistics(vec_normalize)
        expert.metadata["vec_normalize"] = Path(vec_normalize).name
    if expert.statistics is not None and not expert.statistics.fits(expert.observation_space):
        raise FileError(
            f"the VecNormalize statistics {str(vec_normalize)!r} do not fit the observation space "
            f"{expert.observation_space}; name others with vec_normalize=, or False for none"
        )
    return expert


def _statistics_beside(file: Path) -> Path | None:
    """Where RL Zoo (`ENV/vecnormalize.pkl`) and SB3's `CheckpointCallback` put statistics."""
    prefix, _, steps = file.stem.removesuffix("_steps").rpartition("_")
    candidates = [
        *(
            folder / name
            for folder in (file.with_suffix(""), file.parent)
            for name in _STATISTICS_NAMES
        ),
        file.parent / f"{prefix}_vecnormalize_{steps}_steps.pkl",
    ]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_statistics(path: str | Path) -> ObservationStatistics | None:
    """Read what `VecNormalize.save` wrote, without executing it.

    :return: None where observations were not normalised
    :raises FileError: the file is missing, damaged, or refers to what is not on the allow-list
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FileError(
            f"cannot read the VecNormalize statistics {str(path)!r}: {error}"
        ) from error
    return safe_pickle.read(content, str(path), _statistics_of)


def _statistics_of(record: Any) -> ObservationStatistics | None:
    if not isinstance(record, safe_pickle.Record) or not record.path.endswith(":VecNormalize"):
        raise FileError("it does not hold VecNormalize statistics")
    if not record.field("norm_obs", default=True):
        return None
    moments = record.field("obs_rms")
    if isinstance(moments, dict):
        mean = {key: _moment(entry, "mean") for key, entry in moments.items()}
        var = {key: _moment(entry, "var") for key, entry in moments.items()}
    else:
        mean, var = _moment(moments, "mean"), _moment(moments, "var")
    clip, epsilon = (
        float(safe_pickle.to_value(record.field(name))) for name in ("clip_obs", "epsilon")
    )
    return ObservationStatistics(mean, var, clip, epsilon)


def _moment(record: Any, name: str) -> Any:
    if not isinstance(record, safe_pickle.Record):
        raise FileError("its running mean and variance are damaged")
    return safe_pickle.to_value(record.field(name))
