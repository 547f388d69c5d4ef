"""The plots of a report that show returns: learning curves and a bar chart, as PNG and SVG.

Line styles differ as well as colours, so that the curves survive a black-and-white printer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_il_plus.plotting import COLOURS, GREY, figure, name_rows
from sb3_il_plus.tables.statistics import estimate
from sb3_il_plus.tables.summary import RANDOM, Curve, Row, Section, Table

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE_STYLES = ("-", "--", "-.", ":")
_FEWEST_FOR_BAND = 5
"""With fewer runs, an interval at each point says less than the runs themselves."""

_AXIS_LABELS = {"environment step": "environment steps", "gradient update": "gradient updates"}


def draw_curves(table: Table, path: Path) -> None:
    """Return against timesteps: a row for each task, a panel for each unit that is counted in it.

    :param path: without a suffix
    :raises FileError: it cannot be written
    """
    curves = [row.curve for row in table.rows if row.curve is not None]
    units = sorted({curve.timestep for curve in curves}) or [""]
    height = len(table.sections)
    with figure(path, 1.2 + 4.6 * len(units), 0.6 + 3.8 * height) as drawn:
        grid = drawn.subplots(height, len(units), sharey="row", squeeze=False)
        for panels, section in zip(grid, table.sections, strict=True):
            for panel, unit in zip(panels, units, strict=True):
                _draw_curves_panel(panel, section, unit, table)
            panels[0].set_ylabel("return in evaluation")
            panels[0].set_ylim(*_limits(section))
            if height > 1:
                panels[0].set_title(section.name)
        drawn.suptitle(f"{table.name}: learning curves")
        draw_legend(drawn, ["expert", "random", *table.algorithms])
        few = any(len(curve.returns) < _FEWEST_FOR_BAND for curve in curves)
        spread = "thin: single runs" if few else "band: 95 % t-interval"
        drawn.supxlabel(f"thick: mean of {_n_runs(table)}, {spread}", fontsize=9, color=GREY)


def draw_bars(table: Table, path: Path) -> None:
    """Final return of each algorithm, with each run as a dot and the expert as a line.

    :param path: without a suffix
    :raises FileError: it cannot be written
    """
    rows = [[row for row in section.rows if row.is_algorithm] for section in table.sections]
    heights = [1.2 + 0.5 * len(algorithms) for algorithms in rows]
    with figure(path, 7.5, 0.7 + sum(heights)) as drawn:
        panels = drawn.subplots(len(rows), squeeze=False, height_ratios=heights)[:, 0]
        for panel, section, algorithms in zip(panels, table.sections, rows, strict=True):
            for position, row in enumerate(algorithms):
                _draw_bar(panel, position, row, section, table)
            draw_references(panel, section, vertical=True)
            name_rows(panel, [row.name for row in algorithms])
            panel.set_xlim(*_limits(section))
            if len(rows) > 1:
                panel.set_title(section.name)
        panels[-1].set_xlabel(
            f"return after training: mean of {_n_runs(table)}, 95 % t-interval, runs as dots"
        )
        drawn.suptitle(f"{table.name}: final returns")
        draw_legend(drawn, ["expert", "random"])


def draw_legend(drawn: Figure, names: Sequence[str]) -> None:
    """One legend for all panels, with what is there of `names`, in their order."""
    labelled: dict[str, Artist] = {}
    for panel in drawn.axes:
        handles, labels = panel.get_legend_handles_labels()
        labelled.update(zip(labels, handles, strict=True))
    if shown := [labelled[name] for name in names if name in labelled]:
        drawn.legend(handles=shown, loc="outside right center")


def look(name: str, table: Table) -> tuple[str, str]:
    """Colour and line style of an algorithm, the same in every plot of its table."""
    number = table.algorithms.index(name)
    return COLOURS[number % len(COLOURS)], _LINE_STYLES[number % len(_LINE_STYLES)]


def draw_references(panel: Axes, section: Section, vertical: bool = False) -> None:
    """Lines for the returns of expert and random policy."""
    draw = panel.axvline if vertical else panel.axhline
    for name, value, style in (
        ("expert", section.expert_mean, (0, (6, 2))),
        ("random", section.mean_of(RANDOM), (0, (1, 2))),
    ):
        if value is not None:
            draw(value, color=GREY, linestyle=style, linewidth=1.5, label=name)


def _draw_curves_panel(panel: Axes, section: Section, unit: str, table: Table) -> None:
    from matplotlib.ticker import MaxNLocator

    draw_references(panel, section)
    for row in section.rows:
        if row.curve is not None and row.curve.timestep == unit:
            _draw_curve(panel, row, row.curve, table)
    panel.set_xlabel(_AXIS_LABELS.get(unit, unit))
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _draw_curve(panel: Axes, row: Row, curve: Curve, table: Table) -> None:
    colour, style = look(row.name, table)
    estimates = [estimate(column) for column in curve.returns.T]
    means = np.array([figures.mean for figures in estimates])
    panel.plot(curve.timesteps, means, style, color=colour, linewidth=2, label=row.name)
    if len(curve.returns) < _FEWEST_FOR_BAND:
        panel.plot(curve.timesteps, curve.returns.T, color=colour, linewidth=0.8, alpha=0.45)
        return
    widths = np.array([figures.half_width for figures in estimates], dtype=float)
    panel.fill_between(
        curve.timesteps, means - widths, means + widths, color=colour, alpha=0.15, linewidth=0
    )


def _draw_bar(panel: Axes, position: int, row: Row, section: Section, table: Table) -> None:
    figures = row.estimate
    if figures is None:
        text = "failed" if row.errors else "no runs"
        transform = panel.get_yaxis_transform()
        panel.text(0.01, position, text, va="center", color=GREY, transform=transform)
        return
    start = _limits(section)[0]
    colour, _ = look(row.name, table)
    panel.barh(position, figures.mean - start, left=start, height=0.6, color=colour, alpha=0.75)
    panel.errorbar(figures.mean, position, xerr=figures.half_width, color="black", capsize=4)
    offsets = np.linspace(-0.15, 0.15, len(row.returns)) if len(row.returns) > 1 else [0.0]
    panel.scatter(row.returns, position + np.array(offsets), s=14, color="black", zorder=3)


def _limits(section: Section) -> tuple[float, float]:
    """Range of the returns of all runs: an interval of few runs may be far wider than that."""
    values = [value for row in section.rows for value in row.returns]
    values += [
        v for row in section.rows if row.curve is not None for v in row.curve.returns.ravel()
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low or abs(high) or 1.0)
    return (0.0 if 0 <= low <= 0.5 * high else low - margin), high + margin


def _n_runs(table: Table) -> str:
    counts = sorted({len(row.returns) for row in table.rows if row.is_algorithm and row.returns})
    if counts == [1]:
        return "1 run"
    return f"{' or '.join(map(str, counts)) or 'no'} runs"
