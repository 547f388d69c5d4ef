"""What all plots of the package share: their look, and how a figure becomes files.

Colours are those of Okabe and Ito (2008), which people with colour blindness can tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_il_plus.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#595959"

_STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "sb3_il_plus",
}


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure that is written to `path`.png and .svg; no window, no global state.

    The same figure gives the same files, so an SVG holds no date and no random names.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn
        for form, metadata in (("png", {}), ("svg", {"Date": None})):
            with atomic_write(path.with_name(f"{path.name}.{form}")) as file:
                drawn.savefig(file, format=form, dpi=150, metadata=metadata)


def name_rows(panel: Axes, names: Sequence[str]) -> None:
    """Names from top to bottom in place of numbers on the vertical axis."""
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", length=0)
