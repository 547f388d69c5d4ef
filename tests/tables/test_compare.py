"""`compare` as people run it: real processes, a small environment, algorithms that fail."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from table_command import ENV, command

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def compared(
    expert_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a comparison, and the process that made it."""
    out = tmp_path_factory.mktemp("compare") / "out"
    arguments = command(
        "compare",
        *("--env", ENV, "--expert", expert_path, "--episodes", 2, "--seeds", 2),
        *("--timesteps", 64, "--jobs", 2, "--out", out),
        *("--algorithms", "quick,failing,bc,crashing", "--set", "bc.batch_size=8"),
    )
    return out, subprocess.run(**arguments, check=False)


def test_whole_comparison(compared: Any) -> None:
    out, result = compared
    assert result.returncode == 1, result.stderr
    rows = {row["algorithm"]: row for row in csv.DictReader((out / "table.csv").open())}
    assert list(rows) == ["expert", "random", "quick", "failing", "bc", "crashing"]
    assert float(rows["expert"]["return_mean"]) == 30
    assert float(rows["expert"]["share_above_random"]) == 1
    assert 10 < float(rows["random"]["return_mean"]) < 28
    _check_trained(rows["quick"], environment_steps=64)
    _check_trained(rows["bc"], environment_steps=0)
    for name in ("failing", "crashing"):
        assert rows[name]["return_mean"] == rows[name]["training_seconds"] == ""
        assert (rows[name]["runs_finished"], rows[name]["runs_planned"]) == ("0", "2")
    assert rows["failing"]["errors"] == "RuntimeError: the reward | exploded after the first step"
    assert "signal SIGKILL" in rows["crashing"]["errors"]

    table = (out / "table.md").read_text()
    assert "failed: RuntimeError: the reward \\| exploded" in table
    assert "sb3-il-plus compare --env" in table
    assert "quick" in result.stdout
    assert str(out) in result.stdout
    assert "failed   failing run 1: RuntimeError" in result.stderr
    assert "Traceback" not in result.stderr
    for name in ("learning_curves.png", "bars.png"):
        assert (out / name).read_bytes().startswith(PNG)


def _check_trained(row: dict[str, str], environment_steps: int) -> None:
    assert float(row["environment_steps"]) == environment_steps
    assert (row["demonstration_episodes"], row["demonstration_transitions"]) == ("2", "60")
    assert float(row["expert_queries"]) == 0
    assert float(row["training_seconds"]) > 0
    assert (row["runs_finished"], row["runs_planned"]) == ("2", "2")


def test_records_say_how_a_run_came_about(compared: Any) -> None:
    out, _ = compared
    records = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]

    assert len(records) == 2 + 2 * (2 + 4)
    bc, *others = [r for r in records if r["settings"].get("algorithm") == "bc"]
    assert bc["result"]["hyperparameters"]["batch_size"] == 8
    assert bc["result"]["hyperparameters"]["loss"] == "auto"
    assert bc["result"]["seed"] != others[0]["result"]["seed"]
    assert bc["versions"]["sb3_il_plus"]
    assert "--set bc.batch_size=8" in bc["command"]
    assert [point["timesteps"] for point in bc["result"]["curve"]][:3] == [0, 7, 13]
    assert bc["result"]["curve"][-1]["timesteps"] == 64
    assert len(bc["result"]["returns"]) == 50
    failing = next(r for r in records if r["settings"].get("algorithm") == "failing")
    assert "in learn" in failing["traceback"]
    log = next((out / "logs").glob(f"failing-*{failing['id']}.log")).read_text()
    assert log.startswith("about to fail")


def test_interrupted_and_killed_it_goes_on(expert_path: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    arguments = command(
        "compare",
        *("--env", ENV, "--expert", expert_path, "--episodes", 1, "--seeds", 4, "--jobs", 2),
        *("--timesteps", 16, "--out", out, "--algorithms", "failing,quick"),
        *("--set", "quick.pause=0.7"),
        log=log,
    )
    code, _, stderr = _stop(arguments, out, 1, lambda pid: os.killpg(pid, signal.SIGINT))
    assert code == 130
    last = stderr.splitlines()[-1]
    assert last.startswith("interrupted: ") and "jobs are finished and kept in" in last
    assert "go on with: sb3-il-plus compare --env" in last
    assert "Traceback" not in stderr
    first = _finished(out)

    code, *_ = _stop(arguments, out, 2, lambda pid: os.kill(pid, signal.SIGKILL))
    assert code == -signal.SIGKILL
    second = _finished(out)

    result = subprocess.run(**arguments, check=False)
    assert result.returncode == 1, result.stderr
    third = _finished(out)
    assert first.items() <= second.items() <= third.items(), "what was finished is done again"
    trained = [record for record in map(_read, third) if record["kind"] == "training"]
    assert sorted(r["label"] for r in trained) == [f"quick run {n}" for n in range(4)]
    assert not [p for p in out.rglob(".*") if p.name != ".lock"]
    ended = log.read_text().split()
    # What was killed between its end and its record is the only thing that may be done again.
    assert all(ended.count(str(r["result"]["seed"])) <= 2 for r in trained)
    assert len(ended) <= 4 + 4
    attempts = next((out / "logs").glob("failing-run-0-*.log")).read_text()
    assert attempts.count("about to fail") == 3, "what failed is tried again"


def _stop(
    arguments: dict[str, Any], out: Path, n_trained: int, kill: Callable[[int], None]
) -> tuple[int, str, str]:
    """Start, wait until that many trainings have ended, kill, and wait for all processes to go."""
    with subprocess.Popen(**arguments, start_new_session=True) as process:
        deadline = time.monotonic() + 240
        while _n_trained(out) < n_trained:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        kill(process.pid)
        stdout, stderr = process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while _group_exists(process.pid):
        assert time.monotonic() < deadline, "workers outlive the runner"
        time.sleep(0.05)
    return process.returncode, stdout, stderr


def _n_trained(out: Path) -> int:
    return sum(_read(path)["kind"] == "training" for path in _finished(out))


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _finished(out: Path) -> dict[Path, int]:
    """Records of finished jobs and when they were written."""
    paths = (out / "runs").glob("*.json")
    return {path: path.stat().st_mtime_ns for path in paths if _read(path)["status"] == "finished"}
