"""Where a comparison's cells stand in a benchmark's table of all cells."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from base_fast.experiments.ground_truth import SAMPLES, TOP, Placed, Placements
from base_fast.reports.style import INK, PAPER, group_colours, new_figure, styled
from base_fast.reports.tables import ResultTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_WORDS = {
    "meta": "meta-learned prior, its mode",
    "prior": "adapted from the prior",
    "scratch": "searched from scratch",
    "random": "random genotype",
}
By = dict[str, list[Placed]]


def placement_tables(placements: Placements) -> list[ResultTable]:
    """A table for each column of the benchmark: derived cells, seed by seed, and cells sampled from what they were
    read off."""
    tables = []
    for column, ways in by_column(placements).items():
        rows = []
        for way, placed in ways.items():
            derived = [one.percentile for one in placed]
            means = [one.mean_percentile for one in placed if one.mean_percentile is not None]
            shares = [one.top_share for one in placed if one.top_share is not None]
            sampled = (f"{fmean(means):.1f}", f"{100 * fmean(shares):.1f} %") if means and shares else (None, None)
            rows.append((IN_WORDS[way], _listed(derived), f"{fmean(derived):.2f}", *sampled))
        notes = (
            "Percentile: share of strictly better cells of the table, 0 is the best; by seed, then the mean.",
            f"Sampled: {SAMPLES:,} cells of each q(z); of uniform ones the mean is 50, and {TOP:g} % are in the top.",
        )
        columns = ("", "percentile", "mean", "mean of sampled cells", f"sampled: in the top {TOP:g} %")
        title = f"Cells among the {placements.cells:,} of the table: {column}"
        tables.append(ResultTable(title, columns, tuple(rows), notes))
    return tables


@styled
def placement_figure(placements: Placements) -> Figure:
    """Percentile of derived cells, a dot each, and the mean of sampled cells, a bar each; a panel for each column."""
    columns = by_column(placements)
    ways = list(dict.fromkeys(way for found in columns.values() for way in found))
    figure = new_figure(max(4.2 * len(columns), 6.4), 0.5 * len(ways) + 1.35)
    panels = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    colours = group_colours(ways)
    for axes, (column, found) in zip(panels, columns.items(), strict=True):
        for way, placed in found.items():
            place = ways.index(way)
            axes.plot(
                [one.percentile for one in placed],
                [place] * len(placed),
                "o",
                color=colours[way],
                markersize=6,
                alpha=0.8,
                markeredgecolor=PAPER,
                zorder=3,
            )
            means = [one.mean_percentile for one in placed if one.mean_percentile is not None]
            axes.vlines(means, place - 0.28, place + 0.28, color=INK, linewidth=1.4)
        # Good cells are told apart, and bad ones have their place, too.
        axes.set_xscale("symlog", linthresh=1.0, linscale=0.6)
        axes.set_xlim(-0.08, 115)
        axes.set_xticks([0, 1, 10, 50, 100], ["0", "1", "10", "50", "100"])
        axes.minorticks_off()
        axes.axvline(50, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.5)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("better cells (%): dots derived, bars mean of sampled")
        axes.set_title(column)
    panels[0].set_yticks(range(len(ways)), [IN_WORDS[way] for way in ways])
    panels[0].set_ylim(len(ways) - 0.5, -0.5)
    return figure


def by_column(placements: Placements) -> dict[str, By]:
    """What was placed, by column and by way, seed by seed; ways in the order of `IN_WORDS`."""
    found: dict[str, By] = {}
    for one in placements.placed:
        way = one.name.partition("-")[0]
        found.setdefault(one.column, {way: [] for way in IN_WORDS}).setdefault(way, []).append(one)
    return {column: {way: placed for way, placed in ways.items() if placed} for column, ways in found.items()}


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
