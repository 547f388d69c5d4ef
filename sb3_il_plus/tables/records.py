"""`Record`: plain data with known keys, from YAML; errors name every wrong key and value.

What specifications and presets have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PositiveInt, ValidationError

from sb3_il_plus.errors import FileError, UserError, suggest


def _whole_number(value: Any) -> Any:
    """Accept `1e5`, which YAML reads as a float or even as text."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return int(number) if number.is_integer() else value


Count = Annotated[PositiveInt, BeforeValidator(_whole_number)]


class Record(BaseModel):
    """A frozen pydantic model that knows its keys and refuses all others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


R = TypeVar("R", bound=Record)


def build(record: type[R], content: Any, source: str) -> R:
    """Make a record from plain data.

    :param source: what to call the data in a message: a path, or the command line
    :raises UserError: names every wrong key and value
    """
    if not isinstance(content, dict):
        raise UserError(f"{source} must hold keys and values, not {type(content).__name__}")
    try:
        return record.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error, record)}") from error


def read_yaml(read_text: Any, source: str) -> Any:
    """Parse what `read_text()` returns.

    :raises FileError: it cannot be read or is no YAML
    """
    try:
        return yaml.safe_load(read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"cannot read {source}: {' '.join(str(error).split())}") from error


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Put changes into plain data; where both have a mapping, key by key."""
    result = dict(values)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            value = changed(inner, value)
        result[key] = value
    return result


def _explain(error: ValidationError, record: type[Record]) -> str:
    problems = []
    for problem in error.errors():
        *place, last = problem["loc"] or ("",)
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = _keys_at(record, tuple(place))
            near = suggest(str(last), known) if len(known) > 1 else ""
            hint = (
                f"{near.removesuffix('?')}? allowed: " if "did you mean" in near else "; allowed: "
            )
            problems.append(f"unknown key {key!r}{hint}{', '.join(known)}")
        elif problem["type"] == "missing":
            problems.append(f"{key!r} is missing")
        elif problem["type"] == "value_error":  # from our own validators
            text = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{key}: {text}" if key else text)
        else:
            text = problem["msg"]
            problems.append(f"{key}={problem['input']!r}: {text[0].lower()}{text[1:]}")
    return "; ".join(problems)


def _keys_at(record: Any, location: tuple[Any, ...]) -> list[str]:
    """Keys that are allowed at a place within a record."""
    for part in location:
        field = record.model_fields.get(part)
        record = next(_records_in(field.annotation), record) if field is not None else record
    return sorted(record.model_fields)


def _records_in(annotation: Any) -> Iterator[type[Record]]:
    """The records that an annotation such as `dict[str, AlgorithmSettings] | None` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in get_args(annotation):
        yield from _records_in(part)
