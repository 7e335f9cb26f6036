"""From strategies' scores on a benchmark's table to the table that a reader wants."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from base_fast.experiments.table_search import Scores
from base_fast.objectives import Table
from base_fast.reports.tables import ResultTable


def scores_table(scores: Sequence[Scores], table: Table, query: str, judge: str, queries: int) -> ResultTable:
    """Mean, its interval, and median rank of what each strategy found; arguments as of `compare_on_table`."""
    unit = next(quantity.unit for quantity in table.quantities if quantity.name == judge)
    rows = tuple(
        (
            one.strategy,
            f"{one.mean:.2f} ± {one.deviation:.2f}",
            f"{one.interval[0]:.2f} to {one.interval[1]:.2f}",
            f"{one.median_rank:g}",
            f"{fmean(found.genotypes for found in one.found):.0f}",
        )
        for one in scores
    )
    return ResultTable(
        f"{queries} queries of {query}, judged by {judge}",
        ("strategy", f"mean ± sd ({unit})", "95 % interval of the mean", "median rank", "genotypes"),
        rows,
        (
            f"Seeds: {len(scores[0].found)}. The genotype with the best {query} of those queried, and its rank by "
            f"{judge} among {len(table):,}. A repeated query counts; genotypes: how many were different, on average.",
        ),
    )
