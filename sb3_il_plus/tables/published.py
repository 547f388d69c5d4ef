"""`Published`: what others report, to stand beside a table's own figures and never among them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeFloat, model_validator

from sb3_il_plus.tables.records import Count, Record


class PublishedReturn(Record):
    """A mean return that others report.

    :param spread: what stands behind their ±; the source says whether it is a deviation
    :param interval: lower and upper end in place of a spread
    :param n_episodes: of demonstrations, where they tell several amounts; None for every amount
    """

    value: float
    spread: NonNegativeFloat | None = None
    interval: tuple[float, float] | None = None
    n_episodes: Count | None = None

    @model_validator(mode="after")
    def _around_value(self) -> PublishedReturn:
        if self.spread is not None and self.interval is not None:
            raise ValueError("give either a spread or an interval")
        if self.interval is not None and not self.interval[0] <= self.value <= self.interval[1]:
            raise ValueError(f"the interval {list(self.interval)} does not hold {self.value:g}")
        return self


def _several(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


class Published(Record):
    """What others report of an environment, to stand beside a table's own figures.

    :param source: who and where, how many runs there were, and what the spread is
    :param returns: row of the table -> what they report of it, once or for each amount
    """

    source: Annotated[str, Field(min_length=1)]
    returns: dict[str, Annotated[tuple[PublishedReturn, ...], BeforeValidator(_several)]]

    def of(self, row: str, n_episodes: int | None) -> PublishedReturn | None:
        """What they report of a row, learned from that many demonstrations."""
        fitting = (
            each for each in self.returns.get(row, ()) if each.n_episodes in (None, n_episodes)
        )
        return next(fitting, None)
