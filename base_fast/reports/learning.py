"""Learning curves of searches, in a table's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from base_fast.experiments.findings import Point
from base_fast.experiments.strategy_comparison import ComparedStrategies
from base_fast.objectives import Quantity
from base_fast.reports.lines import band, over_runs
from base_fast.reports.scores import groups
from base_fast.reports.style import MUTED, group_colours, new_figure, reference_line, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def learning_curves(compared: ComparedStrategies, column: Quantity) -> Figure:
    """Value of the genotype that a search would choose (solid) and E_π (dotted) over its steps and queries."""
    units = list(dict.fromkeys(one.unit for one in compared.findings if one.curve))
    figure = new_figure(5.8 * max(len(units), 1), 4.3)
    panels = figure.subplots(1, max(len(units), 1), squeeze=False, sharey=True)[0]
    for axes, unit in zip(panels, units, strict=False):
        drawn = groups(one for one in compared.findings if one.unit == unit and len(one.curve) > 1)
        colours = group_colours([name for name, _ in drawn])
        for name, found in drawn:
            runs = [[_flat(point, column.name) for point in one.curve] for one in found]
            band(axes, runs, "value", color=colours[name], label=name)
            band(axes, runs, "expected", color=colours[name], linestyle=(0, (1, 1.5)), linewidth=1.1)
        seeds = max(len(found) for _, found in groups(compared.findings))
        _finish(axes, unit, seeds, compared.means.get(column.name))
    label = f"{column.name} ({column.unit})" if column.unit else column.name
    panels[0].set_ylabel(f"{label} in the table")
    return figure


def _finish(axes: Axes, unit: str, seeds: int, mean: float | None) -> None:
    if mean is not None:
        reference_line(axes, mean, "uniform")
    axes.set_xlabel(("queries" if unit == "query" else f"{unit}s") + over_runs(seeds))
    axes.set_title("Searches that ask" if unit == "query" else "Searches that train a supernet")
    if axes.get_legend_handles_labels()[0]:
        # Below: with ten curves there is no room among them.
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    else:
        axes.text(0.5, 0.5, "no curves", transform=axes.transAxes, ha="center", color=MUTED)


def _flat(point: Point, column: str) -> dict[str, Any]:
    row = {"step": point.step, "value": point.values[column]}
    return row | ({"expected": point.expected[column]} if column in point.expected else {})
