"""`Task`: an environment with what there is to learn from, opened once and checked.

Everything that can be found out without training is found out here: whether the environment exists,
the files can be read and fit it, the algorithms apply, and their hyperparameters are known to them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gymnasium import spaces

from sb3_il_plus import registry
from sb3_il_plus.conditional.environments.own import with_own_expert
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.formats import load_for
from sb3_il_plus.data.recipes import parse_recipe
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import (
    DataError,
    FileError,
    InapplicableError,
    MissingExtraError,
    UnknownNameError,
    UserError,
    suggest,
)
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.experts.loading import load_expert
from sb3_il_plus.persistence import constructor_arguments
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.tables.follow_up import check_procedure
from sb3_il_plus.tables.presets import tuned_settings
from sb3_il_plus.tables.records import changed
from sb3_il_plus.tables.specification import (
    AlgorithmChoice,
    AlgorithmSettings,
    DemonstrationSettings,
    ExpertSettings,
    Specification,
)


@dataclass(frozen=True)
class World:
    """An environment and its expert, which the tasks in it share.

    :param environment: its id
    :param expert: see `Specification`
    """

    environment: str
    expert: ExpertSettings | None = None

    @cached_property
    def spaces(self) -> tuple[spaces.Space, spaces.Space]:
        """Observation and action space of the environment.

        :raises UnknownNameError: no such environment
        """
        env = make_env(self.environment)
        env.close()
        return env.observation_space, env.action_space

    @cached_property
    def saved_expert(self) -> Expert | None:
        """The expert, where it comes from a file.

        :raises FileError: it cannot be read
        :raises InapplicableError: it was trained on other spaces
        """
        if self.expert is None or self.expert.path is None:
            return None
        return load_expert(self.expert.path, self.environment)

    def check(self) -> None:
        """Open everything that is there.

        :raises UserError: something is missing or does not fit
        """
        _ = self.spaces, self.saved_expert
        if self.expert is not None and self.expert.own:
            _, venv = with_own_expert(self.environment)
            venv.close()
        if self.expert is not None and self.expert.algorithm is not None:
            spec = registry.get_online(self.expert.algorithm, "expert")
            if reason := spec.refusal(*self.spaces):
                raise InapplicableError(f"the expert cannot be trained: {reason}")


@dataclass(frozen=True)
class Task:
    """What a section of a table shows.

    :param world: where it takes place
    :param demonstrations: see `Specification`
    :param name: what to call it
    :param algorithms: row -> how it is trained
    """

    world: World
    demonstrations: DemonstrationSettings
    name: str = ""
    algorithms: Mapping[str, AlgorithmChoice] = field(default_factory=dict)

    @cached_property
    def data(self) -> Demonstrations | None:
        """The demonstrations, where they come from a file.

        :raises FileError: they cannot be read
        :raises DataError: they do not fit the environment, or are fewer than asked for
        """
        if self.demonstrations.path is None:
            return None
        data = load_for(self.demonstrations.path, self.world.environment)
        data = fit_to(data, *self.world.spaces).validate()
        wanted = self.demonstrations.n_episodes
        if wanted is not None and wanted > data.n_episodes:
            raise DataError(
                f"{wanted} episodes of demonstrations are asked for, but "
                f"{self.demonstrations.path!r} holds {data.n_episodes}"
            )
        return data

    def check(self) -> None:
        """Open everything that is there, and look whether the algorithms can be trained on it.

        :raises UserError: something is missing or does not fit
        """
        self.world.check()
        _ = self.data
        self._check_recipe()
        for row, choice in self.algorithms.items():
            spec = registry.get(choice.algorithm or row)
            if reason := self.refusal(spec):
                raise InapplicableError(reason)
            check_hyperparameters(spec, choice.hyperparameters)
            if choice.follows is not None:
                check_procedure(spec.name, choice.follows.by, choice.follows.arguments)

    def settings(self, row: str) -> AlgorithmSettings:
        """How a row is trained: the preset of its algorithm with the changes to it."""
        choice = self.algorithms[row]
        spec = registry.get(choice.algorithm or row)
        tuned = tuned_settings(
            spec, self.world.environment, choice.timesteps, choice.hyperparameters
        )
        return tuned.model_copy(update={"n_envs": choice.n_envs or tuned.n_envs})

    def refusal(self, spec: AlgorithmSpec) -> str | None:
        """Say why an algorithm cannot take part, or None where it can."""
        available = {"demonstrations", "environment"}
        if self.world.expert is not None:
            available.add("expert")
        has_rewards = self.data is None or self.data.rewards is not None
        if has_rewards or "environment" in spec.consumes:
            available.add("rewards")
        states_only = self.data is not None and not self.data.has_actions
        if states_only and spec.reads_actions and "demonstrations" in spec.consumes:
            return (
                f"{spec.name} reads the demonstrations' actions, and those in "
                f"{self.demonstrations.path!r} are unknown"
            )
        return spec.refusal(*self.world.spaces, available)

    def applicable(self, family: str = "imitation") -> list[AlgorithmSpec]:
        """Every registered algorithm of a family that can take part, plugins included."""
        return [spec for spec in registry.list_algorithms(family) if self.refusal(spec) is None]

    def _check_recipe(self) -> None:
        wanted, expert = self.demonstrations, self.world.expert
        if wanted.recipe is None:
            return
        if expert is not None and expert.own:
            raise UserError(
                f"the recipe {wanted.recipe!r} is followed by trained agents, and this expert is "
                "the environment's own: give n_episodes alone"
            )
        names = {part.name for part in parse_recipe(wanted.recipe)}
        needs_medium = not names.isdisjoint({"medium", "medium-replay"})
        if wanted.medium is not None:
            registry.get(wanted.medium)
        elif needs_medium and (expert is None or expert.algorithm is None):
            raise UserError(
                f"the recipe {wanted.recipe!r} needs an agent of medium quality: name the "
                "algorithm that trains it with demonstrations.medium"
            )


def tasks_of(specification: Specification) -> Iterator[Task]:
    """The tasks of a table, in its order.

    :raises UserError: two of them would be the same
    """
    for name, special in specification.environments.items():
        environment = special.environment or name
        world = World(environment, _at_hand(special.expert or specification.expert, environment))
        rows = {
            row: _merged(specification.algorithms.get(row), special.algorithms.get(row))
            for row in dict.fromkeys([*specification.algorithms, *special.algorithms])
            if special.algorithms.get(row, row) is not None
        }
        if special.published is not None:
            _check_published(special.published.returns, rows, name)
        variants = special.demonstrations or specification.demonstrations
        for variant, task_name in zip(variants, _names(name, variants), strict=True):
            yield Task(world, variant, task_name, rows)


def _check_published(names: Collection[str], rows: Collection[str], environment: str) -> None:
    """Refuse figures of what neither the table nor the registry knows, such as of a misprint.

    :raises UnknownNameError: names the nearest
    """
    known = {*rows, *registry.registry.names(), "expert", "random"}
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"{environment}: there is no row {name!r} for a published return to stand in"
                f"{suggest(name, sorted(known))}"
            )


def _at_hand(expert: ExpertSettings | None, environment: str) -> ExpertSettings | None:
    """An expert, or the one to take otherwise where its file cannot be read."""
    while expert is not None and expert.path is not None and expert.otherwise is not None:
        try:
            load_expert(expert.path, environment)
            return expert
        except (FileError, MissingExtraError) as error:
            warnings.warn(f"{environment} has another expert: {error}", stacklevel=2)
            expert = expert.otherwise
    return expert


def check_hyperparameters(spec: AlgorithmSpec, names: Collection[str]) -> None:
    """Refuse names that an algorithm's constructor does not take.

    :raises UserError: names the nearest
    """
    known = constructor_arguments(spec.load())
    for name in names:
        if name not in known:
            raise UserError(
                f"{spec.name} has no hyperparameter {name!r}{suggest(name, sorted(known))}"
            )


def _merged(general: AlgorithmChoice | None, special: AlgorithmChoice | None) -> AlgorithmChoice:
    """What holds for a row in one environment."""
    if general is None or special is None:
        return special or general or AlgorithmChoice()
    changes = special.model_dump(exclude_unset=True)
    return AlgorithmChoice(**changed(general.model_dump(), changes))


def _names(environment: str, variants: Collection[DemonstrationSettings]) -> list[str]:
    """The environment's name, and whatever tells its variants from each other."""
    if len(variants) == 1:
        return [environment]
    words = [variant.describe() for variant in variants]
    common = {key for key, text in words[0].items() if all(w.get(key) == text for w in words)}
    found = []
    for one in words:
        special = [text for key, text in one.items() if key not in common]
        found.append(", ".join([environment, *(special or ["plain"])]))
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise UserError(f"two of the demonstrations are the same: {twice}")
    return found
