"""`Claim`: a statement of a text, and what of a table decides whether it holds.

    claims:
      - statement: DAgger removes covariate shift.
        source: Ross, Gordon and Bagnell 2011, section 3
        comparisons:
          - {quantity: covariate shift, left: {row: dagger}, expect: below, right: {row: bc}}

It holds values only, as `specification` does. Whether tasks and rows exist is asked in
`claim_jobs`, which also plans what is to be measured for it; `verdicts` judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from sb3_il_plus.tables.records import Record

Quantity = Literal[
    "return",
    "score",
    "learning curve",
    "demonstrations needed",
    "covariate shift",
    "regret growth",
    "copied mistakes",
]
"""What can be compared. The first four come from a table's runs; `measures` has the others."""

Expectation = Literal["above", "below", "not above", "not below"]


class Term(NamedTuple):
    """One of the figures that are added up to a difference.

    :param sign: 1 or -1
    :param tasks: where a claim's row is looked at; empty for the table's only task
    """

    sign: int
    row: str
    tasks: tuple[str, ...]


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Side(Record):
    """What stands on one side of a comparison: a row's figure, or a number.

    :param row: of the table, `expert` and `random` among them
    :param task: where; several for `demonstrations needed`. None for the comparison's
    :param minus: task whose figure of the same row is subtracted: what changed from there to `task`
    :param value: a number in place of a row
    """

    row: str | None = None
    task: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    minus: str | None = None
    value: float | None = None

    @model_validator(mode="after")
    def _one_figure(self) -> Side:
        if (self.row is None) == (self.value is None):
            raise ValueError("give either a row or a value")
        return self


class Comparison(Record):
    """What must be so for a claim to hold: the left side lies where it is expected.

    :param quantity: what is compared, larger or smaller
    :param left: of the difference left - right
    :param expect: where the left side lies, seen from the right one
    :param task: of sides that name none; not needed where a table has only one
    :param threshold: score that counts as learned, for `demonstrations needed`
    """

    quantity: Quantity
    left: Side
    expect: Expectation
    right: Side
    task: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    threshold: float = 0.9

    @model_validator(mode="after")
    def _several_tasks_only_to_choose_from(self) -> Comparison:
        several = any(len(term.tasks) > 1 for term in self.terms())
        if several != (self.quantity == "demonstrations needed"):
            raise ValueError(
                "'demonstrations needed' is looked for in several tasks, which differ in their "
                "number of episodes; every other quantity is of a single one"
            )
        return self

    @property
    def offset(self) -> float:
        """The numbers on both sides, left minus right."""
        return (self.left.value or 0.0) - (self.right.value or 0.0)

    def terms(self) -> Iterator[Term]:
        """The figures of rows, whose sum with `offset` is the difference."""
        for sign, side in ((1, self.left), (-1, self.right)):
            if side.row is None:
                continue
            yield Term(sign, side.row, side.task or self.task)
            if side.minus is not None:
                yield Term(-sign, side.row, (side.minus,))

    def __str__(self) -> str:
        sides = [_words(side) for side in (self.left, self.right)]
        where = f" in {' / '.join(self.task)}" if self.task else ""
        reached = (
            f" (for a score of {self.threshold:g})"
            if self.quantity == "demonstrations needed"
            else ""
        )
        return f"{self.quantity}{reached}: {sides[0]} {self.expect} {sides[1]}{where}"


class Claim(Record):
    """A statement that a table is asked about.

    :param statement: in one sentence
    :param source: paper and section
    :param comparisons: all must hold
    """

    statement: str
    source: str
    comparisons: tuple[Comparison, ...] = Field(min_length=1)


def _words(side: Side) -> str:
    if side.row is None:
        return f"{side.value:g}"
    where = f" in {' / '.join(side.task)}" if side.task else ""
    return f"{side.row}{where}" + (f" minus that in {side.minus}" if side.minus else "")
