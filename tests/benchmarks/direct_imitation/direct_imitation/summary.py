"""The tables of one environment side by side, as Markdown: adapters beside the direct calls.

python -m direct_imitation.summary runs/pendulum-1 runs/pendulum-3 runs/pendulum-10
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import typer

from direct_imitation.__main__ import PAIRS

_DIRECT = "direct_"


@dataclass(frozen=True)
class Return:
    """Mean over runs and half the width of its 95 % interval."""

    mean: float
    half_width: float

    def reaches(self, other: Return) -> bool:
        """Whether it is as good as `other`, as far as the interval of their difference can tell."""
        return self.mean + math.hypot(self.half_width, other.half_width) >= other.mean

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.half_width:.1f}"


def read(folder: Path) -> tuple[int, dict[str, Return]]:
    """The number of demonstrated episodes, and the return of each algorithm that has runs."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    episodes = max(int(row["demonstration_episodes"] or 0) for row in rows)
    return episodes, {
        row["algorithm"]: Return(float(row["return_mean"]), float(row["return_ci95_half_width"]))
        for row in rows
        if row["return_mean"]
    }


def main(folders: list[Path]) -> None:
    """Print one Markdown table; an adapter that falls short of the direct call is marked."""
    tables = sorted((read(folder) for folder in folders), key=lambda table: table[0])
    heads = [f"{n} episode{'s' * (n > 1)}: adapter | direct" for n, _ in tables]
    typer.echo(f"| | {' | '.join(heads)} |")
    typer.echo("|---" * (1 + 2 * len(tables)) + "|")
    for name in ("expert", "random", *PAIRS):
        cells = [cell for _, table in tables for cell in _pair(table, name)]
        typer.echo(f"| `{name}` | {' | '.join(cells)} |")


def _pair(table: dict[str, Return], name: str) -> tuple[str, str]:
    ours, direct = table.get(name), table.get(_DIRECT + name)
    if ours is None or direct is None:
        return str(ours or ""), str(direct or "")
    return str(ours) + ("" if ours.reaches(direct) else " (short)"), str(direct)


if __name__ == "__main__":
    typer.run(main)
