"""The report's page in a real browser, and the runs as Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import chromium
from table_records import Records

from sb3_il_plus.tables.report import write_report
from sb3_il_plus.tables.runs import RunFolder

ALGORITHMS = {"bc": 20.0, "gail": 90.0, "airl": 55.5}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Two amounts of demonstrations; one run failed, one algorithm has no run."""
    records = Records(tmp_path / "table")
    records.folder.write_text("specification.yaml", "name: <b>poles</b> & more\n")
    for n_episodes in (1, 10):
        task = {"task": f"Pole-v0, {n_episodes} episodes", "environment": "Pole-v0"}
        data = f"d{n_episodes}"
        made = {"n_episodes": n_episodes, "n_transitions": 7 * n_episodes, "returns": None}
        records.add(data, "demonstrations", made, n_episodes=n_episodes, **task)
        records.add(f"{data} r", "random evaluation", {"mean_return": 0.0}, **task)
        for name, value in ALGORITHMS.items():
            for run in range(2):
                records.train(
                    f"{data} {name} {run}", name, value + run * n_episodes, data=data, **task
                )
        error = "ValueError: <script>alert(1)</script>"
        records.train(f"{data} sqil", "sqil", error, data=data, **task)
        records.train(f"{data} density", "density", None, data=data, **task)
    write_report(records.folder)
    return records.folder


def test_the_page_renders_sorts_and_shows_every_plot(folder: RunFolder, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        browser.get((folder.path / "report.html").as_uri())
        assert browser.title == "<b>poles</b> & more"
        assert browser.find_element("tag name", "h1").text == "<b>poles</b> & more"
        images = browser.find_elements("tag name", "img")
        assert [image.get_attribute("alt") for image in images] == [
            "Learning curves",
            "Final returns",
            "Return against demonstrations",
            "Scores over all tasks",
            "Performance profiles",
        ]
        assert all(image.get_property("naturalWidth") > 300 for image in images)
        errors = [found.text for found in browser.find_elements("css selector", ".error")]
        assert len(errors) == 2 and "<script>alert(1)</script>" in errors[0]

        section = browser.find_element("id", "block-1")
        assert section.find_element("tag name", "h2").text == "Pole-v0, 1 episodes"

        def names() -> list[str]:
            return [cell.text for cell in section.find_elements("css selector", "td:first-child")]

        before = names()
        by_return = section.find_elements("css selector", "th button")[1]
        by_return.click()
        # A failed row's text has no number, so it stands by its text; the empty one comes last.
        assert [name for name in names() if name in ALGORITHMS] == ["gail", "airl", "bc"]
        assert names()[-1] == "density"
        by_return.click()
        assert [name for name in names() if name in ALGORITHMS] == ["bc", "airl", "gail"]
        assert names()[-1] == "density"
        header = by_return.find_element("xpath", "..")
        assert header.get_attribute("aria-sort") == "ascending"
        assert sorted(names()) == sorted(before)
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_runs_as_parquet(folder: RunFolder) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(folder.path / "runs.parquet").to_pylist()
    lines = [json.loads(x) for x in (folder.path / "runs.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [line["id"] for line in lines]
    gail = next(row for row in rows if row["id"] == "d10 gail 1")
    assert (gail["algorithm"], gail["mean_return"], gail["status"]) == ("gail", 100.0, "finished")
    assert json.loads(gail["curve"])[-1] == {"timesteps": 100, "returns": [100.0, 100.0]}
    failed = next(row for row in rows if row["id"] == "d1 sqil")
    assert failed["mean_return"] is None and failed["error"].startswith("ValueError")


def test_no_amounts_no_plot(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.train("b0", "bc", 4.0)
    write_report(records.folder)
    assert not (tmp_path / "demonstrations_curve.svg").exists()
    assert "Return against demonstrations" not in (tmp_path / "report.html").read_text()
