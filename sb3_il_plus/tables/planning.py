"""From a specification to its jobs, refusing beforehand whatever could not work.

Jobs that two tasks or rows have in common are one job, shown in several cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sb3_il_plus import registry
from sb3_il_plus.errors import UserError
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.randomness import child_seed
from sb3_il_plus.serialization import encode
from sb3_il_plus.tables.claim_jobs import measurements
from sb3_il_plus.tables.jobs import Cell, Job, package_digest
from sb3_il_plus.tables.specification import Specification
from sb3_il_plus.tables.tasks import Task, tasks_of

_NOT_TRAINING = {"path", "otherwise", "own"}
"""Settings of an expert that say nothing of how one is trained."""


def plan(specification: Specification) -> list[Job]:
    """The jobs of a table, each after those that it needs.

    :raises UserError: something in the specification could not work; the message says what
    """
    tasks = list(tasks_of(specification))
    for task in tasks:
        try:
            task.check()
        except UserError as error:
            if len(tasks) == 1:
                raise
            raise type(error)(f"{task.name}: {error}") from error
    planned = [_PlannedTask.of(task, specification, len(tasks) > 1) for task in tasks]
    jobs = [job for each in planned for job in each.sources]
    for run in range(specification.n_seeds):
        first = [job for each in planned for job in each.jobs_of_run(run)]
        trained = {job.cells[0]: job for job in first if job.kind == "training"}
        jobs += first
        for each in planned:
            jobs += each.following(run, trained)
    jobs += measurements(specification, jobs)
    return _merged(jobs)


@dataclass(frozen=True)
class _PlannedTask:
    """A task with the jobs that all its runs need.

    :param place: appended to the labels of its jobs
    :param trainings: row -> settings of its trainings, whichever run it is
    """

    task: Task
    specification: Specification
    place: str
    expert: Job | None
    demonstrations: Job
    trainings: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, task: Task, specification: Specification, is_one_of_many: bool) -> _PlannedTask:
        expert = _expert_job(task, specification, is_one_of_many)
        place = f" in {task.name}" if is_one_of_many else ""
        demonstrations = _demonstrations_job(task, specification, place, expert)
        trainings = {row: _determining(task, row) for row in task.algorithms}
        return cls(task, specification, place, expert, demonstrations, trainings)

    @property
    def sources(self) -> list[Job]:
        return [job for job in (self.expert, self.demonstrations) if job is not None]

    def jobs_of_run(self, run: int) -> list[Job]:
        """Evaluations with one seed, and the trainings that follow no other."""
        shared = self._shared(run)
        jobs = [self._job("random evaluation", "random", shared, {})]
        if self.task.world.expert is not None:
            asking, needs = _asking(self.expert)
            jobs.append(self._job("expert evaluation", "expert", {**shared, **asking}, needs))
        for row, settings in self.trainings.items():
            if self.task.algorithms[row].follows is not None:
                continue
            consumes = registry.get(settings["algorithm"]).consumes
            asking, needs = _asking(self.expert) if "expert" in consumes else ({}, {})
            if "demonstrations" in consumes:
                needs["demonstrations"] = self.demonstrations.id
            jobs.append(self._training(row, run, {**settings, **asking}, needs))
        return jobs

    def following(self, run: int, trained: Mapping[Cell, Job]) -> Iterator[Job]:
        """Trainings with one seed that follow others.

        :param trained: those that can be followed, by their cell
        :raises UserError: there is no such row
        """
        for row, settings in self.trainings.items():
            follows = self.task.algorithms[row].follows
            if follows is None:
                continue
            task = follows.task or self.task.name
            if (task, follows.row) not in trained:
                known = "; ".join(f"{name} in {place}" for place, name in trained)
                raise UserError(
                    f"{row} in {self.task.name} follows {follows.row!r} in {task!r}, where no such "
                    f"row is trained from the beginning; those that are: {known}"
                )
            settings = {**settings, "follows": follows.model_dump(include={"by", "arguments"})}
            needs = {**trained[task, follows.row].needs, "training": trained[task, follows.row].id}
            yield self._training(row, run, settings, needs)

    def _shared(self, run: int) -> dict[str, Any]:
        """Settings of all jobs with one seed."""
        return {
            "environment": self.task.world.environment,
            "run": run,
            "seed": child_seed(self.specification.seed, f"run {run}"),
            "n_eval_episodes": self.specification.n_eval_episodes,
        }

    def _training(self, row: str, run: int, settings: dict[str, Any], needs: dict[str, str]) -> Job:
        curve = self.specification.model_dump(include={"n_curve_points", "n_curve_episodes"})
        job = self._job("training", row, {**self._shared(run), **curve, **settings}, needs)
        limit = self.task.algorithms[row].time_limit or job.time_limit
        return replace(job, time_limit=limit)

    def _job(self, kind: Any, row: str, settings: dict[str, Any], needs: dict[str, str]) -> Job:
        return Job(
            kind,
            f"{row} run {settings['run']}{self.place}",
            settings,
            needs,
            cells=((self.task.name, row),),
            time_limit=self.specification.time_limit,
        )


def _expert_job(task: Task, specification: Specification, is_one_of_many: bool) -> Job | None:
    expert, world = task.world.expert, task.world
    if expert is None or expert.own:
        return None
    label = f"expert in {world.environment}" if is_one_of_many else "expert"
    settings: dict[str, Any] = {"environment": world.environment}
    limit = specification.time_limit
    if world.saved_expert is not None and expert.path is not None:
        settings["weights"] = _weights_digest(world.saved_expert)
        return Job("expert", label, settings, inputs={"path": expert.path}, time_limit=limit)
    settings |= expert.model_dump(exclude=_NOT_TRAINING)
    return Job("expert", label, settings, time_limit=limit)


def _demonstrations_job(
    task: Task, specification: Specification, place: str, expert: Job | None
) -> Job:
    wanted = task.demonstrations
    # Only what is asked for, so that new kinds of settings leave the identity of others alone.
    special = wanted.model_dump(
        include={"recipe", "n_timesteps", "subsample", "corruption"}, exclude_defaults=True
    )
    settings: dict[str, Any] = {
        "environment": task.world.environment,
        "n_episodes": wanted.n_episodes,
        "seed": child_seed(specification.seed, "demonstrations"),
        **{key: value for key, value in special.items() if value},
    }
    needs: dict[str, str] = {}
    inputs = {}
    if task.data is not None and wanted.path is not None:
        settings["data"] = task.data.fingerprint()
        inputs["path"] = wanted.path
    else:
        settings["deterministic"] = wanted.deterministic
        asking, needs = _asking(expert)
        settings |= asking
        if wanted.recipe is not None:
            settings["medium"] = _medium(task)
    return Job(
        "demonstrations",
        f"demonstrations{place}",
        settings,
        needs,
        inputs,
        cells=((task.name, "demonstrations"),),
        time_limit=specification.time_limit,
    )


def _asking(expert: Job | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings and needs of a job that asks the expert; without a job of its own, it needs none."""
    return ({"own_expert": True}, {}) if expert is None else ({}, {"expert": expert.id})


def _medium(task: Task) -> dict[str, Any] | None:
    """How the agent of medium quality is trained, where a recipe asks for one."""
    expert, wanted = task.world.expert, task.demonstrations
    if wanted.medium is None and expert is not None and expert.algorithm is not None:
        return expert.model_dump(exclude=_NOT_TRAINING)
    return None if wanted.medium is None else {"algorithm": wanted.medium}


def _merged(jobs: Iterable[Job]) -> list[Job]:
    """Jobs that are the same as one, shown wherever any of them is."""
    found: dict[str, Job] = {}
    for job in jobs:
        known = found.get(job.id)
        if known is not None and known.cells != job.cells:
            job = replace(known, cells=tuple(dict.fromkeys(known.cells + job.cells)))
        found[job.id] = job
    return list(found.values())


def _determining(task: Task, row: str) -> dict[str, Any]:
    """What decides how a row is trained, besides the run."""
    spec = registry.get(task.algorithms[row].algorithm or row)
    return {
        "algorithm": spec.name,
        **task.settings(row).model_dump(),
        "entry_point": spec.entry_point,
        "code": package_digest(spec.entry_point.partition(":")[0].partition(".")[0]),
    }


def _weights_digest(expert: Expert) -> str:
    """A hash of all that decides how an expert acts, wherever it was read from."""
    statistics = None if expert.statistics is None else encode(vars(expert.statistics))
    digest = hashlib.sha256(repr(statistics).encode())
    if expert.wrappers or expert.frame_stack > 1:
        digest.update(repr((expert.wrappers, expert.frame_stack)).encode())
    assert expert.policy is not None
    for name, tensor in expert.policy.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()[:16]
