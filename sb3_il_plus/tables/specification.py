"""`Specification`: all that determines a table, as a strict, YAML-serialisable record.

It holds values only: whether an environment exists or an algorithm fits it is asked in `planning`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

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


class ExpertSettings(Record):
    """Where the expert comes from: a file or folder, or an algorithm that trains one.

    :param path: what `load_expert` reads
    :param algorithm: what `train_expert` trains with; its result is cached across tables
    :param timesteps: training budget; None for the tuned one
    :param hyperparameters: None for the tuned ones
    :param seed: of the expert's training, apart from the table's own seed
    """

    path: str | None = None
    algorithm: str | None = None
    timesteps: Count | None = None
    hyperparameters: dict[str, Any] | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _one_source(self) -> ExpertSettings:
        if (self.path is None) == (self.algorithm is None):
            raise ValueError("give either a path or an algorithm")
        return self


class DemonstrationSettings(Record):
    """What is learned from: a file, or episodes of the expert.

    :param path: what `Demonstrations.load` reads; None to collect from the expert
    :param n_episodes: episodes to collect, or to draw from the file; None for all of the file
    :param deterministic: the expert's most likely actions instead of sampled ones
    """

    path: str | None = None
    n_episodes: Count | None = None
    deterministic: bool = True

    @model_validator(mode="after")
    def _something_to_collect(self) -> DemonstrationSettings:
        if self.path is None and self.n_episodes is None:
            raise ValueError("give a path, n_episodes, or both")
        return self


class AlgorithmSettings(Record):
    """How one algorithm is trained.

    :param timesteps: in the algorithm's own unit: environment steps or gradient updates
    :param n_envs: copies of the environment that it steps side by side
    :param hyperparameters: constructor arguments that differ from the defaults
    """

    timesteps: Count
    n_envs: Count = 1
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


class Specification(Record):
    """One environment, one expert, one set of demonstrations; algorithms times seeds.

    :param environment: its id
    :param expert: None where there is none: demonstrations then come from a file, and nothing can
        be asked while learning
    :param demonstrations: what is learned from
    :param algorithms: registered name -> how it is trained
    :param n_seeds: independent trainings of each algorithm, with the seeds `seed`, `seed + 1`, ...
    :param n_eval_episodes: episodes after each training, and of the expert and the random policy
    :param n_curve_points: evaluations during each training, after the one before it
    :param n_curve_episodes: episodes of each of them
    :param seed: of demonstrations and trainings; evaluations draw their own from it
    """

    environment: str
    expert: ExpertSettings | None = None
    demonstrations: DemonstrationSettings
    algorithms: dict[str, AlgorithmSettings]
    n_seeds: Count = 3
    n_eval_episodes: Count = 50
    n_curve_points: NonNegativeInt = 10
    n_curve_episodes: Count = 5
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _learnable(self) -> Specification:
        if self.expert is None and self.demonstrations.path is None:
            raise ValueError("without an expert, demonstrations need a path")
        if not self.algorithms:
            raise ValueError("algorithms: name at least one")
        return self

    @property
    def seeds(self) -> range:
        """The seeds of the trainings."""
        return range(self.seed, self.seed + self.n_seeds)

    def to_yaml(self) -> str:
        """The specification as text that `load_specification` reads."""
        return yaml.safe_dump(self.model_dump(exclude_none=True), sort_keys=False)


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


def load_specification(path: Path) -> Specification:
    """Read a specification from a YAML file.

    :raises FileError: it cannot be read or is no YAML
    :raises UserError: names every wrong key and value
    """
    return build(Specification, read_yaml(path.read_text, str(path)), str(path))


def read_yaml(read_text: Any, source: str) -> Any:
    """Parse what `read_text()` returns.

    :raises FileError: it cannot be read or is no YAML
    """
    try:
        return yaml.safe_load(read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"cannot read {source}: {' '.join(str(error).split())}") from error


def _explain(error: ValidationError, record: type[Record]) -> str:
    problems = []
    for problem in error.errors():
        *place, last = problem["loc"] or ("",)
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = _keys_at(record, tuple(place))
            problems.append(f"unknown key {key!r}{suggest(str(last), known)}")
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
        annotation = getattr(record, "model_fields", {}).get(part)
        candidates = [annotation.annotation] if annotation is not None else []
        candidates += [arg for c in candidates for arg in getattr(c, "__args__", ())]
        record = next((c for c in candidates if hasattr(c, "model_fields")), record)
    return sorted(getattr(record, "model_fields", {}))
