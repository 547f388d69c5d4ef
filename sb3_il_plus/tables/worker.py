"""The worker process: does one job after the other until its pipe closes.

It keeps to one thread, ignores Ctrl-C (the runner decides what happens then), sends what jobs print
to log files, and ends at once when the runner is gone, however that came about.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sb3_il_plus.registry import registry
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.runs import RunFolder

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """What workers must know besides their jobs.

    :param folder: of the table
    :param specs: the algorithms of the table: those that the runner's process registered by itself
        are unknown in others
    :param command: what the user typed, kept in the records
    """

    folder: RunFolder
    specs: tuple[AlgorithmSpec, ...] = ()
    command: str = ""


def work(connection: Connection, setting: Setting) -> None:
    """Main function of a worker process.

    :param connection: jobs come in, records go out
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Before NumPy and torch are imported: N workers on N cores must not start N threads each.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(do(job, setting))


def do(job: Job, setting: Setting) -> dict[str, Any]:
    """Do one job in this process, on one thread, and write its record.

    :return: the record
    """
    import torch

    from sb3_il_plus.tables.execution import execute

    torch.set_num_threads(1)
    for spec in setting.specs:
        if spec.name not in registry.names():
            registry.register(spec)
    with _output_to(setting.folder.log_path(job)):
        return execute(job, setting.folder, setting.command)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send standard output and error, C libraries' included, to a file; drop an empty one."""
    saved = [os.dup(1), os.dup(2)]
    with path.open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
    if path.stat().st_size == 0:
        path.unlink()
