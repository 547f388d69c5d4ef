"""Plots of the diagnostics, several agents side by side, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sb3_il_plus.diagnostics.agreement import Agreement
from sb3_il_plus.diagnostics.calibration import Calibration
from sb3_il_plus.diagnostics.compounding import CompoundingError
from sb3_il_plus.diagnostics.shift import CovariateShift
from sb3_il_plus.errors import UserError
from sb3_il_plus.plotting import COLOURS, GREY, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Found = TypeVar("Found")


def plot_shift(found: Mapping[str, CovariateShift], path: str | Path) -> None:
    """Distance to the expert's states along an episode.

    :param found: name of an agent -> what was measured, as in all of these functions
    :param path: without a suffix
    :raises UserError: there is nothing to draw
    :raises FileError: it cannot be written
    """

    def draw(panel: Axes, name: str, shift: CovariateShift, colour: str) -> None:
        panel.plot(shift.steps, shift.distances, color=colour, linewidth=2, label=name)

    def floor(panel: Axes) -> None:
        first = next(iter(found.values()))
        style: Any = {"color": GREY, "linestyle": ":", "label": "expert against itself"}
        panel.plot(first.steps, first.floor, **style)
        panel.set_ylim(bottom=0)

    _draw(found, path, ("step of the episode", "distance to the expert's states"), draw, floor)


def plot_compounding_error(found: Mapping[str, CompoundingError], path: str | Path) -> None:
    """Regret against the horizon, with its exponents; see `plot_shift`."""

    def draw(panel: Axes, name: str, error: CompoundingError, colour: str) -> None:
        label = f"{name}: exponent {error.exponent:.2f}"
        panel.plot(error.steps, error.regret, color=colour, linewidth=2, label=label)
        panel.fill_between(
            error.steps, error.low, error.high, color=colour, alpha=0.15, linewidth=0
        )

    _draw(found, path, ("steps", "return lost to the expert"), draw)


def plot_agreement(found: Mapping[str, Agreement], path: str | Path) -> None:
    """Share of equal actions along an episode; see `plot_shift`."""

    def draw(panel: Axes, name: str, agreement: Agreement, colour: str) -> None:
        panel.plot(agreement.steps, agreement.shares, color=colour, linewidth=2, label=name)

    def whole(panel: Axes) -> None:
        panel.set_ylim(-0.02, 1.02)

    _draw(found, path, ("step of the episode", "share of equal actions"), draw, whole)


def plot_calibration(found: Mapping[str, Calibration], path: str | Path) -> None:
    """How often a discriminator is right that says so; see `plot_shift`."""

    def draw(panel: Axes, name: str, calibration: Calibration, colour: str) -> None:
        sizes = 20 + 400 * calibration.weights
        panel.plot(calibration.probabilities, calibration.frequencies, color=colour, label=name)
        panel.scatter(
            calibration.probabilities, calibration.frequencies, sizes, color=colour, alpha=0.6
        )

    def diagonal(panel: Axes) -> None:
        panel.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="calibrated")

    axes = ("probability of being the expert's", "share that is the expert's")
    _draw(found, path, axes, draw, diagonal)


def _draw(
    found: Mapping[str, Found],
    path: str | Path,
    axes: tuple[str, str],
    draw: Callable[[Axes, str, Found, str], None],
    finish: Callable[[Axes], None] = lambda panel: None,
) -> None:
    if not found:
        raise UserError("there is nothing to draw: give at least one agent")
    with figure(Path(path), 7.0, 4.2) as drawn:
        panel = drawn.subplots()
        for number, (name, each) in enumerate(found.items()):
            draw(panel, name, each, COLOURS[number % len(COLOURS)])
        finish(panel)
        panel.set_xlabel(axes[0])
        panel.set_ylabel(axes[1])
        panel.legend()
