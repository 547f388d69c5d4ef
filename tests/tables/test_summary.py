"""Summary and report: every figure from records written by hand, worked out by hand."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest
from rich.console import Console
from table_records import Records

from sb3_il_plus.errors import FileError
from sb3_il_plus.tables.report import to_csv, to_markdown, to_rich, write_report
from sb3_il_plus.tables.runs import RunFolder
from sb3_il_plus.tables.summary import Row, summarise


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Expert 100, random 20, ten episodes of demonstrations."""
    records = Records(tmp_path / "table")
    expert = {"name": "e", "metadata": {"total_timesteps": 5000, "training_seconds": 7.5}}
    records.add("e", "expert", expert)
    demonstrations = {"n_episodes": 10, "n_transitions": 1000, "returns": [90.0] * 10}
    records.add("d", "demonstrations", demonstrations, {"expert": "e"})
    for run in (0, 1):
        random_return = {"mean_return": 10.0 + 20 * run}
        records.add(f"r{run}", "random evaluation", random_return)
        records.add(f"x{run}", "expert evaluation", {"mean_return": 100.0}, {"expert": "e"})
    return records


def _row(records: Records, name: str) -> Row:
    return next(row for row in summarise(records.folder).rows if row.name == name)


def test_figures_of_a_row(records: Records) -> None:
    records.train("b0", "gail", 40.0, seconds=2)
    records.train("b1", "gail", 80.0, seconds=4)
    table = summarise(records.folder)
    row = _row(records, "gail")
    assert [r.name for r in table.rows] == ["expert", "random", "gail"]
    assert row.returns == [40.0, 80.0]
    assert table.sections[0].share(row) == (60 - 20) / (100 - 20)
    assert (row.seconds, row.environment_steps, row.expert_queries) == (3, 100, 0)
    assert row.demonstrations == (10, 1000)
    assert row.curve is not None
    assert row.curve.timesteps.tolist() == [0, 50, 100]
    assert row.curve.returns.tolist() == [[0, 20, 40], [0, 40, 80]]
    expert = _row(records, "expert")
    assert (expert.environment_steps, expert.seconds) == (5000, 7.5)
    assert "| gail | 60.0 ± 254.1 | 50.0 | 100 | 10 (1,000) | 0 | 3.0 | 2 |" in to_markdown(table)
    assert "gail,60.0,254.1" in to_csv(table)


def test_a_cell_without_a_run_stays_empty(records: Records) -> None:
    records.train("b0", "bc", None)
    records.train("g0", "gail", "ValueError: too | bad")
    records.train("a0", "airl", 50.0)
    records.train("a1", "airl", "DataError: no")
    table = summarise(records.folder)
    text = to_markdown(table)
    assert "| bc |  |  |  |  |  |  | 0 of 1 |" in text
    assert "| gail | failed: ValueError: too \\| bad |  |  |  |  |  | 0 of 1 |" in text
    assert "| airl | 50.0 | 37.5 | 100 | 10 (1,000) | 0 | 1.0 | 1 of 2 |" in text
    assert "- airl failed: DataError: no" in text
    assert table.errors == [("gail", "ValueError: too | bad"), ("airl", "DataError: no")]


def test_a_failed_expert_is_the_error_of_all_that_need_it(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add("e", "expert", "UserError: hopeless")
    records.add("d", "demonstrations", None, {"expert": "e"})
    records.add("x", "expert evaluation", None, {"expert": "e"})
    records.add("r", "random evaluation", {"mean_return": 1.0})
    records.train("b", "bc", None)
    table = summarise(records.folder)
    expected = "the expert failed: UserError: hopeless"
    assert table.errors == [("expert", expected), ("bc", expected)]
    assert table.sections[0].share(_row(records, "random")) is None


def test_demonstrations_stand_in_for_a_missing_expert(tmp_path: Path) -> None:
    records = Records(tmp_path)
    data = {"n_episodes": 2, "n_transitions": 9, "returns": [80.0, 100.0]}
    records.add("d", "demonstrations", data)
    records.add("r", "random evaluation", {"mean_return": 10.0})
    records.train("b", "bc", 50.0)
    table = summarise(records.folder)
    assert [row.name for row in table.rows] == ["demonstrations", "random", "bc"]
    assert table.sections[0].share(_row(records, "bc")) == (50 - 10) / (90 - 10)


def test_report_files_and_terminal(records: Records) -> None:
    records.train("b0", "bc", 40.0)
    records.train("b1", "bc", -30.0)
    records.train("g0", "gail", "no [bold]markup[/bold]")
    table = write_report(records.folder)
    folder = records.folder.path
    for name in ("learning_curves.png", "bars.png"):
        width, height = struct.unpack(">II", (folder / name).read_bytes()[16:24])
        assert width > 600 and height > 300
    lines = (folder / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [job["id"] for job in records.jobs]
    output = io.StringIO()
    Console(file=output, width=80).print(to_rich(table))
    shown = output.getvalue()
    assert "100.0 ± 0.0" in shown and "…" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_plots_without_a_single_run(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add("d", "demonstrations", None)
    records.train("b", "bc", None)
    write_report(records.folder)
    assert (tmp_path / "learning_curves.png").stat().st_size > 1000


def test_folders_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no table in"):
        summarise(RunFolder(tmp_path))
    folder = RunFolder(tmp_path)
    folder.prepare()
    folder.record_path("abc").write_text("{half")
    with pytest.raises(FileError, match=r"abc\.json.*delete it to run the job again"):
        folder.read_record("abc")
