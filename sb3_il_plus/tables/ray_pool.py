"""`RayPool`: workers of a Ray cluster, for tables that outgrow one machine (extra `[ray]`).

A node that sees the table's folder works in it, as a local worker does. One that does not gets what
its job needs through Ray, works in a temporary folder, and gives back what it made; the results and
files are the same. A job whose node died is done again by another one.
"""

from __future__ import annotations

import dataclasses
import io
import math
import secrets
import socket
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from sb3_il_plus.errors import MissingExtraError, UserError
from sb3_il_plus.files import atomic_write
from sb3_il_plus.tables.jobs import Job, provenance
from sb3_il_plus.tables.runs import FAILED, RunFolder
from sb3_il_plus.tables.worker import THREAD_VARIABLES, Setting, do

_TOKEN = ".ray-token"
_TIMES_TRIED_AGAIN = 3
"""After the death of a worker or a node; a job's own error is final."""
_SECONDS_TO_ANSWER = 10


class Answer(NamedTuple):
    """What comes back of a job.

    :param record: its record
    :param files: archive of what it made, where its node does not see the table's folder
    """

    record: dict[str, Any]
    files: bytes | None


@dataclass(frozen=True)
class Order:
    """A job as a node gets it.

    :param id: the job's id where the runner is
    :param token: what the node finds in the table's folder, if it is the same folder
    :param needed: path in the folder -> reference to an archive of the file
    :param inputs: role -> reference to an archive of a user's file or folder
    """

    job: Job
    id: str
    token: str
    needed: Mapping[str, Any]
    inputs: Mapping[str, Any]


class RayPool:
    """The cores of a Ray cluster.

    :param setting: what workers must know
    :param size: jobs at a time; by default as many as the cluster has cores at the moment
    :param address: `"auto"`, `HOST:PORT` or `ray://HOST:PORT`
    :raises UserError: there is no cluster at this address
    """

    def __init__(self, setting: Setting, size: int | None = None, address: str = "auto") -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError(
                f"--backend ray needs Ray: pip install 'sb3_il_plus[ray]' ({error})"
            ) from error
        self._ray = ray
        self._setting = setting
        self._size = size
        self._busy: dict[Any, tuple[Job, float]] = {}
        self._archives: dict[Path, Any] = {}
        self._token = secrets.token_hex(16)
        try:
            _check_reachable(address)
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError) as error:
            raise UserError(
                f"there is no Ray cluster at {address!r} ({' '.join(str(error).split())}): start "
                "one with 'ray start --head', or leave out --backend ray"
            ) from error

    def __enter__(self) -> Self:
        self._setting.folder.write_text(_TOKEN, self._token)
        one_thread = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
        self._do = self._ray.remote(
            num_cpus=1, max_retries=_TIMES_TRIED_AGAIN, runtime_env=one_thread
        )(do_on_node)
        return self

    def __exit__(self, *exception: object) -> None:
        for reference in self._busy:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()
        (self._setting.folder.path / _TOKEN).unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """How many jobs it does at once."""
        return self._size or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def has_room(self) -> bool:
        """Whether it can be given a job."""
        return len(self._busy) < self.size

    def is_busy(self) -> bool:
        """Whether it has a job."""
        return bool(self._busy)

    def start(self, job: Job) -> None:
        """Give a job to the cluster; its time runs from now."""
        folder = self._setting.folder
        needed = [folder.artifact_path(role, id_) for role, id_ in job.needs.items()]
        order = Order(
            job,
            job.id,
            self._token,
            {str(path.relative_to(folder.path)): self._archive(path) for path in needed},
            {
                role: self._archive(Path(path))
                for role, path in job.inputs.items()
                if Path(path).exists()  # else it is a name, such as a Minari id
            },
        )
        limit = math.inf if job.time_limit is None else job.time_limit
        reference = self._do.options(name=job.label).remote(order, self._setting)
        self._busy[reference] = job, time.monotonic() + limit

    def wait(self) -> list[tuple[Job, dict[str, Any] | str]]:
        """Wait until a job ended: its record, or why its worker died of it."""
        first = min(deadline for _, deadline in self._busy.values())
        timeout = None if math.isinf(first) else max(0.0, first - time.monotonic())
        ready, _ = self._ray.wait(list(self._busy), timeout=timeout)
        ended = [(self._busy.pop(reference)[0], self._answer(reference)) for reference in ready]
        now = time.monotonic()
        for reference in [r for r, (_, deadline) in self._busy.items() if deadline <= now]:
            job, _ = self._busy.pop(reference)
            self._ray.cancel(reference, force=True)
            ended.append((job, f"stopped after its time limit of {job.time_limit:g} s"))
        return ended

    def _archive(self, path: Path) -> Any:
        """A reference to an archive of a file or folder, made once."""
        if path not in self._archives:
            self._archives[path] = self._ray.put(_pack({path.name: path}))
        return self._archives[path]

    def _answer(self, reference: Any) -> dict[str, Any] | str:
        try:
            record, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return f"Ray lost it: {' '.join(str(error).split())}"
        if files is not None:
            folder = self._setting.folder
            for name, content in _unpacked(files).items():
                with atomic_write(folder.path / name) as file:
                    file.write(content)
            folder.write_record(record)
        found: dict[str, Any] = record
        return found


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes.

    :raises OSError: nobody listens there
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()


def do_on_node(order: Order, setting: Setting) -> Answer:
    """Do a job on whatever node this is."""
    job = order.job
    here = dataclasses.replace(job)  # which computes its id anew
    if here.id != order.id:
        error = (
            "this node has another version of sb3_il_plus or of a library that results depend on; "
            "install the same everywhere"
        )
        return Answer({**job.to_json(), "status": FAILED, "error": error, **provenance("")}, None)
    token = setting.folder.path / _TOKEN
    if token.exists() and token.read_text() == order.token:
        left = setting.folder.read_record(job.id)
        if left is not None and left["status"] != FAILED:  # it was done before its node died
            return Answer(left, None)
        return Answer(do(here, setting), None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "table")
        folder.prepare()
        inputs = _receive(order, folder, Path(temporary))
        record = do(
            dataclasses.replace(job, inputs=inputs), dataclasses.replace(setting, folder=folder)
        )
        return Answer(record, _pack(folder.made_by(job)))


def _receive(order: Order, folder: RunFolder, temporary: Path) -> dict[str, str]:
    """Unpack what a job needs.

    :return: role -> path of the user's file here
    """
    import ray

    for name, reference in order.needed.items():
        _extract(ray.get(reference), (folder.path / name).parent)
    inputs = dict(order.job.inputs)
    for role, reference in order.inputs.items():
        _extract(ray.get(reference), temporary / role)
        inputs[role] = str(temporary / role / Path(inputs[role]).name)
    return inputs


def _pack(paths: Mapping[str, Path]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, path in paths.items():
            archive.add(path, name)
    return written.getvalue()


def _extract(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(folder, filter="data")


def _unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = [(member.name, opened.extractfile(member)) for member in opened.getmembers()]
        return {name: file.read() for name, file in members if file is not None}
