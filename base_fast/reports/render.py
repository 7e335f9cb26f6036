"""A figure as PNG bytes, or as SVG markup that takes its neutral colours from the page it stands in."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING

from base_fast.reports.style import GRID, INK, MUTED, PAPER, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
_THEME = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}


def png(figure: Figure) -> bytes:
    """The figure on its light background."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI)
    # Everything has its place now; to find it again for the SVG would take as long once more.
    figure.set_layout_engine("none")
    return buffer.getvalue()


def svg(figure: Figure, prefix: str, alt: str) -> str:
    """Inline SVG: no namespaces (HTML knows them), no metadata, ids of its own, neutral colours from CSS variables."""
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    # A hundredth of a point is enough, and six decimals are most of the file.
    text = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found.group()), text)
    # Ids are unique within a figure only; the page holds many figures. Those of groups are never referred to.
    text = re.sub(r'<g id="[^"]*"', "<g", text).replace("DejaVuSans-", "")
    for before in ('id="', "url(#", 'href="#'):
        text = text.replace(before, f"{before}{prefix}-")
    for colour, variable in _THEME.items():
        text = text.replace(colour, variable)
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert view_box is not None
    width = round(figure.get_size_inches()[0] * 96)
    opening = f'<svg {view_box.group()} role="img" aria-label="{html.escape(alt)}" style="max-width:{width}px">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1).strip()
