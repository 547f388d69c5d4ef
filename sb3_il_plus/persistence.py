"""Saving and loading a `DemonstrationAlgorithm`: what goes into a file, and back.

`serialization.py` knows how files look; this one knows what a model consists of: its constructor's
arguments, its tensors, its counters and random states, and sometimes its data.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium
import numpy as np
import stable_baselines3
import torch as th

import sb3_il_plus
from sb3_il_plus import serialization
from sb3_il_plus.data.demonstrations import Demonstrations
from sb3_il_plus.environments import make_env, placeholder_env
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.randomness import global_states
from sb3_il_plus.registry import registry

if TYPE_CHECKING:
    from sb3_il_plus.algorithm import DemonstrationAlgorithm

Model = TypeVar("Model", bound="DemonstrationAlgorithm")


def save(
    model: DemonstrationAlgorithm, path: Any, exclude: Iterable[str], include: Iterable[str]
) -> None:
    """Write a model; see `DemonstrationAlgorithm.save`."""
    _, variables = model._get_torch_save_params()
    tensors: dict[str, Any] = dict(model.get_parameters())
    tensors["pytorch_variables"] = {name: _attribute(model, name) for name in variables}
    tensors["random_states"] = global_states(model.device)
    data = model._data_to_save()
    if "demonstrations" in include:
        data = model._require_demonstrations()
    if data is not None:
        columns = data.columns()
        tensors["demonstrations"] = {k: th.as_tensor(np.array(v)) for k, v in columns.items()}
    given = model.demonstrations
    content = {
        **describe(model),
        "state": model._state(),
        "demonstrations": given.fingerprint() if given is not None else None,
    }
    left_out = set(exclude)
    kept = {name: value for name, value in tensors.items() if name not in left_out}
    serialization.write_archive(path, content, kept)


def describe(model: DemonstrationAlgorithm) -> dict[str, Any]:
    """What a model of the same kind is built from, as JSON: class, spaces, arguments, versions."""
    return {
        "algorithm": _full_name(type(model)),
        "observation_space": serialization.encode(model.observation_space),
        "action_space": serialization.encode(model.action_space),
        "arguments": {name: serialization.encode(v) for name, v in _arguments(model).items()},
        "versions": {
            "sb3_il_plus": sb3_il_plus.__version__,
            "stable_baselines3": stable_baselines3.__version__,
            "torch": str(th.__version__),
            "gymnasium": gymnasium.__version__,
        },
    }


def rebuild(
    cls: type[Model],
    path: Any,
    content: dict[str, Any],
    env: Any,
    device: th.device | str,
    given: dict[str, Any],
) -> Model:
    """An untrained model of the same kind, without an environment where there is none.

    :param path: where `content` comes from, for messages
    :param content: what `describe` returned
    :param given: constructor arguments that replace or complete the saved ones
    """
    trusted = serialization.TRUSTED_PACKAGES | {cls.__module__.partition(".")[0]}
    arguments = _decode_arguments(content["arguments"], given, trusted)
    return cls(env=_environment(cls, env, content, path), device=device, **arguments)


def load(
    cls: type[Model],
    path: Any,
    env: Any,
    device: th.device | str,
    given: dict[str, Any],
    print_system_info: bool = False,
) -> Model:
    """Read a model of class `cls`; see `DemonstrationAlgorithm.load`.

    :param given: constructor arguments that replace or complete the saved ones
    """
    content = serialization.read_data(path)
    if content.get("algorithm") != _full_name(cls):
        raise FileError(
            f"{path} holds a model of {content.get('algorithm')!r}, not of {_full_name(cls)!r}; "
            "load it with that class, or with sb3_il_plus.load_model()"
        )
    if print_system_info:
        print(f"== SAVED WITH ==\n{content.get('versions')}")
    with serialization.refusing(f"{path} does not fit {_full_name(cls)}"):
        return _build(cls, path, _environment(cls, env, content, path), device, given)


def _environment(cls: type[Model], env: Any, content: dict[str, Any], path: Any) -> Any:
    """The environment to go on in, its spaces checked, or a stand-in with the saved spaces."""
    names = ("observation_space", "action_space")
    saved = [serialization.decode(content[name]) for name in names]
    if env is None:
        return placeholder_env(*saved)
    wrapped = cls._wrap_env(make_env(env) if isinstance(env, str) else env, verbose=0)
    for name, space in zip(names, saved, strict=True):
        if getattr(wrapped, name) != space:
            raise FileError(
                f"{path} was saved for the {name.replace('_', ' ')} {space}, the environment has "
                f"{getattr(wrapped, name)}; load it with an environment like the one it was "
                "trained in, or with env=None to predict only"
            )
    return wrapped


def _build(
    cls: type[Model], path: Any, env: Any, device: th.device | str, given: dict[str, Any]
) -> Model:
    """A model from the content of its file, in an environment that suits it."""
    archive = serialization.read_archive(path, "cpu")
    content = archive.data
    trusted = serialization.TRUSTED_PACKAGES | {cls.__module__.partition(".")[0]}
    arguments = _decode_arguments(content["arguments"], given, trusted)
    if "demonstrations" in archive.tensors and arguments.get("demonstrations") is None:
        columns = {k: v.numpy() for k, v in archive.tensors["demonstrations"].items()}
        arguments["demonstrations"] = Demonstrations.from_columns(
            columns, env.observation_space, env.action_space
        )
    model = cls(env=env, device=device, **arguments)
    _warn_of_other_data(model, content["demonstrations"])
    _restore(model, archive)
    if "seed" not in given:
        model._random_states = archive.tensors.get("random_states")
    return model


def load_model(path: Any, env: Any = None, **kwargs: Any) -> Any:
    """Load a model of any registered algorithm: the file knows which.

    :param path: what an algorithm's `save` wrote
    :param env: the environment to go on in; None to predict only
    :param kwargs: see `DemonstrationAlgorithm.load`
    :raises FileError: the file is of an algorithm that is not registered here
    """
    algorithm = serialization.read_data(path).get("algorithm", "")
    for spec in registry.list_algorithms():
        if spec.entry_point == algorithm:
            cls: Any = spec.load()
            return cls.load(path, env=env, **kwargs)
    raise FileError(
        f"{path} holds a model of {algorithm!r}, which is not registered here; "
        "install its package, or load it with that class's own load()"
    )


def constructor_arguments(cls: type) -> set[str]:
    """Names of the constructor arguments of a class and, through `**kwargs`, of its bases."""
    names: set[str] = set()
    for ancestor in cls.__mro__:
        if "__init__" not in vars(ancestor):
            continue
        parameters = list(inspect.signature(ancestor.__init__).parameters.values())  # type: ignore[misc]
        names |= {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return {name for name in names - {"self"} if not name.startswith("_")}


def _arguments(model: DemonstrationAlgorithm) -> dict[str, Any]:
    """The constructor arguments that describe the model, with their effective values.

    Each is stored under its own name, or under that name with an underscore, as SB3 does with some.
    """
    values = {"policy": model._policy_argument}
    for name in constructor_arguments(type(model)) - model.not_saved - {"policy"}:
        if not hasattr(model, name) and not hasattr(model, f"_{name}"):
            raise UserError(
                f"{type(model).__name__} cannot be saved: it does not store its constructor "
                f"argument {name!r} as self.{name}"
            )
        values[name] = getattr(model, name if hasattr(model, name) else f"_{name}")
    return values


def _decode_arguments(
    saved: dict[str, Any], given: dict[str, Any], trusted: Collection[str]
) -> dict[str, Any]:
    """Saved arguments, the given ones in their place; what a file cannot hold is left default."""
    arguments = dict(given)
    for name, value in saved.items():
        if name in given:
            continue
        decoded = serialization.decode(value, trusted)
        lost = {name: decoded}
        if isinstance(decoded, dict):  # generator_kwargs and the like
            lost = {f"{name}[{key!r}]": entry for key, entry in decoded.items()}
            decoded = {k: v for k, v in decoded.items() if not isinstance(v, serialization.Unsaved)}
        if not isinstance(decoded, serialization.Unsaved):
            arguments[name] = decoded
        for place, entry in lost.items():
            if isinstance(entry, serialization.Unsaved):
                warnings.warn(
                    f"{place} was a {entry.description}, which a file cannot hold; its default is "
                    f"used. Pass load(..., {name}=...) to set it",
                    stacklevel=5,
                )
    return arguments


def _restore(model: DemonstrationAlgorithm, archive: serialization.Archive) -> None:
    """Put tensors and counters of a file in place."""
    others = ("demonstrations", "random_states")
    tensors = {name: value for name, value in archive.tensors.items() if name not in others}
    variables = tensors.pop("pytorch_variables", {})
    model.set_parameters(tensors, exact_match=True, device=model.device)
    for name, value in variables.items():
        _attribute(model, name).data = value.data.to(model.device)
    model._load_state(archive.data["state"])


def _full_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _attribute(root: Any, name: str) -> Any:
    for part in name.split("."):
        root = getattr(root, part)
    return root


def _warn_of_other_data(model: DemonstrationAlgorithm, fingerprint: str | None) -> None:
    given = model.demonstrations
    if fingerprint and given is not None and given.fingerprint() != fingerprint:
        warnings.warn(
            f"the model was saved with other demonstrations ({fingerprint}) than it is loaded with "
            f"({given.fingerprint()})",
            stacklevel=5,
        )
