"""The report: all files that people read, written into the folder of the records.

table.md table.tex                  the same texts, as Markdown and for LaTeX with booktabs
table.csv scores.csv improvement.csv    the figures without rounding (and claims.csv, if any)
runs.jsonl runs.parquet             the records of all jobs that ended (Parquet wants pyarrow)
*.png *.svg                         the plots
report.html                         all of it on one page
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sb3_il_plus.tables.blocks import (
    PUBLISHED,
    Block,
    blocks,
    claims_block,
    notes,
    scores_block,
    section_block,
)
from sb3_il_plus.tables.claims import Claim
from sb3_il_plus.tables.figures import (
    claims_to_csv,
    improvement_to_csv,
    scores_to_csv,
    to_csv,
    to_parquet,
)
from sb3_il_plus.tables.page import to_html
from sb3_il_plus.tables.records import build
from sb3_il_plus.tables.runs import RunFolder
from sb3_il_plus.tables.summary import Section, Table, summarise
from sb3_il_plus.tables.verdicts import judged

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

__all__ = ["notes", "to_csv", "to_html", "to_latex", "to_markdown", "to_rich", "write_report"]

_NARROW = {
    PUBLISHED: "published\nreturn",
    "% of expert": "% of\nexpert",
    "environment steps": "env.\nsteps",
    "demonstrations": "demon-\nstrations",
    "expert queries": "expert\nqueries",
    "training s": "train\nseconds",
}
"""Headers that are broken in a terminal, so that the table fits into 80 columns."""
_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "…": r"\dots{}",
}


_PLOTS: dict[str, str] = {
    "learning_curves": "Learning curves",
    "bars": "Final returns",
    "demonstrations_curve": "Return against demonstrations",
    "intervals": "Scores over all tasks",
    "performance_profiles": "Performance profiles",
}
"""File -> title, in the order of the page."""


def write_report(folder: RunFolder) -> Table:
    """Write all files of the report.

    :raises FileError: the folder holds no table, or cannot be written
    """
    claims = folder.read_specification().get("claims", [])
    table = judged(
        summarise(folder), [build(Claim, claim, "specification.yaml") for claim in claims]
    )
    texts = {
        "table.md": to_markdown(table),
        "table.tex": to_latex(table),
        "table.csv": to_csv(table),
        "scores.csv": scores_to_csv(table),
        "improvement.csv": improvement_to_csv(table),
        **({"claims.csv": claims_to_csv(table)} if table.claims else {}),
        "runs.jsonl": "".join(json.dumps(record) + "\n" for record in table.records),
    }
    for name, text in texts.items():
        folder.write_text(name, text)
    if (runs := to_parquet(table)) is not None:
        folder.write_bytes("runs.parquet", runs)
    folder.write_text("report.html", to_html(table, _draw(table, folder)))
    return table


def _draw(table: Table, folder: RunFolder) -> dict[str, bytes]:
    """Draw all plots: title -> SVG."""
    from sb3_il_plus.tables.amount_plots import draw_amounts
    from sb3_il_plus.tables.plots import draw_bars, draw_curves
    from sb3_il_plus.tables.score_plots import draw_intervals, draw_profiles

    draw_curves(table, folder.path / "learning_curves")
    draw_bars(table, folder.path / "bars")
    draw_intervals(table, folder.path / "intervals")
    draw_profiles(table, folder.path / "performance_profiles")
    drawn = dict(_PLOTS)
    if not draw_amounts(table, folder.path / "demonstrations_curve"):
        del drawn["demonstrations_curve"]
    return {title: (folder.path / f"{name}.svg").read_bytes() for name, title in drawn.items()}


def to_markdown(table: Table) -> str:
    """The table with its notes and where it comes from."""
    lines = [f"# {table.name}", ""]
    for section in table.sections:
        if len(table.sections) > 1:
            lines += [f"## {section.name}", ""]
        lines += [*_markdown_rows(section_block(section)), ""]
    lines += [f"- {note}" for note in notes(table)]
    for block in blocks(table)[len(table.sections) :]:
        lines += ["", f"## {block.title}", "", *_markdown_rows(block), ""]
        lines += [f"- {note}" for note in block.notes]
    if source := _source(table):
        lines += ["", f"Made by `{source[0]}` with {source[1]}."]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    r"""Each rectangle as a `tabular` for `\usepackage{booktabs}`."""
    lines = [f"% {table.name}; needs \\usepackage{{booktabs}}"]
    if source := _source(table):
        lines.append(f"% made by {source[0]} with {source[1]}")
    for block in blocks(table):
        lines += [
            "",
            f"% {block.title}",
            rf"\begin{{tabular}}{{l{'r' * (len(block.headers) - 1)}}}",
        ]
        lines += [r"\toprule", _latex_row(block.headers), r"\midrule"]
        lines += [_latex_row(row) for row in block.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def to_rich(table: Table) -> RenderableType:
    """The table for a terminal: its tasks, the scores where there are several, and claims."""
    from rich.console import Group

    shown = [_rich_section(section) for section in table.sections]
    if len(table.sections) > 1 and table.scores:
        block = scores_block(table)
        shown.append(_rich_block(block, f"{block.title} over {len(table.sections)} tasks"))
    if table.claims:
        shown.append(_rich_block(claims_block(table), "Claims"))
    return shown[0] if len(shown) == 1 else Group(*shown)


def _rich_section(section: Section) -> RichTable:
    from rich.markup import escape

    block = section_block(section)
    shown = _new_rich(section.name, block.headers)
    for row, texts in zip(section.rows, block.rows, strict=True):
        style = "red" if row.errors else "" if row.is_algorithm else "dim"
        texts = list(texts)
        if row.errors and not row.returns:
            texts[1] = "failed"
        shown.add_row(*map(escape, texts), style=style)
    return shown


def _rich_block(block: Block, title: str) -> RichTable:
    from rich.markup import escape

    shown = _new_rich(title, block.headers)
    for row in block.rows:
        shown.add_row(*map(escape, row))
    return shown


def _new_rich(title: str, headers: Sequence[str]) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    shown = RichTable(
        title=title, title_style="bold", box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for number, header in enumerate(headers):
        shown.add_column(_NARROW.get(header, header), justify="left" if number == 0 else "right")
    return shown


def _source(table: Table) -> tuple[str, str] | None:
    """The command and the versions that the last job ran with."""
    if not table.records:
        return None
    last = table.records[-1]
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
    return last["command"], versions


def _markdown_rows(block: Block) -> list[str]:
    rule = ["---"] + ["---:"] * (len(block.headers) - 1)
    return [_markdown_row(row) for row in (block.headers, rule, *block.rows)]


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _latex_row(texts: Sequence[str]) -> str:
    escaped = ("".join(_LATEX.get(letter, letter) for letter in text) for text in texts)
    return " & ".join(escaped) + r" \\"
