"""The files that RL Zoo keeps beside an agent: how it was trained, and in what.

    ppo/CartPole-v1_1/              ALGO/ENV_RUN
        CartPole-v1.zip             the agent
        best_model.zip, ...         others of the same run
        CartPole-v1/
            config.yml              hyperparameters, with wrappers, frame_stack and normalize
            args.yml                command line, with algo, env and env_kwargs
            vecnormalize.pkl        statistics of observations

On the Hub (`rl_zoo3.push_to_hub`) all of them lie in one folder, with `vec_normalize.pkl` and
`env_kwargs.yml`. The YAML files hold Python tags and expressions; both are parsed, never executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.experts.zoo import parse_expression
from sb3_il_plus.serialization import refusing

CONFIG, ARGUMENTS, ENV_KWARGS = "config.yml", "args.yml", "env_kwargs.yml"
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")

_IGNORE = "load_expert(..., wrappers=False) ignores these files"

_PAIRS = "tag:yaml.org,2002:python/object/apply:collections.OrderedDict"
_TUPLE = "tag:yaml.org,2002:python/tuple"


@dataclass(frozen=True)
class ZooSettings:
    """What the files beside an agent say that decides how it acts.

    :param files: those that were read
    :param algorithm: RL Zoo's name of it, such as `"ppo"`
    :param env_id: the environment it was trained in
    :param env_kwargs: arguments of that environment
    :param wrappers: names and arguments of its wrappers, the innermost first
    :param frame_stack: observations put together; 1 for one at a time
    :param normalized: whether `VecNormalize` normalised observations; None where it is not said
    """

    files: tuple[Path, ...] = ()
    algorithm: str | None = None
    env_id: str | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[tuple[str, dict[str, Any]], ...] = ()
    frame_stack: int = 1
    normalized: bool | None = None


class Unread:
    """Stands for a value whose Python tag is not on the list; nothing of it is looked at."""

    def __init__(self, tag: str) -> None:
        self.tag = tag.removeprefix("tag:yaml.org,2002:")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also knows the two tags that RL Zoo's files are full of."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave merge keys alone, with which a small file can grow without bounds."""


def _ordered_pairs(loader: yaml.SafeLoader, node: yaml.Node) -> dict[Any, Any]:
    arguments = loader.construct_sequence(node, deep=True)  # type: ignore[arg-type]
    return dict(arguments[0]) if arguments else {}


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))  # type: ignore[arg-type]


def _unread(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Unread:
    return Unread(node.tag)


_Loader.add_constructor(_PAIRS, _ordered_pairs)
_Loader.add_constructor(_TUPLE, _tuple)
_Loader.add_multi_constructor("", _unread)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one of RL Zoo's YAML files, without executing it.

    :return: its entries; values with tags other than RL Zoo's own are `Unread`
    :raises FileError: it is damaged, or holds no entries
    """
    with refusing(f"{path} is damaged"):
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    if content is None:
        return {}
    if isinstance(content, Unread):
        tag = content.tag
        raise FileError(f"{path} holds a Python object ({tag}), which is not read; {_IGNORE}")
    if not isinstance(content, dict):
        raise FileError(f"{path} holds no settings")
    return content


def folders_of(file: Path) -> list[Path]:
    """Where the settings and statistics of an agent's zip may lie, the likeliest first."""
    if file.with_suffix("").is_dir():
        return [file.with_suffix(""), file.parent]
    names = (CONFIG, ARGUMENTS, *STATISTICS)
    beside = {path.parent for name in names for path in file.parent.glob(f"*/{name}")}
    # `best_model.zip` shares the one folder of its run.
    return [file.parent, *(beside if len(beside) == 1 else ())]


def zoo_settings(file: Path) -> ZooSettings:
    """Read what lies beside an agent's zip.

    :return: settings without any content, where nothing does
    :raises FileError: a file is damaged, or something that is needed of it cannot be read
    """
    found = {
        name: path
        for name in (CONFIG, ARGUMENTS, ENV_KWARGS)
        for path in reversed([folder / name for folder in folders_of(file)])
        if path.is_file()
    }
    content = {name: read_yaml(path) for name, path in found.items()}

    def value(name: str, key: str) -> Any:
        return _plain(content.get(name, {}).get(key), f"{found.get(name)}: {key!r}")

    kwargs = [value(CONFIG, "env_kwargs"), value(ARGUMENTS, "env_kwargs")]
    kwargs.append(_plain(content.get(ENV_KWARGS), f"{found.get(ENV_KWARGS)}"))
    with refusing(
        f"the settings of {file} in {', '.join(map(str, found.values()))} are damaged",
        _IGNORE,
    ):
        return ZooSettings(
            files=tuple(found.values()),
            algorithm=_text(value(ARGUMENTS, "algo")),
            env_id=_text(value(ARGUMENTS, "env")),
            env_kwargs={str(key): item for part in kwargs for key, item in (part or {}).items()},
            wrappers=(
                *_named(value(CONFIG, "env_wrapper")),
                *_named(value(CONFIG, "vec_env_wrapper")),
            ),
            frame_stack=int(value(CONFIG, "frame_stack") or 1),
            normalized=_normalizes(value(CONFIG, "normalize")) if CONFIG in found else None,
        )


def _plain(value: Any, where: str) -> Any:
    """Refuse what was not read, wherever it hides."""
    inner: list[Any] = []
    if isinstance(value, Unread):
        raise FileError(f"{where} is a Python object ({value.tag}), which is not read; {_IGNORE}")
    if isinstance(value, Mapping):
        inner = [*value, *value.values()]
    elif isinstance(value, (list, tuple)):
        inner = list(value)
    for part in inner:
        _plain(part, where)
    return value


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a text is expected, not {value!r}")
    return value


def _named(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """One or several wrappers, each a name or {name: arguments}."""
    if value in (None, "", "None"):
        return []
    named = []
    for entry in value if isinstance(value, (list, tuple)) else [value]:
        name, arguments = next(iter(entry.items())) if isinstance(entry, Mapping) else (entry, None)
        if not isinstance(name, str):
            raise TypeError(f"a wrapper is expected, not {name!r}")
        named.append((name, dict(arguments or {})))
    return named


def _normalizes(value: Any) -> bool:
    """Whether `normalize` of `config.yml` means observations."""
    if isinstance(value, str):
        try:
            value = parse_expression(value)
        except UserError as error:
            raise ValueError(str(error)) from error
    if isinstance(value, Mapping):
        return bool(value.get("norm_obs", True))
    return bool(value)
