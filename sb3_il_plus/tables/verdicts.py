"""`judged`: whether the runs of a table support its claims.

A claim is supported where every comparison comes out as expected with its whole 95 % interval, not
supported where one of them comes out otherwise with its whole interval, and undecided between: the
interval reaches to both sides, or too few runs finished to have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sb3_il_plus.tables.claim_jobs import measured_row, tasks_of_term
from sb3_il_plus.tables.claims import Claim, Comparison, Expectation, Term
from sb3_il_plus.tables.measures import MEASURES
from sb3_il_plus.tables.runs import FINISHED
from sb3_il_plus.tables.statistics import Interval, signed_sum
from sb3_il_plus.tables.summary import MEASUREMENT, Row, Section, Table

Verdict = Literal["supported", "not supported", "undecided"]

Measured = dict[tuple[str, str], list[float]]
"""Task and `measured_row` -> a figure per run."""


@dataclass(frozen=True)
class Finding:
    """What came out of one comparison.

    :param difference: left minus right, over seeds; None where a side has no runs
    :param n_runs: behind it, on both sides
    """

    comparison: Comparison
    difference: Interval | None
    n_runs: int

    @property
    def verdict(self) -> Verdict:
        """Whether it came out as expected."""
        return verdict_of(self.comparison.expect, self.difference)


@dataclass(frozen=True)
class Judgement:
    """A claim and what the runs say of it."""

    claim: Claim
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Verdict:
        """That of all comparisons together."""
        found = {finding.verdict for finding in self.findings}
        if "not supported" in found:
            return "not supported"
        return "undecided" if "undecided" in found else "supported"


def judged(table: Table, claims: Sequence[Claim]) -> Table:
    """The table with a judgement of every claim.

    :param claims: of its specification
    """
    measured: Measured = {}
    for record in table.records:
        if record["kind"] == MEASUREMENT and record["status"] == FINISHED:
            for task, row in record["cells"]:
                measured.setdefault((task, row), []).append(record["result"]["value"])
    tasks = {section.name: section for section in table.sections}
    found = [
        Judgement(claim, [_compare(each, tasks, measured) for each in claim.comparisons])
        for claim in claims
    ]
    return replace(table, claims=found)


def verdict_of(expect: Expectation, difference: Interval | None) -> Verdict:
    """Whether a difference is where it was expected, with its whole interval.

    "not above" is the opposite of "above": it is supported where the interval does not go beyond
    0, so a difference that is exactly 0 in all runs is neither above nor below.
    """
    if difference is None or difference.low is None or difference.high is None:
        return "undecided"
    low, high = difference.low, difference.high
    if expect in ("below", "not below"):
        low, high = -high, -low
    if low > 0:
        above = True
    elif high <= 0:
        above = False
    else:
        return "undecided"
    return "supported" if above == (expect in ("above", "below")) else "not supported"


def _compare(comparison: Comparison, tasks: Mapping[str, Section], measured: Measured) -> Finding:
    terms = list(comparison.terms())
    samples = [_figures(comparison, term, tasks, measured) for term in terms]
    n_runs = sum(map(len, samples))
    if not all(map(len, samples)):
        return Finding(comparison, None, n_runs)
    signs = [term.sign for term in terms]
    return Finding(comparison, signed_sum(samples, signs, comparison.offset), n_runs)


def _figures(
    comparison: Comparison, term: Term, tasks: Mapping[str, Section], measured: Measured
) -> np.ndarray:
    """A row's figure in each run, shape (runs,); empty where there is none."""
    looked_at = [tasks[name] for name in tasks_of_term(term.tasks, list(tasks))]
    section = looked_at[0]
    if comparison.quantity in MEASURES:
        cell = section.name, measured_row(comparison.quantity, term.row)
        return np.array(measured.get(cell, []))
    if comparison.quantity == "demonstrations needed":
        return _demonstrations_needed(looked_at, term.row, comparison.threshold)
    row = _row(section, term.row)
    if row is None:
        return np.array([])
    if comparison.quantity == "learning curve":
        return np.array([]) if row.curve is None else row.curve.returns.mean(axis=1)
    if comparison.quantity == "score":
        scores = section.scores(row)
        return np.array([]) if scores is None else scores
    return np.array(row.returns)


def _demonstrations_needed(sections: Sequence[Section], name: str, threshold: float) -> np.ndarray:
    """Fewest episodes with which a run reached a score, shape (runs,).

    A run that never did counts with the most that was tried, which understates what it needs.
    """
    found = []
    for section in sections:
        row = _row(section, name)
        scores = None if row is None else section.scores(row)
        if row is None or row.demonstrations is None or scores is None:
            return np.array([])
        found.append((row.demonstrations[0], scores))
    found.sort(key=lambda each: each[0])
    amounts = np.array([amount for amount, _ in found])
    if len({len(scores) for _, scores in found}) > 1:
        return np.array([])  # runs failed: the others cannot be told apart
    reached = np.stack([scores >= threshold for _, scores in found])
    reached[-1] = True
    needed: np.ndarray = amounts[reached.argmax(axis=0)].astype(np.float64)
    return needed


def _row(section: Section, name: str) -> Row | None:
    return next((row for row in section.rows if row.name == name), None)
