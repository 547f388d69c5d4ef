"""`RunFolder`: where a table's files are, and the one place that reads and writes its records.

    specification.yaml          what was asked for
    jobs.json                   the jobs of that specification, in the order of the table
    runs/<job id>.json          one record per job that ended: its settings and result, or its error
    experts/ demonstrations/ models/    what jobs hand to each other and to you, named by job id
    logs/                       what a job printed, where it printed anything
    report.html table.md table.tex *.csv runs.* *.png *.svg     the report, from the records alone

Every file appears complete or not at all, so whatever is killed, what is there can be trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.files import atomic_write, check_writable, remove_leftovers
from sb3_il_plus.tables.jobs import Job

FINISHED, FAILED = "finished", "failed"

_SUBFOLDERS = ("runs", "experts", "demonstrations", "models", "logs")
_ARTIFACTS = {
    "expert": ("experts", ".zip"),
    "demonstrations": ("demonstrations", ".npz"),
    "training": ("models", ".zip"),
}
"""Kind of a job -> folder and suffix of the file that it leaves beside its record."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one table.

    :param path: the folder, which `prepare` makes
    """

    path: Path

    def prepare(self) -> None:
        """Make the folder, and tidy up after whatever was killed in it.

        :raises FileError: nothing can be written there
        """
        check_writable(self.path)
        for name in _SUBFOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        self.tidy()

    def tidy(self) -> None:
        """Remove what was half written when a process was killed; none may be at work now."""
        for folder in (self.path, *(self.path / name for name in _SUBFOLDERS)):
            remove_leftovers(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working in this folder; the lock ends with the process.

        :raises UserError: another process holds it
        """
        check_writable(self.path)
        lock = FileLock(self.path / ".lock")
        try:
            with lock.acquire(timeout=0):
                yield
        except Timeout:
            raise UserError(
                f"another process is already working in {str(self.path)!r}; wait for it, or choose "
                "another folder with --out"
            ) from None

    def record_path(self, job_id: str) -> Path:
        """File of a job's record."""
        return self.path / "runs" / f"{job_id}.json"

    def artifact_path(self, kind: str, job_id: str) -> Path:
        """File that a job of this kind leaves beside its record."""
        folder, suffix = _ARTIFACTS[kind]
        return self.path / folder / f"{job_id}{suffix}"

    def log_path(self, job: Job) -> Path:
        """File of what a job prints."""
        name = re.sub(r"[^\w.-]+", "-", job.label)
        return self.path / "logs" / f"{name[:100]}-{job.id}.log"

    def made_by(self, job: Job) -> dict[str, Path]:
        """The files beside its record that a job has made: path in the folder -> path."""
        paths = [self.log_path(job)]
        if job.kind in _ARTIFACTS:
            paths.append(self.artifact_path(job.kind, job.id))
        return {str(path.relative_to(self.path)): path for path in paths if path.exists()}

    def read_record(self, job_id: str) -> dict[str, Any] | None:
        """The record of a job, or None where it has not ended yet."""
        path = self.record_path(job_id)
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise FileError(
                f"cannot read {str(path)!r}: {error}; delete it to run the job again"
            ) from error
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Write the record of a job that ended, in place of an older one."""
        self.write_text(f"runs/{record['id']}.json", json.dumps(record, indent=1, allow_nan=False))

    def is_finished(self, job_id: str) -> bool:
        """Whether a job ended well, so that it need not be run again."""
        record = self.read_record(job_id)
        return record is not None and record["status"] == FINISHED

    def write_jobs(self, jobs: Sequence[Job]) -> None:
        """Say which jobs make up the table, and where in it they stand."""
        listed = [{**job.to_json(), "cells": job.cells} for job in jobs]
        self.write_text("jobs.json", json.dumps(listed, indent=1))

    def read_jobs(self) -> list[dict[str, Any]]:
        """The jobs that make up the table, as `Job.to_json` writes them, with their `cells`.

        :raises FileError: there is no table in this folder
        """
        path = self.path / "jobs.json"
        try:
            jobs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FileError(f"there is no table in {str(self.path)!r}: {error}") from error
        return jobs

    def read_specification(self) -> dict[str, Any]:
        """What was asked for, as plain data; empty where it is not there.

        :raises FileError: it cannot be read
        """
        path = self.path / "specification.yaml"
        if not path.exists():
            return {}
        try:
            return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            raise FileError(f"cannot read {str(path)!r}: {error}") from error

    def write_text(self, name: str, text: str) -> None:
        """Write a text file of the folder."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file of the folder."""
        with atomic_write(self.path / name) as file:
            file.write(content)
