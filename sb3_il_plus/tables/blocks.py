"""The texts of a report: headers, cells and notes, before they become Markdown or LaTeX.

Every figure comes from `summary`, which has it from the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sb3_il_plus.tables.published import PublishedReturn
from sb3_il_plus.tables.statistics import Interval
from sb3_il_plus.tables.summary import Row, Section, Table

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
PUBLISHED = "published return"
"""Header of the column of others' figures, where a section has some."""

_LONGEST_ERROR = 60

RETURN_NOTES = (
    "return: mean over runs of the mean return of a run's evaluation episodes, "
    "± 95 % t-interval over runs. A run is one training with its own seed; for expert and "
    "random it is one evaluation with its own seed.",
    "% of expert: share of the expert's return above that of random actions, "
    "(return - random) / (expert - random).",
    "demonstrations: episodes (transitions) given beforehand. expert queries: labels asked "
    "while learning. training s: seconds of a run on one thread, evaluations not counted.",
)
_SCORE_NOTES = (
    "score of a run: (return - random) / (expert - random), so that random actions have 0 and the "
    "expert has 1. mean: over tasks, of the mean over runs. IQM: interquartile mean, of the middle "
    "half of all runs. [95 % stratified bootstrap interval over runs; none for single runs]",
)
_CLAIM_NOTES = (
    "A claim is supported where each of its comparisons is seen: where the whole 95 % interval of "
    "the difference, left minus right, lies on the side where it is expected. It is not supported "
    "where the whole interval of one lies on the other side, and undecided otherwise. [95 % "
    "bootstrap interval over runs, each row's drawn by themselves] runs: on both sides together.",
)
_SEEN = {"supported": "yes", "not supported": "no", "undecided": "open"}
_IMPROVEMENT_NOTES = (
    "how likely a run of the row's algorithm is better than one of the column's in the same task, "
    "ties counted half; improvement.csv has the intervals.",
)


@dataclass(frozen=True)
class Block:
    """One rectangle of texts.

    :param headers: as many as each row has cells
    :param notes: what a reader must know of the figures, one sentence or two each
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def blocks(table: Table) -> list[Block]:
    """All rectangles of a report: each task's, then what holds over all of them."""
    found = [section_block(section) for section in table.sections]
    if table.claims:
        found.append(claims_block(table))
    if table.scores:
        found.append(scores_block(table))
    if table.improvements:
        found.append(_improvement_block(table))
    return found


def section_block(section: Section) -> Block:
    """One task: a row for each algorithm and for what it is compared with."""
    rows = [cells(section, row) for row in section.rows]
    notes = []
    if section.published is not None:
        random, expert = section.reference or (0.0, 0.0)
        notes.append(
            f"{section.name} is measured by D4RL's reference scores, {random:,.1f} for random "
            f"actions and {expert:,.1f} for the expert."
        )
    if section.theirs is not None:
        notes.append(f"{PUBLISHED} in {section.name}: not ours, but of {section.theirs.source}")
    return Block(section.name, _with_published(section, HEADERS, PUBLISHED), rows, notes)


def scores_block(table: Table) -> Block:
    """Each algorithm's score over all tasks."""
    headers = ("algorithm", "mean", "IQM", "tasks", "runs")
    n_tasks = len(table.sections)
    rows = [
        (
            score.name,
            _interval_cell(score.mean),
            _interval_cell(score.iqm),
            str(n) if (n := len(score.tasks)) == n_tasks else f"{n} of {n_tasks}",
            str(score.n_runs),
        )
        for score in table.scores
    ]
    return Block("Scores", headers, rows, _SCORE_NOTES)


def claims_block(table: Table) -> Block:
    """A row for each comparison that a claim rests on."""
    headers = ("claim", "verdict", "what is compared", "difference", "seen", "runs")
    rows = [
        (
            judgement.claim.statement,
            judgement.verdict,
            str(finding.comparison),
            "" if finding.difference is None else _interval_cell(finding.difference),
            _SEEN[finding.verdict],
            str(finding.n_runs),
        )
        for judgement in table.claims
        for finding in judgement.findings
    ]
    sources = [f"{each.claim.statement} ({each.claim.source})" for each in table.claims]
    return Block("Claims", headers, rows, [*_CLAIM_NOTES, *sources])


def notes(table: Table) -> list[str]:
    """What a reader must know of the tasks' figures, and which runs failed."""
    lines = list(RETURN_NOTES)
    for section in table.sections:
        lines += section_block(section).notes
    return lines + [f"{name} failed: {error}" for name, error in table.errors]


def cells(section: Section, row: Row) -> tuple[str, ...]:
    """The texts of one row, one for each header; empty where no run stands behind it."""
    share = section.share(row)
    own = (
        row.name,
        _return_cell(row),
        "" if share is None else f"{100 * share:.1f}",
        _count(row.environment_steps),
        _demonstrations_cell(row),
        _count(row.expert_queries),
        "" if row.seconds is None else f"{row.seconds:,.1f}",
        str(n) if (n := len(row.returns)) == row.n_planned else f"{n} of {row.n_planned}",
    )
    return _with_published(section, own, _published_cell(section.published_return(row)))


def _with_published(section: Section, texts: tuple[str, ...], published: str) -> tuple[str, ...]:
    """Put a text behind the return, where the section has others' figures."""
    return texts if section.theirs is None else (*texts[:2], published, *texts[2:])


def _improvement_block(table: Table) -> Block:
    found = {(pair.name, pair.baseline): pair for pair in table.improvements}
    names = [name for name in table.algorithms if any(name in pair for pair in found)]
    rows = [
        [name]
        + [
            f"{found[name, other].probability.value:.2f}" if (name, other) in found else ""
            for other in names
        ]
        for name in names
    ]
    return Block("Probability of improvement", ["", *names], rows, _IMPROVEMENT_NOTES)


def _interval_cell(interval: Interval) -> str:
    decimals = _decimals(interval.value)
    texts = [
        f"{figure:,.{decimals}f}"
        for figure in (interval.value, interval.low, interval.high)
        if figure is not None
    ]
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _decimals(value: float) -> int:
    return 1 if abs(value) >= 10 else 3


def _return_cell(row: Row) -> str:
    figures = row.estimate
    if figures is None:
        return _shortened(f"failed: {row.errors[0]}") if row.errors else ""
    return _with_spread(figures.mean, figures.half_width)


def _with_spread(value: float, spread: float | None) -> str:
    decimals = _decimals(value)
    if spread is None:
        return f"{value:,.{decimals}f}"
    return f"{value:,.{decimals}f} ± {spread:,.{decimals}f}"


def _published_cell(figure: PublishedReturn | None) -> str:
    if figure is None:
        return ""
    if figure.interval is None:
        return _with_spread(figure.value, figure.spread)
    low, high = figure.interval
    return f"{figure.value:,g} [{low:,g}, {high:,g}]"


def _demonstrations_cell(row: Row) -> str:
    if row.demonstrations is None:
        return ""
    episodes, transitions = row.demonstrations
    return f"{episodes:,} ({transitions:,})" if episodes else "0"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"
