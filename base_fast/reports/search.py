"""The section of a search run: how good the best was when, which genotypes were found, which distribution is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from base_fast.reports.posterior import final_probabilities
from base_fast.reports.style import MUTED, new_figure, styled
from base_fast.reports.tables import ResultTable
from base_fast.space import from_dict_any
from base_fast.strategies import SearchRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 10


@styled
def best_so_far(record: SearchRecord) -> Figure:
    """What was measured of the goal, a dot each, and the best so far as a line."""
    goal = record.goal
    steps = [row["step"] for row in record.history]
    values = [row["values"][goal.name] for row in record.history]
    better = np.maximum if goal.better == "larger" else np.minimum
    figure = new_figure(7.4, 3.5)
    axes = figure.subplots()
    axes.plot(steps, values, "o", color=MUTED, markersize=3, alpha=0.6, label="measured")
    axes.step(steps, better.accumulate(values), where="post", color="#0072b2", linewidth=2, label="best so far")
    unit = f" ({goal.unit})" if goal.unit else ""
    axes.set(xlabel="step", ylabel=goal.name + unit)
    axes.set_title(f"{record.strategy}: {goal.name}, {goal.better} is better")
    axes.legend(loc="best")
    return figure


def marginals(record: SearchRecord) -> Figure:
    """Heatmap of the probability of each primitive on each edge, under the distribution that the search left."""
    space = from_dict_any(record.space)
    title = f"Distribution that {record.strategy} left: {record.entropy:.2f} nats"
    values = np.asarray(record.marginals, dtype=np.float64)
    return final_probabilities(values, list(space.edges), list(space.primitives), list(space.cell_types), title)


def best_table(record: SearchRecord) -> ResultTable:
    """The best genotypes that were measured, and where the search was then."""
    names = [f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name for quantity in record.quantities]
    rows = [
        (rank, row["step"], *(row["values"][quantity.name] for quantity in record.quantities), row["genotype"])
        for rank, row in enumerate(record.best(SHOWN), 1)
    ]
    spent = ", ".join(f"{count:,.0f} {unit}" for unit, count in record.spent.items())
    notes = (*record.notes, f"Spent: {spent}.", f"Most probable under the distribution: {record.mode}.")
    return ResultTable("Best genotypes", ("rank", "step", *names, "genotype"), tuple(rows), notes)
