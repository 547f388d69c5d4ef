"""The runner: does the jobs of a table in a pool of processes, each job once.

`run_jobs` is a generator of events. A worker that dies takes its job with it and is replaced; a job
that fails, or takes longer than its limit, takes those that need it with it; everything else goes
on. Closing the generator, as Ctrl-C does, stops the workers; what has ended by then is on disk, and
the next call goes on there.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal, cast

from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.tables.jobs import Job, provenance
from sb3_il_plus.tables.runs import FAILED, FINISHED, RunFolder
from sb3_il_plus.tables.worker import work

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


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    jobs: Sequence[Job],
    folder: RunFolder,
    n_workers: int,
    specs: Sequence[AlgorithmSpec] = (),
    command: str = "",
) -> Generator[Event, None, None]:
    """Do all jobs that are not finished yet, those that others need first.

    :param jobs: in the order in which to prefer them; each after those that it needs
    :param folder: prepared, and locked by the caller
    :param n_workers: processes
    :param specs: see `work`
    :param command: see `work`
    """
    schedule = _Schedule(jobs)
    for job in jobs:
        record = folder.read_record(job.id)
        if record is not None and record["status"] == FINISHED:
            schedule.end(job, FINISHED)
            yield Event(job, "kept", record)
    n_workers = max(1, min(n_workers, schedule.n_waiting))
    with _Pool(n_workers, lambda end: (end, folder, tuple(specs), command)) as pool:
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


@dataclass(frozen=True)
class _Busy:
    """A worker and what it does.

    :param deadline: when it has to be done, in the time of `time.monotonic`
    """

    process: BaseProcess
    job: Job
    deadline: float


class _Pool:
    """Worker processes, each with a pipe and at most one job.

    :param arguments: of a worker's main function, given its end of the pipe
    """

    def __init__(self, size: int, arguments: Callable[[Connection], tuple[Any, ...]]) -> None:
        self._size = size
        self._arguments = arguments
        self._idle: list[tuple[Connection, BaseProcess]] = []
        self._busy: dict[Connection, _Busy] = {}

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        workers = self._idle + [(end, busy.process) for end, busy in self._busy.items()]
        for connection, process in workers:
            connection.close()
            process.kill()
        for _, process in workers:
            process.join()

    def has_room(self) -> bool:
        return len(self._busy) < self._size

    def is_busy(self) -> bool:
        return bool(self._busy)

    def start(self, job: Job) -> None:
        """Give a job to a worker, a new one where none is idle."""
        with _interrupts_held_back():
            connection, process = self._idle_worker() or self._new_worker()
            limit = math.inf if job.time_limit is None else job.time_limit
            self._busy[connection] = _Busy(process, job, time.monotonic() + limit)
            with contextlib.suppress(BrokenPipeError):  # it died this moment; wait() will see that
                connection.send(job)

    def wait(self) -> list[tuple[Job, dict[str, Any] | str]]:
        """Wait until a job ended: its record, or why its worker died of it."""
        first = min(busy.deadline for busy in self._busy.values())
        timeout = None if math.isinf(first) else max(0.0, first - time.monotonic())
        ended: list[tuple[Job, dict[str, Any] | str]] = []
        for connection in cast(list[Connection], wait(list(self._busy), timeout)):
            busy = self._busy.pop(connection)
            try:
                ended.append((busy.job, connection.recv()))
                self._idle.append((connection, busy.process))
            except (EOFError, OSError):
                connection.close()
                busy.process.join()
                ended.append((busy.job, _cause_of_death(busy.process.exitcode)))
        now = time.monotonic()
        for connection in [end for end, busy in self._busy.items() if busy.deadline <= now]:
            busy = self._busy.pop(connection)
            connection.close()
            busy.process.kill()
            busy.process.join()
            ended.append((busy.job, f"stopped after its time limit of {busy.job.time_limit:g} s"))
        return ended

    def _idle_worker(self) -> tuple[Connection, BaseProcess] | None:
        while self._idle:
            connection, process = self._idle.pop()
            if process.is_alive():
                return connection, process
            connection.close()
        return None

    def _new_worker(self) -> tuple[Connection, BaseProcess]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=self._arguments(theirs))
        process.start()
        theirs.close()
        return ours, process


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Begin processes that Ctrl-C does not reach; one pressed meanwhile is seen afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _record_after_death(job: Job, error: str, folder: RunFolder, command: str) -> dict[str, Any]:
    """What a worker left that died: perhaps it had just finished, and could not say so any more."""
    left = folder.read_record(job.id)
    if left is not None and left["status"] == FINISHED:
        return left
    record = {**job.to_json(), "status": FAILED, "error": error, **provenance(command)}
    folder.write_record(record)
    return record


def _cause_of_death(exit_code: int | None) -> str:
    reason = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        reason = f"signal {signal.Signals(-exit_code).name}"
        if -exit_code == signal.SIGKILL:
            reason += ", perhaps for lack of memory: try a smaller --jobs"
    return f"its process was ended by {reason}"
