"""`LocalPool`: worker processes on this machine, one thread each.

A process that dies is replaced; one that exceeds its job's time limit is killed, and so are all
when the pool is left.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self, cast

from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.worker import Setting, work


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class _Busy:
    """A worker and what it does.

    :param deadline: when it has to be done, in the time of `time.monotonic`
    """

    process: BaseProcess
    job: Job
    deadline: float


class LocalPool:
    """Worker processes, each with a pipe and at most one job.

    :param setting: what workers must know
    :param size: processes, by default one per core
    """

    def __init__(self, setting: Setting, size: int | None = None) -> None:
        self._setting = setting
        self._size = size or available_cores()
        self._idle: list[tuple[Connection, BaseProcess]] = []
        self._busy: dict[Connection, _Busy] = {}

    @property
    def size(self) -> int:
        """How many jobs it does at once."""
        return self._size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        workers = self._idle + [(end, busy.process) for end, busy in self._busy.items()]
        for connection, process in workers:
            connection.close()
            process.kill()
        for _, process in workers:
            process.join()

    def has_room(self) -> bool:
        """Whether it can be given a job."""
        return len(self._busy) < self._size

    def is_busy(self) -> bool:
        """Whether it has a job."""
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
        process = context.Process(target=work, args=(theirs, self._setting))
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


def _cause_of_death(exit_code: int | None) -> str:
    reason = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        reason = f"signal {signal.Signals(-exit_code).name}"
        if -exit_code == signal.SIGKILL:
            reason += ", perhaps for lack of memory: try a smaller --jobs"
    return f"its process was ended by {reason}"
