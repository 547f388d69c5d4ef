"""The report: what a table looks like in Markdown, CSV and a terminal.

Every figure comes from `summary`, which has it from the records. `write_report` writes all files of
the report into the folder of the records.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sb3_il_plus.tables.runs import RunFolder
from sb3_il_plus.tables.summary import Row, Table, summarise

if TYPE_CHECKING:
    from rich.table import Table as RichTable

HEADERS = (
    "algorithm",
    "return",
    "% of expert",
    "environment steps",
    "demonstrations",
    "expert queries",
    "training s",
    "runs",
)
_NARROW = {
    "% of expert": "% of\nexpert",
    "environment steps": "env.\nsteps",
    "demonstrations": "demon-\nstrations",
    "expert queries": "expert\nqueries",
    "training s": "train\nseconds",
}
"""Headers that are broken in a terminal, so that the table fits into 80 columns."""
_LONGEST_ERROR = 60


def write_report(folder: RunFolder) -> Table:
    """Write table.md, table.csv, runs.jsonl, learning_curves.png and bars.png.

    :raises FileError: the folder holds no table, or cannot be written
    """
    from sb3_il_plus.tables.plots import draw_bars, draw_curves

    table = summarise(folder)
    folder.write_text("table.md", to_markdown(table))
    folder.write_text("table.csv", to_csv(table))
    folder.write_text("runs.jsonl", "".join(json.dumps(r) + "\n" for r in table.records))
    draw_curves(table, folder.path / "learning_curves.png")
    draw_bars(table, folder.path / "bars.png")
    return table


def cells(table: Table, row: Row) -> tuple[str, ...]:
    """The texts of one row, one for each of `HEADERS`; empty where no run stands behind it."""
    share = table.share(row)
    return (
        row.name,
        _return_cell(row),
        "" if share is None else f"{100 * share:.1f}",
        _count(row.environment_steps),
        _demonstrations_cell(row),
        _count(row.expert_queries),
        "" if row.seconds is None else f"{row.seconds:,.1f}",
        str(n) if (n := len(row.returns)) == row.n_planned else f"{n} of {row.n_planned}",
    )


def notes(table: Table) -> list[str]:
    """What a reader must know of the figures, one sentence or two per line."""
    lines = [
        "return: mean over runs of the mean return of a run's evaluation episodes, "
        "± 95 % t-interval over runs. A run is one training with its own seed; for expert and "
        "random it is one evaluation with its own seed.",
        "% of expert: share of the expert's return above that of random actions, "
        "(return - random) / (expert - random).",
        "demonstrations: episodes (transitions) given beforehand. expert queries: labels asked "
        "while learning. training s: seconds of a run on one thread, evaluations not counted.",
    ]
    lines += [f"{name} failed: {error}" for name, error in table.errors]
    return lines


def to_markdown(table: Table) -> str:
    """The table with its notes and where it comes from."""
    lines = [f"# {table.environment}", "", _markdown_row(HEADERS)]
    lines.append(_markdown_row(["---"] + ["---:"] * (len(HEADERS) - 1)))
    lines += [_markdown_row(cells(table, row)) for row in table.rows]
    lines += ["", *(f"- {note}" for note in notes(table))]
    if table.records:
        last = table.records[-1]
        versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
        lines += ["", f"Made by `{last['command']}` with {versions}."]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """The table's figures without rounding, one line per row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "algorithm",
            "return_mean",
            "return_ci95_half_width",
            "share_above_random",
            "environment_steps",
            "demonstration_episodes",
            "demonstration_transitions",
            "expert_queries",
            "training_seconds",
            "runs_finished",
            "runs_planned",
            "errors",
        ]
    )
    for row in table.rows:
        figures = row.estimate
        writer.writerow(
            [
                row.name,
                None if figures is None else figures.mean,
                None if figures is None else figures.half_width,
                table.share(row),
                row.environment_steps,
                *(row.demonstrations or (None, None)),
                row.expert_queries,
                row.seconds,
                len(row.returns),
                row.n_planned,
                "; ".join(row.errors),
            ]
        )
    return text.getvalue()


def to_rich(table: Table) -> RichTable:
    """The table for a terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table as RichTable

    shown = RichTable(
        title=table.environment,
        title_style="bold",
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for number, header in enumerate(HEADERS):
        shown.add_column(_NARROW.get(header, header), justify="left" if number == 0 else "right")
    for row in table.rows:
        style = "red" if row.errors else "" if row.is_algorithm else "dim"
        texts = list(cells(table, row))
        if row.errors and not row.returns:
            texts[1] = "failed"
        shown.add_row(*map(escape, texts), style=style)
    return shown


def _return_cell(row: Row) -> str:
    figures = row.estimate
    if figures is None:
        return _shortened(f"failed: {row.errors[0]}") if row.errors else ""
    decimals = 1 if abs(figures.mean) >= 10 else 3
    if figures.half_width is None:
        return f"{figures.mean:,.{decimals}f}"
    return f"{figures.mean:,.{decimals}f} ± {figures.half_width:,.{decimals}f}"


def _demonstrations_cell(row: Row) -> str:
    if row.demonstrations is None:
        return ""
    episodes, transitions = row.demonstrations
    return f"{episodes:,} ({transitions:,})" if episodes else "0"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
