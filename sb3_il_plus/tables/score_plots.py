"""The plots of a report that show scores over all tasks: intervals and performance profiles."""

from __future__ import annotations

from pathlib import Path

from sb3_il_plus.plotting import GREY, figure, name_rows
from sb3_il_plus.tables.plots import draw_legend, look
from sb3_il_plus.tables.scores import profiles
from sb3_il_plus.tables.statistics import Interval
from sb3_il_plus.tables.summary import Table

_SCALE = "score: random actions 0, expert 1"


def draw_intervals(table: Table, path: Path) -> None:
    """Mean and interquartile mean of each algorithm's score, with their intervals.

    :param path: without a suffix
    :raises FileError: it cannot be written
    """
    names = [score.name for score in table.scores]
    with figure(path, 9.0, 1.9 + 0.5 * len(names)) as drawn:
        panels = drawn.subplots(1, 2, sharey=True)
        for panel, title, intervals in (
            (panels[0], "mean", [score.mean for score in table.scores]),
            (panels[1], "interquartile mean", [score.iqm for score in table.scores]),
        ):
            panel.set_title(title)
            panel.use_sticky_edges = False
            name_rows(panel, names)
            panel.axvline(1.0, color=GREY, linestyle=(0, (6, 2)), linewidth=1.5)
            for position, (name, interval) in enumerate(zip(names, intervals, strict=True)):
                colour, _ = look(name, table)
                low, high = _ends(interval)
                panel.barh(position, high - low, left=low, height=0.6, color=colour, alpha=0.35)
                panel.plot([interval.value] * 2, [position - 0.3, position + 0.3], color=colour)
        drawn.suptitle(f"{table.name}: scores of {_runs_behind(table)}")
        drawn.supxlabel(f"{_SCALE}; bar: 95 % bootstrap interval", fontsize=9, color=GREY)


def draw_profiles(table: Table, path: Path) -> None:
    """The share of all runs that reach a score or more, against that score.

    :param path: without a suffix
    :raises FileError: it cannot be written
    """
    with figure(path, 7.5, 4.4) as drawn:
        panel = drawn.subplots()
        for name, profile in profiles(table.scores).items():
            colour, style = look(name, table)
            panel.plot(
                profile.thresholds, profile.shares, style, color=colour, linewidth=2, label=name
            )
            if profile.low is not None and profile.high is not None:
                panel.fill_between(
                    profile.thresholds,
                    profile.low,
                    profile.high,
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
        panel.set_xlabel(_SCALE)
        panel.set_ylabel("share of runs above it")
        panel.set_ylim(-0.02, 1.02)
        drawn.suptitle(f"{table.name}: performance profiles of {_runs_behind(table)}")
        drawn.supxlabel("band: pointwise 95 % bootstrap interval", fontsize=9, color=GREY)
        draw_legend(drawn, table.algorithms)


def _ends(interval: Interval) -> tuple[float, float]:
    if interval.low is None or interval.high is None:
        return interval.value, interval.value
    return interval.low, interval.high


def _runs_behind(table: Table) -> str:
    """`15 runs in 3 tasks`, or `9 to 15 runs ...` where algorithms differ."""
    counts = sorted({score.n_runs for score in table.scores}) or [0]
    runs = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    n_tasks = len(table.sections)
    return f"{runs} run{'' if runs == '1' else 's'} in {n_tasks} task{'' if n_tasks == 1 else 's'}"
