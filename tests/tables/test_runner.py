"""The runner's schedule, and what a display and a forecast make of the jobs."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sb3_il_plus.cli import app
from sb3_il_plus.tables.display import Display
from sb3_il_plus.tables.estimates import Estimates, duration, group_of
from sb3_il_plus.tables.forecast import forecast
from sb3_il_plus.tables.jobs import Job
from sb3_il_plus.tables.planning import plan
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.runner import Event, _record_after_death, _Schedule
from sb3_il_plus.tables.runs import FAILED, FINISHED, RunFolder
from sb3_il_plus.tables.specification import Specification


def _job(name: str, needs: list[Job] | None = None, kind: Any = "training", **settings: Any) -> Job:
    roles = {f"role {number}": job.id for number, job in enumerate(needs or [])}
    return Job(kind, name, {"environment": "Pole-v0", "name": name, **settings}, roles)


def _labels(schedule: _Schedule) -> list[str]:
    found = []
    while (job := schedule.pop_ready()) is not None:
        found.append(job.label)
    return found


def test_jobs_start_in_order_once_their_needs_are_finished() -> None:
    expert = _job("expert")
    data = _job("data", [expert])
    both = _job("both", [expert, data])
    other = _job("other")
    schedule = _Schedule([expert, data, both, other])
    assert schedule.n_waiting == 4
    assert _labels(schedule) == ["expert", "other"]
    schedule.end(other, FINISHED)
    assert _labels(schedule) == []
    schedule.end(expert, FINISHED)
    assert _labels(schedule) == ["data"]
    schedule.end(data, FINISHED)
    assert _labels(schedule) == ["both"]
    assert schedule.pop_skipped() == [] and schedule.n_waiting == 0


def test_a_failure_skips_all_that_need_it_once() -> None:
    expert = _job("expert")
    data = _job("data", [expert])
    both = _job("both", [expert, data])
    other = _job("other")
    schedule = _Schedule([expert, data, both, other])
    assert schedule.pop_ready() is expert
    schedule.end(expert, FAILED)
    assert sorted(job.label for job in schedule.pop_skipped()) == ["both", "data"]
    assert schedule.pop_skipped() == []
    assert _labels(schedule) == ["other"]


def test_kept_jobs_do_not_start() -> None:
    expert, other = _job("expert"), _job("other")
    data = _job("data", [expert])
    schedule = _Schedule([expert, data, other])
    schedule.end(expert, FINISHED)
    schedule.end(other, FINISHED)
    assert _labels(schedule) == ["data"]


def test_ten_thousand_jobs_are_scheduled_quickly() -> None:
    sources = [_job(f"source {n}") for n in range(50)]
    jobs = sources + [_job(f"job {n}", [sources[n % 50]]) for n in range(10_000)]
    start = time.process_time()
    schedule = _Schedule(jobs)
    n_started = 0
    while (job := schedule.pop_ready()) is not None:
        schedule.end(job, FINISHED)
        n_started += 1
    assert n_started == len(jobs)
    assert time.process_time() - start < 2


def test_a_worker_that_dies_after_its_last_word_has_finished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.prepare()
    job = _job("bc run 0")
    record = _record_after_death(job, "it died", folder, "typed")
    assert (record["status"], record["error"]) == (FAILED, "it died")
    assert folder.read_record(job.id) == record
    done = {**job.to_json(), "status": FINISHED, "result": {}}
    folder.write_record(done)
    assert _record_after_death(job, "it died", folder, "typed") == done
    assert folder.is_finished(job.id)


def _training(seconds: float, timesteps: int, algorithm: str = "bc", env: str = "Pole-v0") -> Any:
    settings = {"environment": env, "algorithm": algorithm, "timesteps": timesteps}
    return {"kind": "training", "settings": settings, "seconds": seconds}


def test_estimates_follow_what_has_ended() -> None:
    estimates = Estimates()
    job = group_of("training", _training(0, 1000)["settings"])
    rough = estimates.seconds(job)
    assert rough == pytest.approx(1.5)
    estimates.learn(_training(8, 2000, env="Other-v0"))
    assert estimates.seconds(job) == 4, "the same algorithm elsewhere"
    estimates.learn(_training(3, 1000))
    estimates.learn(_training(5, 1000))
    assert estimates.seconds(job) == 4, "the mean of two"
    assert estimates.seconds(job._replace(units=500)) == 2
    assert estimates.seconds(job._replace(algorithm="gail")) == rough
    assert estimates.total({job: 3}) == 12


def test_the_longest_chain_waits_for_its_needs() -> None:
    expert = _job("expert", kind="expert")
    data = _job("data", [expert], kind="demonstrations")
    training = _job("bc", [data], algorithm="bc", timesteps=1000)
    seconds = Estimates().longest_chain([expert, data, training])
    assert seconds == pytest.approx(60 + 2 + 1.5)
    assert Estimates().longest_chain([training]) == pytest.approx(1.5), "what it needs is there"


def test_durations() -> None:
    assert [duration(s) for s in (1.23, 59.4, 60, 3723)] == ["1.2 s", "59 s", "1:00", "1:02:03"]


def test_display_counts_and_tells_the_time_left() -> None:
    jobs = [_job(f"bc {n}", algorithm="bc", timesteps=1000) for n in range(5)]
    output = io.StringIO()
    display = Display(Console(file=output, width=100), jobs, n_workers=2)
    assert display.seconds_left() == pytest.approx(5 * 1.5 / 2)
    record = {**_training(4, 1000), "result": {"mean_return": 7.0}}
    display.update(Event(jobs[0], "started"))
    display.update(Event(jobs[0], "finished", record))
    display.update(Event(jobs[1], "failed", {"error": "DataError: no"}))
    display.update(Event(jobs[2], "skipped"))
    assert display.seconds_left() == pytest.approx(2 * 4 / 2)
    display.update(Event(jobs[3], "started"))
    assert 0 < display.seconds_left() <= 4
    Console(file=output, width=100).print(display)
    shown = output.getvalue()
    assert "finished bc 0: return 7.0, 4.0 s" in shown
    assert "failed   bc 1: DataError: no" in shown
    assert "1 finished, 1 running, 1 failed of 5 jobs" in shown
    assert " left" in shown


def _specification() -> Specification:
    content = {
        "environments": ["CartPole-v1", "MountainCar-v0"],
        "expert": {"algorithm": "ppo"},
        "demonstrations": {"n_episodes": 2},
        "algorithms": {"bc": {"timesteps": 1000}},
        "n_seeds": 2,
    }
    return build(Specification, content, "test")


def test_forecast_knows_what_is_finished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    before = forecast(_specification(), folder.path, 2)
    assert len(before.jobs) == 2 * (2 + 2 * 3)
    assert not folder.path.exists()
    assert before.wall_seconds >= before.seconds / 2
    folder.prepare()
    bc = [job for job in plan(_specification()) if job.label == "bc run 0 in CartPole-v1"]
    folder.write_record({**bc[0].to_json(), "status": FINISHED, "seconds": 500.0})
    after = forecast(_specification(), folder.path, 2)
    assert after.finished == {bc[0].id}
    # One of four trainings is done, and the three others are expected to take as long.
    rest = before.seconds - 4 * 1.5
    assert after.seconds == pytest.approx(rest + 3 * 500)


def test_dry_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(_specification().to_yaml())
    arguments = ["table", str(path), "--dry-run", "--out", str(tmp_path / "out"), "--jobs", "3"]
    result = CliRunner().invoke(app, [*arguments, "--set", "n_seeds=4"])
    assert result.exit_code == 0, result.output
    assert "28 jobs, 28 to do: about" in result.output
    assert "with 3 processes" in result.output
    assert "bc 4 0 1,000 updates 1.5 s" in " ".join(result.output.split())
    assert all(len(line) <= 80 for line in result.output.splitlines())
    assert not (tmp_path / "out").exists()
    wrong = CliRunner().invoke(app, [*arguments, "--set", "n_sedes=4"])
    assert wrong.exit_code == 2
    assert "unknown key 'n_sedes'; did you mean 'n_seeds'" in wrong.output
