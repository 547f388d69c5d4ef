"""Which algorithm handles which spaces: the page `docs/capabilities.md`, tried out cell by cell.

    python -m sb3_il_plus.testing.capabilities > docs/capabilities.md

Specs say what they handle, and the conformance kit is asked whether that is so: in each space that
is claimed, the algorithm is built, learns, predicts, and is saved and loaded; in each other one, it
is refused when it is built. If any cell turns out otherwise, it is named, and there is no page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from sb3_il_plus.catalog import BUILTIN
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.testing import prediction
from sb3_il_plus.testing.check import Check, ConformanceError
from sb3_il_plus.testing.kit import AlgorithmCheck
from sb3_il_plus.testing.task import Task

SPACES = {
    "observation": ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Image"),
    "action": ("Box", "Discrete", "MultiDiscrete", "MultiBinary"),
}
"""Role of a space -> the names of the spaces that the page has columns for."""

_INTRODUCTION = """\
# Which algorithm handles which spaces

<!-- Written by `python -m sb3_il_plus.testing.capabilities`, which tries out every cell. -->

In each space marked "yes", the algorithm was built, learned, predicted, and was saved and loaded
on the tiny task of the conformance kit. In each other one, it is refused when it is built, with the
reason that stands below. "Image" is what SB3's `CnnPolicy` reads: bytes from 0 to 255 with three
axes. A `Dict` may hold images, but for offline RL, which refuses those. The default policy and
generator were used; with another one (`policy_of=`, `generator=`), that algorithm's row counts as
well.
"""


def page(specs: Sequence[AlgorithmSpec] = BUILTIN) -> str:
    """The page, from what the specs claim: a table for each family and role of a space."""
    parts = [_INTRODUCTION]
    for role, names in SPACES.items():
        parts.append(f"## {role.capitalize()} spaces\n")
        for family in dict.fromkeys(spec.family for spec in specs):
            head = [family.replace("_", " "), *names]
            members = [spec for spec in specs if spec.family == family]
            rows = [[f"`{spec.name}`", *_answers(spec, role)] for spec in members]
            parts.append("\n".join(map(_row, [head, ["---"] * len(head), *rows])) + "\n")
    reasons = [f"- `{spec.name}`: {spec.limits}." for spec in specs if _refuses(spec)]
    return "\n".join([*parts, "## Why not\n", *reasons]) + "\n"


def contradictions(spec: AlgorithmSpec) -> Iterator[str]:
    """Try out every cell of an algorithm, and say which are not as its spec claims."""
    for role, names in SPACES.items():
        for name in names:
            try:
                AlgorithmCheck(_CHECKS[_handles(spec, role, name)], spec, {role: name})()
            except ConformanceError as error:
                yield str(error)


def _check_works(task: Task) -> None:
    """It works in the task's spaces."""
    prediction.expect_works(task)


def _check_refused(task: Task) -> None:
    """It is refused in the task's spaces."""
    where = f"{task.observation} observations and {task.action} actions"
    prediction.expect_refused(Task(task.spec, task.folder), task, where)


_CHECKS = {True: Check(_check_works), False: Check(_check_refused)}
"""Whether a space is claimed -> what is to be seen."""


def _handles(spec: AlgorithmSpec, role: str, name: str) -> bool:
    return name in getattr(spec, f"{role}_spaces")


def _answers(spec: AlgorithmSpec, role: str) -> list[str]:
    return ["yes" if _handles(spec, role, name) else "no" for name in SPACES[role]]


def _refuses(spec: AlgorithmSpec) -> bool:
    return any("no" in _answers(spec, role) for role in SPACES)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Print the page, or the cells that are not as claimed; returns the exit status."""
    found: list[str] = []
    for spec in BUILTIN:
        print(f"trying out {spec.name}", file=sys.stderr)
        found += contradictions(spec)
    if found:
        print(*found, sep="\n", file=sys.stderr)
        return 1
    print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
