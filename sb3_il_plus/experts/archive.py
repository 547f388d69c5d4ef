"""Experts in files of our own: plain JSON and tensors, no pickle (see `serialization`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from sb3_il_plus.errors import FileError
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.experts.rebuild import build_policy, policy_arguments
from sb3_il_plus.experts.wrappers import (
    WRAPPERS,
    ObservationStatistics,
    ObservationWrapper,
    wrapped_space,
)
from sb3_il_plus.serialization import Archive, Unsaved, decode, encode, refusing, write_archive

KIND = "expert"
"""The entry `kind` that tells an expert's file from a model's."""


def save_expert(expert: Expert, path: str | Path) -> None:
    """Write an expert to a file that `load_expert` reads.

    :raises FileError: it is a function, or its policy cannot be rebuilt from a file
    """
    policy = expert.policy
    if policy is None:
        raise FileError(
            f"expert {expert.name!r} is not an SB3 policy, so it cannot be stored in a file; "
            "store demonstrations of it instead: collect(...).save(path)"
        )
    statistics = expert.statistics
    data = {
        "kind": KIND,
        "name": expert.name,
        "metadata": encode(expert.metadata),
        "observation_space": encode(expert.observation_space),
        "action_space": encode(expert.action_space),
        "policy_class": encode(type(policy)),
        "policy_observation_space": encode(policy.observation_space),
        "policy_kwargs": encode(policy_arguments(policy)),
        "statistics": None if statistics is None else encode(vars(statistics)),
        "wrappers": [
            [type(wrapper).__name__, encode(vars(wrapper))] for wrapper in expert.wrappers
        ],
        "frame_stack": expert.frame_stack,
    }
    archive = Archive(data, {"policy": policy.state_dict()})
    _ = _policy(archive, expert.name)  # so that no file is left that cannot be read
    write_archive(path, archive.data, archive.tensors)


def expert_from_archive(archive: Archive, where: str) -> Expert:
    """Rebuild what `save_expert` wrote.

    :param where: the file's name, for messages
    :raises FileError: the content is damaged, or names classes of packages that are not trusted
    """
    with refusing(f"{where} is damaged"):
        try:
            return _expert(archive, where)
        except FileError as error:
            if where in str(error):
                raise
            raise FileError(f"{where} is damaged: {error}") from error


def _expert(archive: Archive, where: str) -> Expert:
    data = archive.data
    expert = Expert(
        _policy(archive, where),
        decode(data["observation_space"]),
        decode(data["action_space"]),
        name=str(data["name"]),
        statistics=_statistics(decode(data["statistics"])),
        wrappers=[_wrapper(*named) for named in data.get("wrappers", [])],
        frame_stack=int(data.get("frame_stack", 1)),
        metadata=dict(decode(data["metadata"])),
    )
    space = wrapped_space(expert.observation_space, expert.wrappers)
    if expert.statistics is not None and not expert.statistics.fits(space):
        raise FileError(f"its statistics do not fit {space}")
    return expert


def _policy(archive: Archive, where: str) -> BasePolicy:
    data = archive.data
    policy_class, arguments = decode(data["policy_class"]), decode(data["policy_kwargs"])
    if not (isinstance(policy_class, type) and issubclass(policy_class, BasePolicy)):
        raise FileError(f"{where}: policy_class is {policy_class!r}, which is no policy")
    if lost := _unsaved(arguments):
        raise FileError(f"{where}: a file cannot hold {', '.join(lost)} of the policy's arguments")
    return build_policy(
        policy_class,
        decode(data["policy_observation_space"]),
        decode(data["action_space"]),
        arguments,
        archive.tensors["policy"],
        where,
    )


def _unsaved(arguments: Any, name: str = "policy_kwargs") -> list[str]:
    """Names of the values that `encode` could not store."""
    if isinstance(arguments, Unsaved):
        return [f"{name} ({arguments.description})"]
    if isinstance(arguments, Mapping):
        return [
            lost for key, item in arguments.items() for lost in _unsaved(item, f"{name}[{key!r}]")
        ]
    return []


def _statistics(fields: dict[str, Any] | None) -> ObservationStatistics | None:
    return None if fields is None else ObservationStatistics(**fields)


def _wrapper(name: str, fields: Any) -> ObservationWrapper:
    wrapper: ObservationWrapper = WRAPPERS[name](**decode(fields))
    return wrapper
