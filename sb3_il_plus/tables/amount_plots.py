"""The plot of a report that shows how many demonstrations a method needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_il_plus.tables.plots import draw_legend, draw_references, figure, look
from sb3_il_plus.tables.summary import Section, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AMOUNTS = frozenset({"n_episodes", "n_timesteps"})


def draw_amounts(table: Table, path: Path) -> bool:
    """Return after training against the episodes of demonstrations, a panel for each environment.

    :param path: without a suffix
    :return: whether there was something to draw: tasks that differ in nothing but the amount
    :raises FileError: it cannot be written
    """
    panels = _series(table)
    if not panels:
        return False
    with figure(path, 7.5, 0.7 + 3.8 * len(panels)) as drawn:
        grid = drawn.subplots(len(panels), squeeze=False)[:, 0]
        for panel, (title, sections) in zip(grid, panels.items(), strict=True):
            panel.set_title(title)
            draw_references(panel, sections[0])
            for name in table.algorithms:
                _draw_algorithm(panel, name, sections, table)
            amounts = [_n_episodes(section) for section in sections]
            panel.set_xscale("log")
            panel.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
            panel.minorticks_off()
            panel.set_ylabel("return after training")
        grid[-1].set_xlabel("episodes of demonstrations")
        drawn.suptitle(f"{table.name}: what demonstrations are worth")
        draw_legend(drawn, ["expert", "random", *table.algorithms])
    return True


def _draw_algorithm(panel: Axes, name: str, sections: list[Section], table: Table) -> None:
    rows = [
        (_n_episodes(section), row)
        for section in sections
        for row in section.rows
        if row.name == name and row.estimate is not None
    ]
    if not rows:
        return
    colour, style = look(name, table)
    amounts = [amount for amount, _ in rows]
    estimates = [row.estimate for _, row in rows if row.estimate is not None]
    means = [each.mean for each in estimates]
    widths = np.array([each.half_width or 0.0 for each in estimates])
    panel.errorbar(amounts, means, widths, fmt=style, color=colour, capsize=3, label=name)
    for amount, row in rows:
        panel.scatter([amount] * len(row.returns), row.returns, s=9, color=colour, alpha=0.5)


def _series(table: Table) -> dict[str, list[Section]]:
    """Title -> tasks from few demonstrations to many, that are alike in all else."""
    alike: dict[tuple[str, str], list[Section]] = {}
    for section in table.sections:
        if _n_episodes(section):
            rest = {k: v for k, v in section.source.items() if k not in _AMOUNTS}
            key = section.environment, json.dumps(rest, sort_keys=True)
            alike.setdefault(key, []).append(section)
    return {
        _title(sections[0], alike): sorted(sections, key=_n_episodes)
        for sections in alike.values()
        if len({_n_episodes(section) for section in sections}) > 1
    }


def _title(section: Section, alike: Mapping[tuple[str, str], Any]) -> str:
    """The environment, and where that does not say it all, what its demonstrations are like."""
    if sum(environment == section.environment for environment, _ in alike) == 1:
        return section.environment
    special = {**section.source, **section.source.get("corruption", {})}
    words = [
        str(special[key]) if key == "recipe" else f"{special[key]} {key.replace('_', ' ')}"
        for key in special
        if key == "recipe" or isinstance(special[key], float)
    ]
    return ", ".join([section.environment, *(words or ["plain"])])


def _n_episodes(section: Section) -> int:
    """Episodes of the task's demonstrations, as its trainings had them."""
    return max((row.demonstrations[0] for row in section.rows if row.demonstrations), default=0)
