"""`Specification`: all that determines a table, as a strict, YAML-serialisable record.

    name: two poles
    environments: [CartPole-v1, seals/CartPole-v0]
    expert: {algorithm: ppo}
    demonstrations:
      n_episodes: [1, 10]
      corruption: {observation_noise: [0, 0.1]}
    algorithms: [bc, gail]

A list in `demonstrations` means one task for each of its values, and several mean all combinations.
A specification holds values only: whether an environment exists or an algorithm fits it is asked in
`planning`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_validator,
)

from sb3_il_plus.errors import UnknownNameError, suggest
from sb3_il_plus.tables.claims import Claim
from sb3_il_plus.tables.published import Published
from sb3_il_plus.tables.records import Count, Record, build, changed, read_yaml

Share = Annotated[float, Field(ge=0, le=1)]

DAY = 24 * 60 * 60
_FOLDER = files("sb3_il_plus.tables") / "specs"
_OTHER_ROWS = ("expert", "random", "demonstrations")


class ExpertSettings(Record):
    """Where the expert comes from: a file or folder, an algorithm, or the environment itself.

    :param path: what `load_expert` reads
    :param algorithm: what `train_expert` trains with; its result is cached across tables
    :param own: whether it is the one that the environment brings, as those with commands do
    :param timesteps: training budget; None for the tuned one
    :param hyperparameters: None for the tuned ones
    :param seed: of the expert's training, apart from the table's own seed
    :param otherwise: the expert to take where nothing can be read at `path`, as of a Hub that
        cannot be reached
    """

    path: str | None = None
    algorithm: str | None = None
    own: bool = False
    timesteps: Count | None = None
    hyperparameters: dict[str, Any] | None = None
    seed: NonNegativeInt = 0
    otherwise: ExpertSettings | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ExpertSettings:
        if (self.path is not None) + (self.algorithm is not None) + self.own != 1:
            raise ValueError("give either a path or an algorithm, or own: true")
        if self.otherwise is not None and self.path is None:
            raise ValueError("otherwise is for a path that may not be there")
        return self


class Corruption(Record):
    """Flaws that are put into demonstrations: see `data.corruption.corrupt`."""

    observation_noise: NonNegativeFloat = 0.0
    action_noise: NonNegativeFloat = 0.0
    random_actions: Share = 0.0
    wrong_actions: Share = 0.0
    dropped_episodes: Annotated[int | float, Field(ge=0)] = 0
    dropped_steps: Share = 0.0


class DemonstrationSettings(Record):
    """What is learned from: a file, or what is recorded of the expert or of agents like it.

    :param path: what `Demonstrations.load` reads; None to collect
    :param recipe: whose behaviour to collect, as in `data.recipes`: `"medium-expert"`,
        `"noisy(0.3)"`; None for the expert's
    :param medium: the algorithm that trains what a recipe calls medium; None for the expert's
    :param n_episodes: episodes to collect, or to draw from the file; None for all of the file
    :param n_timesteps: transitions to collect instead, with a recipe
    :param deterministic: most likely actions instead of sampled ones
    :param subsample: keep every so many steps of an episode, as in the GAIL paper
    :param corruption: flaws to put in, after all else
    """

    path: str | None = None
    recipe: str | None = None
    medium: str | None = None
    n_episodes: Count | None = None
    n_timesteps: Count | None = None
    deterministic: bool = True
    subsample: Count | None = None
    corruption: Corruption = Corruption()

    @model_validator(mode="after")
    def _something_to_collect(self) -> DemonstrationSettings:
        if self.path is None and (self.n_episodes is None) == (self.n_timesteps is None):
            if self.n_episodes is None:
                raise ValueError("give a path, n_episodes, or both")
            raise ValueError("give either n_episodes or n_timesteps")
        if self.path is not None and (self.recipe or self.n_timesteps):
            raise ValueError("recipe and n_timesteps are for what is collected, not for a path")
        if self.n_timesteps is not None and self.recipe is None:
            raise ValueError("n_timesteps needs a recipe, such as 'expert'")
        if self.medium is not None and self.recipe is None:
            raise ValueError("medium needs a recipe, such as 'medium'")
        return self

    def describe(self) -> dict[str, str]:
        """What distinguishes these demonstrations from others of a table, in a few words each."""
        flaws = self.corruption.model_dump(exclude_defaults=True)
        amounts = {"episode": self.n_episodes, "transition": self.n_timesteps}
        words = {
            "path": self.path and Path(self.path).name,
            "recipe": self.recipe,
            "medium": self.medium and f"medium by {self.medium}",
            "amount": ", ".join(
                f"{n:,} {unit}{'' if n == 1 else 's'}" for unit, n in amounts.items() if n
            ),
            "deterministic": None if self.deterministic else "sampled actions",
            "subsample": self.subsample and f"1 step of {self.subsample}",
            **{name: f"{amount:g} {name.replace('_', ' ')}" for name, amount in flaws.items()},
        }
        return {key: text for key, text in words.items() if text}


def _combinations(entry: Any) -> list[Any]:
    """`{a: [1, 2], b: 3}` means `{a: 1, b: 3}` and `{a: 2, b: 3}`."""
    if not isinstance(entry, Mapping):
        return entry if isinstance(entry, list) else [entry]
    options = [_combinations(value) for value in entry.values()]
    return [dict(zip(entry, chosen, strict=True)) for chosen in itertools.product(*options)]


def _variants(value: Any) -> Any:
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    return [variant for entry in entries for variant in _combinations(entry)]


def _by_name(value: Any) -> Any:
    """`[bc, gail]` means `{bc: {}, gail: {}}`, and so does nothing behind a name."""
    if isinstance(value, (str, list)):
        return {name: {} for name in ([value] if isinstance(value, str) else value)}
    if not isinstance(value, Mapping):
        return value
    return {name: {} if settings is None else settings for name, settings in value.items()}


Variants = Annotated[tuple[DemonstrationSettings, ...], BeforeValidator(_variants)]


class AlgorithmSettings(Record):
    """How one algorithm is trained.

    :param timesteps: in the algorithm's own unit: environment steps or gradient updates
    :param n_envs: copies of the environment that it steps side by side
    :param hyperparameters: constructor arguments that differ from the defaults
    """

    timesteps: Count
    n_envs: Count = 1
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


class FollowUp(Record):
    """Where a row begins that goes on with what another one has learned: see `follow_up`.

    :param row: the other row, which follows none itself
    :param task: where it stands; None for the same task
    :param by: `finetune` its policy, or train on its `reward`
    :param arguments: of `finetune` or `train_on_reward`
    """

    row: str
    task: str | None = None
    by: Literal["finetune", "reward"]
    arguments: dict[str, Any] = Field(default_factory=dict)


class AlgorithmChoice(Record):
    """A row of a table. What is left out comes from the presets of the environment.

    :param algorithm: registered name; None for the row's own name
    :param timesteps: in place of the preset's
    :param n_envs: in place of the preset's
    :param hyperparameters: changes to the preset's; a mapping in them changes it key by key
    :param time_limit: seconds that a training may take; None for the table's
    :param follows: another row, for one that goes on where that one ended
    """

    algorithm: str | None = None
    timesteps: Count | None = None
    n_envs: Count | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    time_limit: PositiveFloat | None = None
    follows: FollowUp | None = None


class EnvironmentSettings(Record):
    """What is special in one environment.

    :param environment: id, where a table has the same one under several names; None for the name
    :param expert: in place of the table's
    :param demonstrations: in place of the table's
    :param algorithms: changes to the table's, and further rows; null leaves a row out
    :param published: what others report, to be shown as theirs
    """

    environment: str | None = None
    expert: ExpertSettings | None = None
    demonstrations: Variants | None = None
    algorithms: dict[str, AlgorithmChoice | None] = Field(default_factory=dict)
    published: Published | None = None


class Specification(Record):
    """Environments times demonstrations are the tasks of a table; in each, algorithms times seeds.

    :param name: what to call it
    :param environments: ids, or a mapping from ids (or names) to what is special in them
    :param expert: None where there is none: demonstrations then come from files, and nothing can
        be asked while learning
    :param demonstrations: what is learned from, in one or several variants
    :param algorithms: names, or a mapping from names to how they are trained
    :param n_seeds: independent trainings of each algorithm in each task
    :param n_eval_episodes: episodes after each training, and of the expert and the random policy
    :param n_curve_points: evaluations during each training, after the one before it
    :param n_curve_episodes: episodes of each of them
    :param seed: of demonstrations and trainings; evaluations draw their own from it
    :param references: what scores are measured by: the table's own expert and random policy, or
        D4RL's published returns where it has some
    :param time_limit: seconds that a job may take, from when a process is given it
    :param claims: statements that the table is asked about
    """

    name: str | None = None
    environments: Annotated[dict[str, EnvironmentSettings], BeforeValidator(_by_name)]
    expert: ExpertSettings | None = None
    demonstrations: Variants
    algorithms: Annotated[dict[str, AlgorithmChoice], BeforeValidator(_by_name)]
    n_seeds: Count = 3
    n_eval_episodes: Count = 50
    n_curve_points: NonNegativeInt = 10
    n_curve_episodes: Count = 5
    seed: NonNegativeInt = 0
    references: Literal["measured", "d4rl"] = "measured"
    time_limit: PositiveFloat = DAY
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _learnable(self) -> Specification:
        for name in ("environments", "demonstrations", "algorithms"):
            if not getattr(self, name):
                raise ValueError(f"{name}: name at least one")
        for environment, special in self.environments.items():
            for row in {*self.algorithms, *special.algorithms} & set(_OTHER_ROWS):
                raise ValueError(f"algorithms: {row!r} is a row of every table; name it otherwise")
            for variant in special.demonstrations or self.demonstrations:
                if (special.expert or self.expert) is None and variant.path is None:
                    raise ValueError(
                        f"without an expert, demonstrations need a path (in {environment})"
                    )
        return self

    def to_yaml(self) -> str:
        """The specification as text that `load_specification` reads."""
        content = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def shipped() -> list[str]:
    """Names of the specifications that come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir())


def load_specification(
    source: str | Path, changes: Mapping[str, Any] | None = None
) -> Specification:
    """Read a specification that comes with the package, or one in a YAML file.

    :param source: name or path
    :param changes: to what is read: nested mappings, as `parse_settings` makes them
    :raises UnknownNameError: it is neither a name nor a file
    :raises FileError: it cannot be read or is no YAML
    :raises UserError: names every wrong key and value
    """
    name = str(source)
    path: Any = Path(source)
    if name in shipped():
        path = _FOLDER / f"{name}.yaml"
    elif not path.exists() and path.suffix == "":
        raise UnknownNameError(
            f"no table is called {name!r}, and there is no such file{suggest(name, shipped())}"
        )
    content = read_yaml(path.read_text, name)
    if isinstance(content, dict):
        content = {"name": path.name.rpartition(".")[0], **_with_changes(content, changes or {})}
    return build(Specification, content, name)


def _with_changes(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Put changes into a specification as it is written, with its shorthands."""
    content = dict(content)
    for key, change in changes.items():
        if not isinstance(change, Mapping) or not content.get(key):
            continue
        if key in ("environments", "algorithms"):
            content[key] = _without(_by_name(content[key]), change)
            changes = {
                **changes,
                key: {name: own for name, own in change.items() if own is not None},
            }
        elif isinstance(content[key], list):  # of demonstrations: in each of them
            content[key] = [changed(entry, change) for entry in content[key]]
            changes = {other: changes[other] for other in changes if other != key}
    return changed(content, changes)


def _without(named: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is changed to null (in a file, nothing behind a name is nothing special)."""
    for name, own in change.items():
        if own is None and name not in named:
            near = suggest(name, list(named))
            raise UnknownNameError(f"there is no {name!r} to leave out of the table{near}")
    return {name: own for name, own in named.items() if change.get(name, own) is not None}
