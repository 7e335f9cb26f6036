"""The section of a collection: random cells by accuracy and cost, and their spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from base_fast.objectives import Table
from base_fast.predictors import Database
from base_fast.reports.style import new_figure, styled
from base_fast.reports.tables import ResultTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@styled
def accuracy_by_cost(table: Table) -> Figure:
    """A dot for each cell: accuracy against multiply-adds."""
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    axes.plot(_column(table, "macs") / 1e6, _column(table, "accuracy"), "o", color="#0072b2", markersize=5, alpha=0.7)
    axes.set(xlabel="multiply-adds (millions)", ylabel="accuracy (%)")
    axes.set_title(f"{len(table)} random cells of {table.space.name}")
    return figure


def collection_table(table: Table) -> ResultTable:
    """Mean, spread and range of what was measured."""
    rows = []
    for quantity in table.quantities:
        values = _column(table, quantity.name)
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        name = f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name
        low, middle, high = (float(np.quantile(values, share)) for share in (0.0, 0.5, 1.0))
        rows.append((name, float(values.mean()), spread, low, middle, high))
    notes = (f"{len(table)} random cells of {table.space.name}, trained alike; sd: between cells.",)
    return ResultTable("Random cells", ("", "mean", "sd", "least", "median", "most"), tuple(rows), notes)


def tasks_table(database: Database) -> ResultTable:
    """Mean, spread and range of every task's values."""
    rows = []
    for task, described in enumerate(database.tasks):
        values = database.values[database.rows(task)].numpy()
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        low, middle, high = (float(np.quantile(values, share)) for share in (0.0, 0.5, 1.0))
        rows.append((described.name, len(values), float(values.mean()), spread, low, middle, high))
    quantity = database.quantity
    name = f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name
    notes = (f"{name} of random cells of {database.space.name}, trained alike; sd: between cells.",)
    return ResultTable("Tasks", ("task", "cells", "mean", "sd", "least", "median", "most"), tuple(rows), notes)


def _column(table: Table, name: str) -> NDArray[np.float64]:
    names = [quantity.name for quantity in table.quantities]
    column: NDArray[np.float64] = table.values[:, names.index(name)].numpy()
    return column
