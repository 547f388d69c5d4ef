"""The runner: does the jobs of a table in a pool of workers, each job once.

`run_jobs` is a generator of events. A worker that dies takes its job with it and is replaced; a job
that fails, or takes longer than its limit, takes those that need it with it; everything else goes
on. Closing the generator, as Ctrl-C does, stops the workers; what has ended by then is on disk, and
the next call goes on there. Where workers are is the pool's affair: `local_pool.py`, `ray_pool.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from sb3_il_plus.tables.jobs import Job, provenance
from sb3_il_plus.tables.runs import FAILED, FINISHED, RunFolder

State = Literal["kept", "started", "finished", "failed", "skipped"]


@dataclass(frozen=True)
class Event:
    """Something happened to a job.

    :param state: `kept` where an earlier call finished it, `skipped` where a job it needs failed
    :param record: of a job that ended in this call, or was kept
    """

    job: Job
    state: State
    record: dict[str, Any] = field(default_factory=dict)


class Pool(Protocol):
    """Workers, each with at most one job at a time."""

    @property
    def size(self) -> int:
        """How many jobs it does at once."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def is_busy(self) -> bool:
        """Whether it has a job."""

    def has_room(self) -> bool:
        """Whether it can be given a job."""

    def start(self, job: Job) -> None:
        """Give it a job."""

    def wait(self) -> list[tuple[Job, dict[str, Any] | str]]:
        """Wait until a job ended: its record, or why its worker died of it."""


def run_jobs(
    jobs: Sequence[Job], folder: RunFolder, pool: Pool, command: str = ""
) -> Generator[Event, None, None]:
    """Do all jobs that are not finished yet, those that others need first.

    :param jobs: in the order in which to prefer them; each after those that it needs
    :param folder: prepared, and locked by the caller
    :param pool: is entered, and left at the end
    :param command: what the user typed, kept in the records
    """
    schedule = _Schedule(jobs)
    for job in jobs:
        record = folder.read_record(job.id)
        if record is not None and record["status"] == FINISHED:
            schedule.end(job, FINISHED)
            yield Event(job, "kept", record)
    if not schedule.n_waiting:
        return
    with pool:
        while True:
            for job in schedule.pop_skipped():
                yield Event(job, "skipped")
            while pool.has_room() and (ready := schedule.pop_ready()) is not None:
                pool.start(ready)
                yield Event(ready, "started")
            if not pool.is_busy():
                return
            for job, answer in pool.wait():
                if isinstance(answer, dict):
                    record = answer
                else:
                    record = _record_after_death(job, answer, folder, command)
                schedule.end(job, record["status"])
                yield Event(job, record["status"], record)


class _Schedule:
    """Which jobs may run: those whose needs are finished. Each job is looked at once per need."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = list(jobs)
        self._rank = {job.id: rank for rank, job in enumerate(jobs)}
        self._waiting = set(self._rank)
        self._missing = {job.id: set(job.needs.values()) for job in jobs}
        self._dependents: dict[str, list[str]] = {}
        for job in jobs:
            for needed in self._missing[job.id]:
                self._dependents.setdefault(needed, []).append(job.id)
        self._ready = [self._rank[job.id] for job in jobs if not job.needs]
        self._skipped: list[Job] = []

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def end(self, job: Job, status: str) -> None:
        self._waiting.discard(job.id)
        for dependent in self._dependents.get(job.id, ()):
            if dependent not in self._waiting:
                continue
            if status == FINISHED:
                self._missing[dependent].discard(job.id)
                if not self._missing[dependent]:
                    heapq.heappush(self._ready, self._rank[dependent])
            else:
                self._skipped.append(self._jobs[self._rank[dependent]])
                self.end(self._skipped[-1], status)

    def pop_ready(self) -> Job | None:
        """The next job whose needs are all finished."""
        while self._ready:
            job = self._jobs[heapq.heappop(self._ready)]
            if job.id in self._waiting:
                self._waiting.discard(job.id)
                return job
        return None

    def pop_skipped(self) -> list[Job]:
        """Jobs that cannot be done, since one that they need failed or was skipped."""
        skipped, self._skipped = self._skipped, []
        return skipped


def _record_after_death(job: Job, error: str, folder: RunFolder, command: str) -> dict[str, Any]:
    """What a worker left that died: perhaps it had just finished, and could not say so any more."""
    left = folder.read_record(job.id)
    if left is not None and left["status"] == FINISHED:
        return left
    record = {**job.to_json(), "status": FAILED, "error": error, **provenance(command)}
    folder.write_record(record)
    return record
