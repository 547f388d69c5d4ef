"""Plots of the measures: success by command, and which branch was taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_il_plus.conditional.measures import CommandEvaluation
from sb3_il_plus.errors import UserError
from sb3_il_plus.plotting import COLOURS, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_commands(
    evaluations: Mapping[str, CommandEvaluation],
    path: str | Path,
    names: Sequence[str] | None = None,
) -> None:
    """Draw success by command, and a confusion matrix for each agent, as PNG and SVG.

    :param evaluations: name of an agent -> what it reached
    :param path: without a suffix
    :param names: of the commands; None for their numbers
    :raises UserError: there is nothing to draw, or not one name for each command
    :raises FileError: it cannot be written
    """
    n_commands = {evaluation.given.shape[1] for evaluation in evaluations.values()}
    if len(n_commands) != 1 or n_commands == {0}:
        raise UserError(
            "evaluations must be of one environment, with commands that are choices; they have "
            f"{sorted(n_commands)} commands"
        )
    (number,) = n_commands
    names = [str(command) for command in range(number)] if names is None else list(names)
    if len(names) != number:
        raise UserError(f"names={names!r} must be {number}, one for each command")
    with figure(Path(path), 4.5 + 3.6 * len(evaluations), 4.0) as drawn:
        first, *others = drawn.subplots(
            1, 1 + len(evaluations), squeeze=False, width_ratios=[1.2] + [1] * len(evaluations)
        )[0]
        _draw_success(first, evaluations, names)
        for panel, (name, evaluation) in zip(others, evaluations.items(), strict=True):
            _draw_confusion(panel, name, evaluation, names)


def _draw_success(
    panel: Axes, evaluations: Mapping[str, CommandEvaluation], names: Sequence[str]
) -> None:
    width = 0.8 / len(evaluations)
    places = np.arange(len(names))
    for number, (name, evaluation) in enumerate(evaluations.items()):
        rates = 100 * np.nan_to_num(evaluation.success_per_command)
        shift = (number - (len(evaluations) - 1) / 2) * width
        colour = COLOURS[number % len(COLOURS)]
        panel.bar(places + shift, rates, 0.9 * width, color=colour, label=name)
    panel.set_xticks(places, names)
    panel.set_ylim(0, 100)
    panel.set_ylabel("episodes that succeed, %")
    panel.set_title("success by command")
    panel.grid(axis="x", visible=False)
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, -0.35), ncols=len(evaluations))


def _draw_confusion(
    panel: Axes, name: str, evaluation: CommandEvaluation, names: Sequence[str]
) -> None:
    counts = evaluation.confusion
    # What was never commanded, or carried out, at a junction takes no place.
    rows = np.flatnonzero(counts.sum(axis=1))
    columns = np.union1d(rows, np.flatnonzero(counts.sum(axis=0)))
    shown = counts[np.ix_(rows, columns)]
    shares = shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.5 else "black"
        panel.text(column, row, f"{shown[row, column]}", ha="center", va="center", color=colour)
    labels = [*names, "none"]
    panel.set_xticks(range(len(columns)), [labels[column] for column in columns])
    panel.set_yticks(range(len(rows)), [labels[row] for row in rows])
    panel.set_xlabel("taken")
    panel.set_ylabel("commanded")
    panel.set_title(name)
    panel.grid(visible=False)
