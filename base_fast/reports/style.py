"""The look that all figures share: colours, names of primitives, fonts.

Drawn for light paper; a dark page turns light and dark around. Hues follow Okabe and Ito, safe for the colour-blind.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from base_fast.errors import InputError
from base_fast.space.primitives import PRIMITIVES, in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

INK, MUTED, GRID, PAPER = "#1f2430", "#687080", "#dfe3e9", "#fefefe"

FAMILIES = {
    "separable": "#0072b2",
    "dilated": "#009e73",
    "convolution": "#5b56c9",
    "pool": "#d55e00",
    "skip": "#cc79a7",
    "none": "#9aa0a8",
    "other": "#a6761d",
}

_PRIMITIVES = {
    "none": "#9aa0a8",
    "skip_connect": "#cc79a7",
    "max_pool_3x3": "#d55e00",
    "avg_pool_3x3": "#e69f00",
    "sep_conv_3x3": "#56b4e9",
    "sep_conv_5x5": "#0072b2",
    "sep_conv_7x7": "#3f5fc0",
    "dil_conv_3x3": "#5fcfae",
    "dil_conv_5x5": "#009e73",
    "nor_conv_1x1": "#a8a4ee",
    "nor_conv_3x3": "#5b56c9",
    "conv_1x3_3x1": "#8c6bb1",
    "conv_7x1_1x7": "#6a3d9a",
}
_GROUPS = {"prior": "#0072b2", "derived": "#0072b2", "scratch": "#d55e00", "random": "#8a919c"}
_SPARE = (
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#5b56c9",
    "#56b4e9",
    "#a6761d",
    "#d55e00",
    "#0072b2",
    "#1f2430",
    "#a51d2d",
)

_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "figure.facecolor": PAPER,
    "svg.fonttype": "path",
    "svg.hashsalt": "base-fast",
}


def style() -> Any:
    """Context manager with the shared matplotlib settings; `InputError` where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise InputError("reports need matplotlib, which is not installed: pip install 'base-fast[report]'") from None
    return matplotlib.rc_context(_RC)


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function that draws one figure run under the shared settings."""

    @functools.wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return inner


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty figure of `width` × `height` inches that belongs to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def family(primitive: str) -> str:
    """The family that a primitive belongs to: a key of `FAMILIES`."""
    known = PRIMITIVES.get(primitive)
    return known.family if known else "other"


def primitive_colour(primitive: str) -> str:
    """A fixed colour per primitive; an unknown one gets a colour that depends on its name alone."""
    return _PRIMITIVES.get(primitive) or _SPARE[zlib.crc32(primitive.encode()) % len(_SPARE)]


def group_colours(groups: list[str]) -> dict[str, str]:
    """A colour per group of runs: fixed for prior, scratch and random, the next spare one for any other."""
    spare = iter(_SPARE * (len(groups) // len(_SPARE) + 1))
    return {group: _GROUPS.get(group) or next(spare) for group in groups}


def primitive_label(primitive: str) -> str:
    """`max_pool_3x3` as people write it: `max pool 3×3`. Names of a space that is no cell's are put in words, too."""
    known = PRIMITIVES.get(primitive)
    return known.label if known else in_words(primitive)


def short_label(primitive: str) -> str:
    """The shortest unambiguous form, for labels within a cell: `max 3×3`."""
    label = primitive_label(primitive)
    if label.startswith("conv") and label.count("×") > 1:
        return label.removeprefix("conv ")
    return label if label.startswith("conv") else label.replace(" conv", "").replace(" pool", "")


def reference_line(axes: Axes, value: float, text: str, right: bool = True) -> None:
    """A dashed horizontal line with its name above it, at the right or the left end."""
    axes.axhline(value, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.1, zorder=1.5)
    axes.annotate(
        text,
        (float(right), value),
        (-2 if right else 2, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right" if right else "left",
        va="bottom",
        color=MUTED,
        fontsize=8,
    )
