"""A front as picture, table and file of its genotypes."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np

from base_fast.experiments.front import Front
from base_fast.objectives import Quantity
from base_fast.reports.style import MUTED, new_figure, styled
from base_fast.reports.tables import ResultTable, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR = "#0072b2"


@styled
def front_figure(front: Front) -> Figure:
    """The first goal against each of the others: what was measured, and the front, as a staircase where there are two
    goals."""
    goals = front.quantities[: front.goals]
    figure = new_figure(6.4 if front.goals == 2 else 4.2 * (front.goals - 1), 3.8)
    panels = figure.subplots(1, front.goals - 1, squeeze=False)[0]
    points = np.array([point.values[: front.goals] for point in front.points])
    others = np.array(front.others).reshape(-1, front.goals)
    for i, axes in enumerate(panels, 1):
        axes.plot(others[:, i], others[:, 0], "o", color=MUTED, markersize=2.5, alpha=0.4, label="measured")
        if front.goals == 2:
            order = np.argsort(points[:, 1])
            # What a cost allows holds from there on: towards more of it where less is better.
            where = "post" if goals[1].better == "smaller" else "pre"
            axes.step(points[order, 1], points[order, 0], where=where, color=COLOUR, linewidth=1.2)
        axes.plot(points[:, i], points[:, 0], "o", color=COLOUR, markersize=4.5, label=f"front ({len(points)})")
        axes.set(xlabel=_title(goals[i]), ylabel=_title(goals[0]))
    panels[0].set_title(f"Front of {front.measured:,} genotypes")
    panels[0].legend(loc="best")
    return figure


def front_table(front: Front) -> ResultTable:
    """The genotypes of the front."""
    rows: list[tuple[Value, ...]] = [
        (number, *point.values, point.genotype) for number, point in enumerate(front.points, 1)
    ]
    at = ", ".join(
        f"{quantity.name} {value:.6g}"
        for quantity, value in zip(front.quantities[: front.goals], front.reference, strict=True)
    )
    notes = [f"Hypervolume {front.hypervolume:.6g}, from {at}.", f"Of {front.measured:,} genotypes."]
    if front.left_out:
        notes.append(f"{front.left_out:,} that connect nothing were left out.")
    return ResultTable("Front", ("", *map(_title, front.quantities), "genotype"), tuple(rows), (" ".join(notes),))


def front_csv(front: Front) -> bytes:
    """The same as CSV with a column `arch`, which `base-fast search` takes as a table."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("arch", *(quantity.name for quantity in front.quantities)))
    writer.writerows((point.genotype, *point.values) for point in front.points)
    return text.getvalue().encode()


def _title(quantity: Quantity) -> str:
    return f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name
