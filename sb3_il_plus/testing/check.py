"""What a check is: a function of a `Task` with one question, and when the question applies.

`expect` is the assertion of the kit; unlike the statement it also works under `python -O` and
always says what came back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sb3_il_plus.spec import AlgorithmSpec

if TYPE_CHECKING:
    from sb3_il_plus.testing.task import Task


class ConformanceError(AssertionError):
    """An algorithm does not keep the contract; the message names it, the check and the result."""


def expect(condition: object, message: str) -> None:
    """Go on if `condition` is true.

    :param message: what came back and what was expected
    :raises ConformanceError: it is false
    """
    if not condition:
        raise ConformanceError(message)


@contextlib.contextmanager
def expect_error(kind: type[Exception], *words: str, doing: str) -> Iterator[None]:
    """Expect the block to raise an error of `kind` whose message holds one of `words`.

    :param doing: what the block does, for the message
    """
    try:
        yield
    except kind as error:
        if words and not any(word in str(error).lower() for word in words):
            raise ConformanceError(
                f"{doing} raised {type(error).__name__}: {error}; "
                f"the message should speak of {' or '.join(words)}"
            ) from error
    except Exception as error:
        raise ConformanceError(
            f"{doing} raised {type(error).__name__}: {error}; {kind.__name__} was expected"
        ) from error
    else:
        raise ConformanceError(f"{doing} was accepted; {kind.__name__} was expected")


def always(spec: AlgorithmSpec) -> bool:
    """Whether SB3's own algorithms keep this, too: it applies to all."""
    return True


def learns_from_demonstrator(spec: AlgorithmSpec) -> bool:
    """Whether it learns from what somebody shows or prefers, and so extends our base class."""
    return bool(spec.consumes & {"demonstrations", "expert"}) or spec.family == "preferences"


def reads_demonstrations(spec: AlgorithmSpec) -> bool:
    """Whether it cannot learn without demonstrations."""
    return "demonstrations" in spec.consumes


def needs_no_environment(spec: AlgorithmSpec) -> bool:
    """Whether it learns from data alone."""
    return "environment" not in spec.consumes


def acts_in_environment(spec: AlgorithmSpec) -> bool:
    """Whether it counts environment steps."""
    return spec.timestep == "environment step"


def observes_vectors(spec: AlgorithmSpec) -> bool:
    """Whether it observes what `VecNormalize` can normalise."""
    return "Box" in spec.observation_spaces


@dataclass(frozen=True)
class Check:
    """One question to an algorithm.

    :param function: asks it; raises `ConformanceError` (or anything) if the answer is wrong
    :param applies: whether the question makes sense for an algorithm, judged by its spec alone
    """

    function: Callable[[Task], None]
    applies: Callable[[AlgorithmSpec], bool] = always

    @property
    def name(self) -> str:
        """The function's name without `check_`."""
        return self.function.__name__.removeprefix("check_")
