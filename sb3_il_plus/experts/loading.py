"""`load_expert`: an `Expert` from a file, without executing anything in it.

It reads the zips that SB3 and sb3-contrib save (of any version: only spaces, policy class, policy
arguments and weights are taken from them), with what RL Zoo keeps beside them, and those of
`Expert.save`. SB3's own `load` unpickles whatever the file holds; only `trust=True` allows it.
"""

from __future__ import annotations

import base64
import binascii
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_il_plus.environments import make_env, policy_alias
from sb3_il_plus.errors import FileError
from sb3_il_plus.experts import hub, safe_pickle, trusted
from sb3_il_plus.experts.archive import KIND, expert_from_archive
from sb3_il_plus.experts.expert import Expert, as_expert, check_spaces
from sb3_il_plus.experts.rebuild import build_policy, space_of_policy
from sb3_il_plus.experts.safe_pickle import UnsafeFileError
from sb3_il_plus.experts.statistics import StatisticsSource, set_statistics
from sb3_il_plus.experts.wrappers import (
    FrameStack,
    ObservationWrapper,
    between_environments,
    wrapped_space,
    wrapper_named,
)
from sb3_il_plus.experts.zoo_folder import (
    ZooSettings,
    zoo_settings,
)
from sb3_il_plus.model_files import check_sizes, model_in
from sb3_il_plus.registry import registry
from sb3_il_plus.serialization import read_archive, read_tensors

T = TypeVar("T")


def load_expert(
    path: str | Path,
    env: str | gym.Env | VecEnv | None = None,
    *,
    vec_normalize: StatisticsSource = None,
    wrappers: bool = True,
    algorithm: str | None = None,
    trust: bool = False,
) -> Expert:
    """Load a saved agent as an `Expert`. Nothing in the file is executed.

    :param path: a zip saved by SB3, sb3-contrib, `Expert.save` or an algorithm of this package; the
        suffix may be left out; a folder with one such zip, as RL Zoo lays it out; or
        `hub://ORG/REPO` on the Hugging Face Hub (see `experts.hub`)
    :param env: id, `Env` or `VecEnv` to act in; its spaces then count instead of the file's. Needed
        where the agent was trained through wrappers that change observations
    :param vec_normalize: the statistics that `VecNormalize.save` wrote, or a `VecNormalize`; by
        default `vecnormalize.pkl` beside the zip; False for none
    :param wrappers: do to observations what the wrappers in RL Zoo's `config.yml` did in training;
        False where `env` has them already
    :param algorithm: name of the algorithm that trained it; only needed where the file's policy
        class cannot be read, and is then taken for the one that SB3 uses by default
    :param trust: where a file cannot be read without executing it, let SB3's own loader do so, with
        a `TrustWarning` of what it asks for. Only for files whose maker you trust
    :raises FileError: the file is missing, damaged, unsafe to read, or fits no policy
    :raises InapplicableError: it was trained on other spaces than those of `env`
    """
    file = _find(path)
    task = None if env is None else _Task.of(env)
    settings = zoo_settings(file) if wrappers else ZooSettings()
    try:
        with zipfile.ZipFile(file) as archive:
            check_sizes(archive, file)
            data = _read_data(archive, file)
            if "format_version" in data:
                expert = _from_ours(file, data, task)
                settings = ZooSettings()  # it holds its wrappers itself
            else:
                expert = _from_sb3(archive, data, file, task, settings, algorithm, trust)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, RuntimeError) as error:
        raise FileError(f"{file} is no complete file of a saved agent: {error}") from error
    set_statistics(expert, file, vec_normalize, settings, trust)
    _note_settings(expert, settings, env)
    return expert


def _find(path: str | Path) -> Path:
    if str(path).startswith(hub.SCHEME):
        return hub.download(str(path))
    for candidate in (Path(path), Path(f"{path}.zip")):
        if candidate.is_file():
            return candidate
    if Path(path).is_dir():
        return model_in(Path(path))
    if str(path) in registry.names():
        raise FileError(
            f"{str(path)!r} is the name of an algorithm, and no file of that name is here; "
            f"train_expert(env_id, algorithm={str(path)!r}) trains an expert with it"
        )
    raise FileError(f"there is no file {str(path)!r}")


@dataclass(frozen=True)
class _Task:
    """Where an expert shall act."""

    observation_space: spaces.Space
    action_space: spaces.Space
    spec: Any
    """`gymnasium`'s `EnvSpec`, where there is one."""

    @classmethod
    def of(cls, env: str | gym.Env | VecEnv) -> _Task:
        if isinstance(env, str):
            made = make_env(env)
            made.close()
            return cls(made.observation_space, made.action_space, made.spec)
        if isinstance(env, gym.Env):
            return cls(env.observation_space, env.action_space, env.spec)
        try:
            spec = env.get_attr("spec", 0)[0]
        except (AttributeError, NotImplementedError):  # no stack of gymnasium's
            spec = None
        return cls(env.observation_space, env.action_space, spec)


def _read_data(archive: zipfile.ZipFile, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(archive.read("data"))
    except (RecursionError, ValueError) as error:
        raise FileError(f"{file}: the entry 'data' is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise FileError(f"{file}: the entry 'data' holds no settings")
    return data


def _to_policy_class(record: Any) -> type[BasePolicy]:
    found = safe_pickle.to_class(record)
    if not issubclass(found, BasePolicy):
        raise FileError(f"{found.__name__} is no policy")
    return found


ENTRIES: dict[str, Callable[[Any], Any]] = {
    "observation_space": safe_pickle.to_space,
    "action_space": safe_pickle.to_space,
    "policy_class": _to_policy_class,
    "policy_kwargs": safe_pickle.to_value,
}
"""All that is read of the JSON in SB3's zips, apart from numbers, and how."""


def _from_ours(file: Path, data: dict[str, Any], task: _Task | None) -> Expert:
    given = None if task is None else (task.observation_space, task.action_space)
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
    task: _Task | None,
    settings: ZooSettings,
    algorithm: str | None,
    trust: bool,
) -> Expert:
    """Take spaces, policy class, arguments and weights from a zip of SB3."""
    changes = _wrappers_of(settings, task)
    stacked = [FrameStack(settings.frame_stack)] if settings.frame_stack > 1 else []
    seen = None
    if task is not None:
        seen = wrapped_space(task.observation_space, [*changes, *stacked]), task.action_space
    metadata: dict[str, Any] = {"source": file.name}
    actor: Any
    try:
        actor, seen = _policy(archive, data, file, seen, None if trust else algorithm)
        metadata["policy_class"] = type(actor).__name__
    except UnsafeFileError as refusal:
        if not trust:
            raise
        actor = trusted.load_model(file, algorithm or settings.algorithm, seen, refusal)
        seen = actor.observation_space, actor.action_space
        metadata |= {"policy_class": type(actor.policy).__name__, "trusted": True}
    if isinstance(data.get("num_timesteps"), int):
        metadata["total_timesteps"] = data["num_timesteps"]
    if algorithm is not None:
        metadata["algorithm"] = algorithm
    raw = seen if task is None else (task.observation_space, task.action_space)
    return Expert(
        actor,
        *raw,
        name=file.stem,
        wrappers=changes,
        frame_stack=settings.frame_stack,
        metadata=metadata,
    )


def _policy(
    archive: zipfile.ZipFile,
    data: dict[str, Any],
    file: Path,
    seen: tuple[spaces.Space, spaces.Space] | None,
    algorithm: str | None,
) -> tuple[BasePolicy, tuple[spaces.Space, spaces.Space]]:
    """Rebuild the policy; the spaces are those that it sees, by default the file's."""

    def entry(name: str) -> Any:
        return read_entry(data, name, file, ENTRIES[name])

    if seen is None:
        seen = entry("observation_space"), entry("action_space")
    policy_class = entry("policy_class") if algorithm is None else _policy_of(algorithm, seen[0])
    arguments = entry("policy_kwargs") or {}
    if not isinstance(arguments, dict):
        raise FileError(f"{file}: entry 'policy_kwargs' is damaged")
    arguments.setdefault("use_sde", data.get("use_sde") is True)
    weights = read_tensors(archive, "policy", "cpu")
    policy = build_policy(
        policy_class, space_of_policy(seen[0]), seen[1], arguments, weights, str(file)
    )
    return policy, seen


def _wrappers_of(settings: ZooSettings, task: _Task | None) -> list[ObservationWrapper]:
    """The wrappers of `config.yml` that change observations."""
    spec = None if task is None else task.spec
    env_id = settings.env_id if spec is None else spec.id
    limit = getattr(spec, "max_episode_steps", None)
    found = [wrapper_named(name, kwargs, env_id, limit) for name, kwargs in settings.wrappers]
    changes = between_environments(settings.env_id, env_id)
    changes += [wrapper for wrapper in found if wrapper is not None]
    if (changes or settings.frame_stack > 1) and task is None:
        names = [type(wrapper).__name__ for wrapper in changes]
        names += ["frame_stack"] if settings.frame_stack > 1 else []
        raise FileError(
            f"the agent was trained in {env_id} through {', '.join(names)}, so its file does not "
            "say what raw observations look like: pass env="
        )
    return changes


def _note_settings(expert: Expert, settings: ZooSettings, env: Any) -> None:
    """Keep what RL Zoo's files say, and warn of an environment that was built otherwise."""
    if settings.algorithm is not None:
        expert.metadata.setdefault("algorithm", settings.algorithm)
    if settings.env_id is not None:
        expert.metadata["env_id"] = settings.env_id
    if not settings.env_kwargs:
        return
    expert.metadata["env_kwargs"] = settings.env_kwargs
    spec = getattr(env, "spec", None)
    built_with = {} if spec is None else dict(spec.kwargs)
    if isinstance(env, (str, gym.Env)) and not settings.env_kwargs.items() <= built_with.items():
        arguments = ", ".join(f"{key}={value!r}" for key, value in settings.env_kwargs.items())
        warnings.warn(
            f"{expert.name} was trained in an environment built with {arguments}; build one with "
            "gymnasium.make(id, **expert.metadata['env_kwargs'])",
            stacklevel=3,
        )


def read_entry(data: dict[str, Any], name: str, file: Path, convert: Callable[[Any], T]) -> T:
    """Read an entry of SB3's JSON: as it stands, or the pickle that it holds, safely.

    :raises FileError: it is missing, damaged or unsafe to read
    """
    where = f"{file}: entry {name!r}"
    try:
        value = data[name]
    except KeyError as error:
        raise FileError(f"{where} is missing: it is no agent that SB3 saved") from error
    if not (isinstance(value, dict) and ":serialized:" in value):
        try:
            return convert(value)
        except FileError as error:
            raise type(error)(f"{where}: {error}") from error
    try:
        content = base64.b64decode(value[":serialized:"], validate=False)
    except (TypeError, binascii.Error, ValueError) as error:
        raise FileError(f"{where} is damaged: {error}") from error
    return safe_pickle.read(content, where, convert)


def _policy_of(algorithm: str, observation_space: spaces.Space) -> type[BasePolicy]:
    aliases = getattr(registry.get(algorithm).load(), "policy_aliases", {})
    alias = policy_alias(observation_space)
    name = alias if alias in aliases else alias.replace("Policy", "LstmPolicy")
    if name not in aliases:
        raise FileError(f"algorithm {algorithm!r} has no policy for {observation_space}")
    policy_class: type[BasePolicy] = aliases[name]
    return policy_class
