"""The figures of a report without rounding, as CSV, and all runs behind them, as Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from sb3_il_plus.tables.scores import Score, score
from sb3_il_plus.tables.statistics import Interval
from sb3_il_plus.tables.summary import Row, Section, Table

_ROW = (
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
    "task",
    "environment",
)
_PUBLISHED = (
    "published_return",
    "published_spread",
    "published_low",
    "published_high",
    "published_source",
)
_INTERVALS = ("mean", "mean_ci95_low", "mean_ci95_high", "iqm", "iqm_ci95_low", "iqm_ci95_high")

_CLAIM = (
    "claim",
    "source",
    "verdict",
    "comparison",
    "difference",
    "ci95_low",
    "ci95_high",
    "comparison_verdict",
    "runs",
)
_RUN = ("id", "kind", "label", "status", "error", "seconds", "command", "machine", "ended")
_SETTINGS = ("environment", "algorithm", "run", "seed", "n_envs")
_RESULT = (
    "mean_return",
    "returns",
    "lengths",
    "timestep",
    "timesteps",
    "environment_steps",
    "expert_queries",
    "training_seconds",
    "n_episodes",
    "n_transitions",
)
_AS_JSON = ("settings", "needs", "versions")


def to_csv(table: Table) -> str:
    """One line per task and row, with the score of its runs behind the rest."""
    headers = [*_ROW, *(f"score_{name}" for name in _INTERVALS), *_PUBLISHED]
    return _csv(headers, (_row(section, row) for section in table.sections for row in section.rows))


def scores_to_csv(table: Table) -> str:
    """One line per algorithm: its score over all tasks."""
    return _csv(
        ["algorithm", *_INTERVALS, "tasks", "runs"],
        ([s.name, *_intervals(s), len(s.tasks), s.n_runs] for s in table.scores),
    )


def improvement_to_csv(table: Table) -> str:
    """One line per pair of algorithms: how likely the first is better."""
    return _csv(
        ["algorithm", "baseline", "probability", "ci95_low", "ci95_high", "tasks"],
        (
            [pair.name, pair.baseline, *_ends(pair.probability), pair.n_tasks]
            for pair in table.improvements
        ),
    )


def claims_to_csv(table: Table) -> str:
    """One line per comparison that a claim rests on."""
    return _csv(
        _CLAIM,
        (
            [
                judgement.claim.statement,
                judgement.claim.source,
                judgement.verdict,
                str(finding.comparison),
                *([None] * 3 if finding.difference is None else _ends(finding.difference)),
                finding.verdict,
                finding.n_runs,
            ]
            for judgement in table.claims
            for finding in judgement.findings
        ),
    )


def to_parquet(table: Table) -> bytes | None:
    """One row per job that ended. What is nested is JSON; None where pyarrow is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return None
    rows = []
    for record in table.records:
        result = record.get("result", {})
        rows.append(
            {name: record.get(name) for name in _RUN}
            | {name: record["settings"].get(name) for name in _SETTINGS}
            | {name: result.get(name) for name in _RESULT}
            | {name: json.dumps(record.get(name)) for name in _AS_JSON}
            | {name: json.dumps(result.get(name)) for name in ("curve", "hyperparameters")}
        )
    written = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), written)
    return written.getvalue()


def _row(section: Section, row: Row) -> list[Any]:
    figures = row.estimate
    scores = section.scores(row)
    return [
        row.name,
        None if figures is None else figures.mean,
        None if figures is None else figures.half_width,
        section.share(row),
        row.environment_steps,
        *(row.demonstrations or (None, None)),
        row.expert_queries,
        row.seconds,
        len(row.returns),
        row.n_planned,
        "; ".join(row.errors),
        section.name,
        section.environment,
        *(
            [None] * len(_INTERVALS)
            if scores is None
            else _intervals(score(row.name, {section.name: scores}))
        ),
        *_published(section, row),
    ]


def _published(section: Section, row: Row) -> list[Any]:
    figure = section.published_return(row)
    if figure is None or section.theirs is None:
        return [None] * len(_PUBLISHED)
    ends = figure.interval or (None, None)
    return [figure.value, figure.spread, *ends, section.theirs.source]


def _intervals(found: Score) -> list[float | None]:
    return [*_ends(found.mean), *_ends(found.iqm)]


def _ends(interval: Interval) -> list[float | None]:
    return [interval.value, interval.low, interval.high]


def _csv(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return text.getvalue()
