"""Reports over several tasks: scores on a common scale, in every format."""

from __future__ import annotations

import csv
import io
import json
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from rich.console import Console
from table_records import Records

from sb3_il_plus.tables.page import to_html
from sb3_il_plus.tables.report import to_csv, to_latex, to_markdown, to_rich, write_report
from sb3_il_plus.tables.runs import RunFolder
from sb3_il_plus.tables.summary import Table, summarise

PLOTS = ("learning_curves", "bars", "intervals", "performance_profiles")


def _task(records: Records, name: str, environment: str, returns: dict[str, list[float]]) -> None:
    """A task with random 0 and expert 100."""
    shared = {"task": name, "environment": environment}
    records.add(f"{name} r", "random evaluation", {"mean_return": 0.0}, **shared)
    records.add(f"{name} x", "expert evaluation", {"mean_return": 100.0}, {"expert": "e"}, **shared)
    for algorithm, values in returns.items():
        for run, value in enumerate(values):
            records.train(f"{name} {algorithm} {run}", algorithm, value, **shared)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    records = Records(tmp_path / "table")
    records.folder.write_text("specification.yaml", "name: two poles\nreferences: measured\n")
    expert = {"name": "e", "metadata": {"total_timesteps": 50, "training_seconds": 1.0}}
    records.add("e", "expert", expert)
    _task(records, "Pole-v0", "Pole-v0", {"bc": [10.0, 20.0, 60.0], "gail": [80.0, 90.0, 40.0]})
    _task(records, "Hopper-v4", "Hopper-v4", {"bc": [50.0, 50.0, 50.0], "sac_new": [99.0, 100.0]})
    return records.folder


@pytest.fixture
def table(folder: RunFolder) -> Table:
    return summarise(folder)


def test_scores_over_tasks(table: Table) -> None:
    assert table.name == "two poles"
    assert [section.name for section in table.sections] == ["Pole-v0", "Hopper-v4"]
    assert table.algorithms == ["bc", "gail", "sac_new"]
    bc, gail, sac = table.scores
    assert (bc.n_runs, gail.n_runs, sac.n_runs) == (6, 3, 2)
    assert bc.mean.value == pytest.approx((0.3 + 0.5) / 2)
    # Six runs: the lowest and the highest do not count.
    assert bc.iqm.value == pytest.approx((0.2 + 0.5 * 3) / 4)
    # Each of three draws is 0.1, 0.2 or 0.6; the other task's scores never differ.
    assert bc.mean.low == pytest.approx((0.1 + 0.5) / 2, abs=0.02)
    assert bc.mean.high == pytest.approx((0.6 + 0.5) / 2, abs=0.07)
    chances = {(p.name, p.baseline): p.probability.value for p in table.improvements}
    assert chances["gail", "bc"] == pytest.approx(8 / 9)
    assert chances["bc", "gail"] == pytest.approx(1 / 9)
    assert chances["sac_new", "bc"] == 1
    assert ("gail", "sac_new") not in chances, "they have no task in common"


def test_rows_keep_their_order_where_tasks_share_a_job(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for algorithm in ("bc", "ppo"):
        records.train(f"1 {algorithm}", algorithm, 1.0, task="1 episode")
    records.jobs[-1]["cells"].append(["2 episodes", "ppo"])
    records.train("2 bc", "bc", 2.0, task="2 episodes")
    table = summarise(records.folder)
    assert [(s.name, [row.name for row in s.rows]) for s in table.sections] == [
        ("1 episode", ["bc", "ppo"]),
        ("2 episodes", ["bc", "ppo"]),
    ]
    assert table.sections[1].rows[1].returns == [1.0]


def test_published_references(folder: RunFolder) -> None:
    folder.write_text("specification.yaml", "references: d4rl\n")
    table = summarise(folder)
    pole, hopper = table.sections
    assert pole.reference == (0, 100)
    random, expert = -20.272305, 3234.3  # d4rl/infos.py
    assert hopper.reference == (random, expert)
    share = hopper.share(hopper.rows[-1])
    assert share == pytest.approx((99.5 - random) / (expert - random))
    assert "- Hopper-v4 is measured by D4RL's reference scores, -20.3 for random" in to_markdown(
        table
    )


def test_others_figures_stand_beside_ours(folder: RunFolder) -> None:
    figures = {
        "bc": [{"n_episodes": 3, "value": 7}, {"n_episodes": 10, "value": 55.25, "spread": 4}],
        "gail": {"value": 2, "interval": [1, 3]},
        "expert": {"value": 1234.5},
    }
    special = {"published": {"source": "A paper & its table, 5 runs", "returns": figures}}
    content = {"environments": {"Pole-v0": special, "Hopper-v4": {}}}
    folder.write_text("specification.yaml", yaml.safe_dump(content))
    jobs = json.loads((folder.path / "jobs.json").read_text())
    made = {
        "id": "d",
        "kind": "demonstrations",
        "settings": {"environment": "Pole-v0", "n_episodes": 10},
        "needs": {},
        "cells": [["Pole-v0", "demonstrations"]],
    }
    folder.write_text("jobs.json", json.dumps([made, *jobs]))
    table = summarise(folder)
    text = to_markdown(table)
    pole, hopper = text[text.index("## Pole") :].split("## Hopper")
    assert "| algorithm | return | published return | % of expert |" in pole
    assert "± 65.7 | 55.2 ± 4.0 |" in pole, "that of as many demonstrations"
    assert "| 2 [1, 3] |" in pole and "| 1,234.5 |" in pole
    assert "published return" not in hopper[: hopper.index("- return")]
    note = "published return in Pole-v0: not ours, but of A paper & its table, 5 runs"
    assert f"- {note}" in text
    assert r"bc & 30.0 $\pm$ 65.7 & 55.2 $\pm$ 4.0 &" in to_latex(table)
    assert note.replace("&", "&amp;") in to_html(table, {})
    rows = {row["algorithm"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}
    bc, gail = rows["bc"], rows["gail"]
    assert bc["published_return"] == "", "the last of this name is Hopper's"
    assert [gail[f"published_{key}"] for key in ("return", "spread", "low", "high")] == [
        "2.0",
        "",
        "1.0",
        "3.0",
    ]
    assert gail["published_source"] == "A paper & its table, 5 runs"
    output = io.StringIO()
    Console(file=output, width=100).print(to_rich(table))
    assert "published" in output.getvalue()


def test_markdown(table: Table) -> None:
    text = to_markdown(table)
    assert text.startswith("# two poles\n\n## Pole-v0\n\n| algorithm |")
    assert "\n## Hopper-v4\n\n| algorithm |" in text
    scores = text[text.index("## Scores") : text.index("## Probability")]
    assert "| bc | 0.400 [" in scores and "] | 2 | 6 |" in scores
    assert "| gail | 0.700 [" in scores and "] | 1 of 2 | 3 |" in scores
    assert "| gail | 0.89 |  |  |" in text


def test_csv(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["task"] for row in rows] == ["Pole-v0"] * 4 + ["Hopper-v4"] * 4
    gail = next(row for row in rows if row["algorithm"] == "gail")
    assert float(gail["score_mean"]) == pytest.approx(float(gail["share_above_random"]))
    assert float(gail["score_mean_ci95_low"]) < 0.7 < float(gail["score_mean_ci95_high"])
    # Three runs: trim_mean cuts 0.75 of a run at either end, which is none.
    assert float(gail["score_iqm"]) == pytest.approx(0.7)


def test_latex(table: Table) -> None:
    text = to_latex(table)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 4
    assert r"sac\_new & 99.5 $\pm$ 6.4 & 99.5 & 100 &" in text
    assert r"\% of expert" in text
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert line.count("&") in (3, 4, 7)


def test_all_files(folder: RunFolder) -> None:
    write_report(folder)
    path = folder.path
    first = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    for name in PLOTS:
        width, height = struct.unpack(">II", first[f"{name}.png"][16:24])
        assert width > 600 and height > 300
        assert ElementTree.fromstring(first[f"{name}.svg"]).tag.endswith("svg")
    assert len(first["improvement.csv"].splitlines()) == 1 + 4
    assert len(first["scores.csv"].splitlines()) == 1 + 3
    write_report(folder)
    assert {name: (path / name).read_bytes() for name in first} == first


def test_terminal(table: Table) -> None:
    output = io.StringIO()
    Console(file=output, width=80).print(to_rich(table))
    shown = output.getvalue()
    assert "Scores over 2 tasks" in shown
    assert "1 of 2" in shown and "…" not in shown


def test_a_task_that_nothing_can_be_measured_by(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add("r", "random evaluation", {"mean_return": 1.0})
    records.train("b0", "bc", 4.0)
    records.train("g0", "gail", 2.0)
    table = write_report(records.folder)
    assert table.scores == []
    assert "## Scores" not in to_markdown(table)
    assert [pair.probability.value for pair in table.improvements] == [1, 0]
    assert (tmp_path / "intervals.svg").exists()
