"""A figure as PNG bytes, or as SVG that a page can hold."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from base_fast.reports.style import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120


def png(figure: Figure) -> bytes:
    """The figure on its light background."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI)
    # Everything has its place now; to find it again for the SVG would take as long once more.
    figure.set_layout_engine("none")
    return buffer.getvalue()


def svg_uri(figure: Figure) -> str:
    """The figure as SVG on a transparent background, in a data URI."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
