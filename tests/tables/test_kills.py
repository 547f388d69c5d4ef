"""Thirty times kill -9, of the runner or of a worker, at random moments of one table."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from table_command import ENV, command

N_KILLS = 30
SPECIFICATION = """
environments: ["{env}"]
expert: {{path: {expert}}}
demonstrations: {{n_episodes: [1, 2]}}
algorithms:
  bc: {{timesteps: 32, hyperparameters: {{batch_size: 8}}}}
  quick: {{timesteps: 16, hyperparameters: {{pause: 1}}}}
n_seeds: 14
n_eval_episodes: 2
n_curve_points: 1
"""


def _records(out: Path) -> dict[str, dict[str, Any]]:
    """Job id -> record; every file can be read at every moment."""
    return {path.stem: json.loads(path.read_text()) for path in out.glob("runs/*.json")}


def _finished(out: Path) -> dict[str, str]:
    """Job id -> hash of the record, of jobs that have finished."""
    return {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.glob("runs/*.json")
        if json.loads(path.read_text())["status"] == "finished"
    }


def _results(out: Path) -> dict[str, Any]:
    """Job id -> what it found, times left out."""
    return {
        id_: {k: v for k, v in record["result"].items() if not k.endswith("seconds")}
        for id_, record in _records(out).items()
    }


def _workers(runner: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(runner)], capture_output=True, text=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if "spawn_main" in line]


def _kill_something(process: subprocess.Popen[str], rng: random.Random) -> bool:
    """Kill the runner or a worker.

    :return: whether the runner still runs
    """
    workers = _workers(process.pid)
    if workers and rng.random() < 0.6:
        os.kill(rng.choice(workers), signal.SIGKILL)
        return True
    process.kill()
    process.communicate()
    return False


def _wait_for_more(out: Path, n_records: int, process: subprocess.Popen[str]) -> None:
    """Wait until a further job has ended: a table that is killed in its sleep gets nowhere."""
    end = time.monotonic() + 120
    while len(list(out.glob("runs/*.json"))) <= n_records and process.poll() is None:
        assert time.monotonic() < end, "nothing ends any more"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_table_is_that_of_an_undisturbed_run(expert_path: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    path, out = tmp_path / "poles.yaml", tmp_path / "out"
    path.write_text(SPECIFICATION.format(env=ENV, expert=expert_path))
    arguments = command("table", path, "--jobs", 2, "--out", out)
    process: subprocess.Popen[str] | None = None
    kept: dict[str, str] = {}
    for _ in range(N_KILLS):
        if process is None or process.poll() is not None:
            process = subprocess.Popen(**arguments)
        if rng.random() < 0.8:
            _wait_for_more(out, len(list(out.glob("runs/*.json"))), process)
        time.sleep(rng.uniform(0, 1.5))
        assert process.poll() is None, "the table was done before enough was killed"
        if not _kill_something(process, rng):
            process = None
        now = _finished(out)
        assert kept.items() <= now.items(), "what had finished was done again"
        kept = now
    assert len(kept) > N_KILLS / 2, "hardly anything was done between the kills"
    if process is not None:
        process.communicate(timeout=300)
    last = subprocess.run(**arguments, check=False, timeout=300)
    failed = [record["error"] for record in _records(out).values() if "error" in record]
    assert last.returncode == 0, (failed, last.stderr)
    assert kept.items() <= _finished(out).items()

    alone = tmp_path / "alone"
    subprocess.run(**command("table", path, "--jobs", 2, "--out", alone), check=True, timeout=300)
    assert _results(out) == _results(alone)
    for folder in ("", "models", "demonstrations", "experts", "runs"):
        names = sorted(file.name for file in (alone / folder).iterdir())
        assert sorted(file.name for file in (out / folder).iterdir()) == names
