"""From a specification to its jobs, refusing beforehand whatever could not work.

Everything that can be found out without training is found out here: whether the environment exists,
the files can be read and fit it, the algorithms apply, and their hyperparameters are known to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_il_plus import registry
from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.formats import load_for
from sb3_il_plus.data.validation import fit_to
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import DataError, InapplicableError, UserError, suggest
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.experts.loading import load_expert
from sb3_il_plus.persistence import constructor_arguments
from sb3_il_plus.randomness import child_seed
from sb3_il_plus.serialization import encode
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.tables.jobs import Job, package_digest
from sb3_il_plus.tables.specification import (
    AlgorithmSettings,
    DemonstrationSettings,
    ExpertSettings,
    Specification,
)


@dataclass(frozen=True)
class Task:
    """An environment with what there is to learn from, opened once and checked.

    :param environment: its id
    :param expert: see `Specification`
    :param demonstrations: see `Specification`
    """

    environment: str
    expert: ExpertSettings | None
    demonstrations: DemonstrationSettings

    @cached_property
    def spaces(self) -> tuple[spaces.Space, spaces.Space]:
        """Observation and action space of the environment.

        :raises UnknownNameError: no such environment
        """
        env = make_env(self.environment)
        env.close()
        return env.observation_space, env.action_space

    @cached_property
    def data(self) -> Demonstrations | None:
        """The demonstrations, where they come from a file.

        :raises FileError: they cannot be read
        :raises DataError: they do not fit the environment, or are fewer than asked for
        """
        if self.demonstrations.path is None:
            return None
        data = fit_to(load_for(self.demonstrations.path, self.environment), *self.spaces).validate()
        wanted = self.demonstrations.n_episodes
        if wanted is not None and wanted > data.n_episodes:
            raise DataError(
                f"{wanted} episodes of demonstrations are asked for, but "
                f"{self.demonstrations.path!r} holds {data.n_episodes}"
            )
        return data

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
        _ = self.spaces, self.data, self.saved_expert
        if self.expert is not None and self.expert.algorithm is not None:
            spec = registry.get(self.expert.algorithm)
            if spec.family != "online_rl":
                raise InapplicableError(
                    f"{spec.name!r} cannot train an expert: it is of the family {spec.family!r}; "
                    "an expert comes from an online RL algorithm such as 'ppo' or 'sac'"
                )
            if reason := spec.refusal(*self.spaces):
                raise InapplicableError(f"the expert cannot be trained: {reason}")

    def refusal(self, spec: AlgorithmSpec) -> str | None:
        """Say why an algorithm cannot take part, or None where it can."""
        available = {"demonstrations", "environment"}
        if self.expert is not None:
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
        return spec.refusal(*self.spaces, available)

    def applicable(self, family: str = "imitation") -> list[AlgorithmSpec]:
        """Every registered algorithm of a family that can take part, plugins included."""
        return [spec for spec in registry.list_algorithms(family) if self.refusal(spec) is None]


def plan(specification: Specification) -> list[Job]:
    """The jobs of a table, each after those that it needs.

    :raises UserError: something in the specification could not work; the message says what
    """
    task = Task(specification.environment, specification.expert, specification.demonstrations)
    task.check()
    for name, settings in specification.algorithms.items():
        spec = registry.get(name)
        if reason := task.refusal(spec):
            raise InapplicableError(reason)
        check_hyperparameters(spec, settings.hyperparameters)
    expert = _expert_job(specification, task)
    demonstrations = _demonstrations_job(specification, task, expert)
    jobs = [job for job in (expert, demonstrations) if job is not None]
    for run in range(specification.n_seeds):
        jobs += _jobs_of_run(specification, run, expert, demonstrations)
    return jobs


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


def _expert_job(specification: Specification, task: Task) -> Job | None:
    expert = specification.expert
    if expert is None:
        return None
    settings: dict[str, Any] = {"environment": specification.environment}
    if task.saved_expert is not None and expert.path is not None:
        settings["weights"] = _weights_digest(task.saved_expert)
        return Job("expert", "expert", settings, inputs={"path": expert.path})
    return Job("expert", "expert", settings | expert.model_dump(exclude={"path"}))


def _demonstrations_job(specification: Specification, task: Task, expert: Job | None) -> Job:
    wanted = specification.demonstrations
    cells = ((specification.environment, "demonstrations"),)
    settings: dict[str, Any] = {
        "environment": specification.environment,
        "n_episodes": wanted.n_episodes,
        "seed": child_seed(specification.seed, "demonstrations"),
    }
    if task.data is not None and wanted.path is not None:
        settings["data"] = task.data.fingerprint()
        inputs = {"path": wanted.path}
        return Job("demonstrations", "demonstrations", settings, inputs=inputs, cells=cells)
    assert expert is not None
    settings["deterministic"] = wanted.deterministic
    needs = {"expert": expert.id}
    return Job("demonstrations", "demonstrations", settings, needs, cells=cells)


def _jobs_of_run(
    specification: Specification, run: int, expert: Job | None, demonstrations: Job
) -> list[Job]:
    """Evaluations and trainings with one seed."""
    shared: dict[str, Any] = {
        "environment": specification.environment,
        "run": run,
        "seed": child_seed(specification.seed, f"run {run}"),
        "n_eval_episodes": specification.n_eval_episodes,
    }
    section = specification.environment
    jobs = [Job("random evaluation", f"random run {run}", shared, cells=((section, "random"),))]
    if expert is not None:
        needs = {"expert": expert.id}
        cells = ((section, "expert"),)
        jobs.append(Job("expert evaluation", f"expert run {run}", shared, needs, cells=cells))
    curve = specification.model_dump(include={"n_curve_points", "n_curve_episodes"})
    for name, algorithm in specification.algorithms.items():
        spec = registry.get(name)
        needs = {}
        if "demonstrations" in spec.consumes:
            needs["demonstrations"] = demonstrations.id
        if "expert" in spec.consumes and expert is not None:
            needs["expert"] = expert.id
        settings = {**shared, **curve, "algorithm": name, **_determining(spec, algorithm)}
        cells = ((section, name),)
        jobs.append(Job("training", f"{name} run {run}", settings, needs, cells=cells))
    return jobs


def _determining(spec: AlgorithmSpec, settings: AlgorithmSettings) -> dict[str, Any]:
    return {
        **settings.model_dump(),
        "entry_point": spec.entry_point,
        "code": package_digest(spec.entry_point.partition(":")[0].partition(".")[0]),
    }


def _weights_digest(expert: Expert) -> str:
    """A hash of all that decides how an expert acts, wherever it was read from."""
    statistics = None if expert.statistics is None else encode(vars(expert.statistics))
    digest = hashlib.sha256(repr(statistics).encode())
    if expert.remembers or expert.wrappers:
        digest.update(repr((expert.wrappers, expert.frame_stack)).encode())
    assert expert.policy is not None
    for name, tensor in expert.policy.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()[:16]
