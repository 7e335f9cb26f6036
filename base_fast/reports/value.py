"""Tables of a value network: how it orders the genotypes of the tasks that it was fitted to."""

from __future__ import annotations

from base_fast.objectives import rank_correlation
from base_fast.predictors import Database, ValueNetwork
from base_fast.reports.tables import ResultTable

MOST = 2000
"""Genotypes of a task whose order is compared: all pairs of them."""


def fit_table(network: ValueNetwork, database: Database) -> ResultTable:
    """Spearman's ρ of value and truth, task by task, on the rows of the fit."""
    rows = []
    for task, described in enumerate(database.tasks):
        own = database.rows(task)[:MOST]
        values = network.value(database.choices[own], described).double()
        rows.append((described.name, len(database.rows(task)), rank_correlation(values, database.worth[own]).spearman))
    notes = ("On the genotypes that it was fitted to; how it does on other tasks, a study of held-out ones says.",)
    return ResultTable("Value network", ("task", "genotypes", "Spearman's rho"), tuple(rows), notes)
