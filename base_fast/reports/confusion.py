"""How a trained network did class by class: the confusion matrix, and tables of the classes and of what is confused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from base_fast.reports.style import INK, new_figure, styled
from base_fast.reports.tables import ResultTable
from base_fast.runs.artefacts import Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Classes up to which cells have their numbers, and rows their names.
NUMBERED, NAMED = 20, 60
LONGEST_NAME = 24


@styled
def draw_confusion(scored: Scored) -> Figure:
    """The images of each class (rows) by what they were taken for (columns), as shares of the row."""
    counts = np.array(scored.confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = len(counts)
    side = min(max(3.2, 0.42 * size), 9.0)
    figure = new_figure(side + 1.6, side + 1.2)
    axes = figure.subplots()
    axes.grid(False)
    axes.spines[:].set_visible(False)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=f"{scored.data}: {100 * scored.accuracy:.1f} % right", xlabel="taken for", ylabel="class")
    if size <= NAMED:
        names = [_short(one.name) for one in scored.classes]
        small = 8 if size <= 30 else 6
        axes.set_xticks(range(size), names, rotation=90 if size > 5 else 0, fontsize=small)
        axes.set_yticks(range(size), names, fontsize=small)
    if size <= NUMBERED:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[i, j] > 0.5 else INK
                axes.text(j, i, f"{count:.0f}", ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(picture, ax=axes, shrink=0.7, format=lambda value, _: f"{100 * value:.0f} %")
    bar.outline.set_visible(False)
    return figure


def class_table(scored: Scored, most: int = 30) -> ResultTable:
    """Accuracy of every class; with more than `most`, the worst ones."""
    numbered = list(enumerate(scored.classes))
    rest = len(numbered) - most
    if rest > 0:
        numbered = sorted(numbered, key=lambda item: (item[1].accuracy is None, item[1].accuracy))[:most]
    rows: list[tuple[str | int | float | None, ...]] = []
    for i, one in numbered:
        wrong = [(count, j) for j, count in enumerate(scored.confusion[i]) if j != i and count]
        count, j = max(wrong, key=lambda item: item[0], default=(0, 0))
        taken_for = f"{scored.classes[j].name} ({count})" if count else ""
        rows.append((one.name, one.images, "–" if one.accuracy is None else f"{100 * one.accuracy:.1f} %", taken_for))
    notes = (f"The {most} classes with the lowest accuracy; {rest} others are in the file.",) if rest > 0 else ()
    return ResultTable(
        f"Classes of {scored.data}", ("class", "images", "accuracy", "most often taken for"), tuple(rows), notes
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
