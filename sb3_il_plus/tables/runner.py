"""The runner: does the jobs of a table in a pool of processes, each job once.

`run_jobs` is a generator of events. A worker that dies takes its job with it and is replaced; a job
that fails takes those that need it with it; everything else goes on. Closing the generator, as
Ctrl-C does, stops the workers; what has ended by then is on disk, and the next call goes on there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
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
                    record = _record_of_death(job, answer, command)
                    folder.write_record(record)
                schedule.end(job, record["status"])
                yield Event(job, record["status"], record)


class _Schedule:
    """Which jobs may run: those whose needs are finished."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = {job.id: job for job in jobs}
        self._status: dict[str, str] = {}

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def end(self, job: Job, status: str) -> None:
        self._waiting.pop(job.id, None)
        self._status[job.id] = status

    def pop_ready(self) -> Job | None:
        """The next job whose needs are all finished."""
        return self._pop(lambda needs: all(status == FINISHED for status in needs))

    def pop_skipped(self) -> Iterator[Job]:
        """Jobs that cannot be done, since one that they need failed or was skipped."""
        while (job := self._pop(lambda needs: FAILED in needs)) is not None:
            self._status[job.id] = FAILED
            yield job

    def _pop(self, condition: Callable[[list[str | None]], bool]) -> Job | None:
        """Take out the first job of whose needs' states the condition is true."""
        for job in self._waiting.values():
            if condition([self._status.get(needed) for needed in job.needs.values()]):
                return self._waiting.pop(job.id)
        return None


class _Pool:
    """Worker processes, each with a pipe and at most one job.

    :param arguments: of a worker's main function, given its end of the pipe
    """

    def __init__(self, size: int, arguments: Callable[[Connection], tuple[Any, ...]]) -> None:
        self._size = size
        self._arguments = arguments
        self._idle: list[tuple[Connection, BaseProcess]] = []
        self._busy: dict[Connection, tuple[BaseProcess, Job]] = {}

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        workers = self._idle + [(end, process) for end, (process, _) in self._busy.items()]
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
            self._busy[connection] = (process, job)
            with contextlib.suppress(BrokenPipeError):  # it died this moment; wait() will see that
                connection.send(job)

    def wait(self) -> list[tuple[Job, dict[str, Any] | int | None]]:
        """Wait until a job ended: its record, or the exit code of the worker that died of it."""
        ended: list[tuple[Job, dict[str, Any] | int | None]] = []
        for connection in cast(list[Connection], wait(list(self._busy))):
            process, job = self._busy.pop(connection)
            try:
                ended.append((job, connection.recv()))
                self._idle.append((connection, process))
            except (EOFError, OSError):
                connection.close()
                process.join()
                ended.append((job, process.exitcode))
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


def _record_of_death(job: Job, exit_code: int | None, command: str) -> dict[str, Any]:
    reason = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        reason = f"signal {signal.Signals(-exit_code).name}"
        if -exit_code == signal.SIGKILL:
            reason += ", perhaps for lack of memory: try a smaller --jobs"
    error = f"its process was ended by {reason}"
    return {**job.to_json(), "status": FAILED, "error": error, **provenance(command)}
