"""All problems at once: what is wrong is gathered, and said when everything was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sb3_il_plus.errors import DataError, UserError

_MOST_NAMED = 20
"""Problems that one message names."""


class Problems:
    """A list of problems that becomes one error."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, *problems: str) -> None:
        """Note problems, in the order in which they shall be named."""
        self._found += problems

    @contextmanager
    def gathering(self, kind: type[UserError] = DataError) -> Iterator[None]:
        """Note an error of this kind instead of raising it."""
        try:
            yield
        except kind as error:
            self.add(str(error))

    def raise_any(self, kind: type[UserError] = DataError) -> None:
        """End here if there are problems.

        :param kind: of the error
        :raises UserError: of that kind; names them, and how many more there are
        """
        if self._found:
            more = len(self._found) - _MOST_NAMED
            named = "; ".join(self._found[:_MOST_NAMED])
            raise kind(named + (f"; and {more:,} more" if more > 0 else ""))
