"""`table` as people run it: real processes, several tasks, and a job that hangs."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

from table_command import ENV, command

SPECIFICATION = """
environments: ["{env}"]
expert: {{path: {expert}}}
demonstrations:
  n_episodes: 2
  corruption: {{observation_noise: [0, 0.5]}}
algorithms:
  bc: {{timesteps: 32}}
  hanging: {{algorithm: quick, timesteps: 16, hyperparameters: {{pause: 600}}, time_limit: 4}}
n_seeds: 1
n_eval_episodes: 3
n_curve_points: 1
"""


def test_table_of_two_tasks_with_a_job_that_hangs(expert_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "noise.yaml"
    path.write_text(SPECIFICATION.format(env=ENV, expert=expert_path))
    out = tmp_path / "out"
    arguments = command("table", path, "--jobs", 2, "--out", out, "--set", "n_eval_episodes=2")
    result = subprocess.run(**arguments, check=False, timeout=300)
    assert result.returncode == 1, result.stderr
    tasks = [f"{ENV}, plain", f"{ENV}, 0.5 observation noise"]
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert [row["task"] for row in rows] == [task for task in tasks for _ in range(4)]
    for row in rows:
        if row["algorithm"] == "hanging":
            assert row["errors"] == "stopped after its time limit of 4 s"
            assert row["runs_finished"] == "0"
        else:
            assert row["errors"] == "" and row["runs_finished"] == "1"
    text = (out / "table.md").read_text()
    assert text.startswith("# noise\n")
    assert "| hanging | failed: stopped after its time limit of 4 s |" in text
    records = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    kinds = [record["kind"] for record in records]
    assert kinds.count("random evaluation") == kinds.count("expert evaluation") == 1
    assert kinds.count("demonstrations") == 2
    assert all(len(r["result"]["returns"]) == 2 for r in records if "evaluation" in r["kind"])
    assert "Scores over 2 tasks" in result.stdout
