"""The section of play-offs: which cells met, how probable they were before, and what they came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from base_fast.meta import PlayOffRecord
from base_fast.meta.play_off import Played, PlayedRound
from base_fast.reports.style import INK, MUTED, PAPER, new_figure, styled
from base_fast.reports.tables import ResultTable, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS = "alone_loss"
ROUNDS = ("#56b4e9", "#0072b2", "#d55e00", "#009e73", "#cc79a7")
LEAST = 1e-300  # a probability that is drawn on a logarithmic axis


def judged_by(record: PlayOffRecord) -> str:
    """What the cells are compared by: the loss after steps of their own where it was measured, else the evidence."""
    return LOSS if all(LOSS in one.measured for round_ in record.rounds for one in round_.cells) else "evidence"


def value_of(cell: Played, quantity: str) -> float:
    """The cell's evidence, or what was measured under a name."""
    return cell.evidence if quantity == "evidence" else cell.measured[quantity]


def in_words(quantity: str) -> str:
    """`alone_loss` as people write it."""
    return {LOSS: "validation loss, trained alone (nats)", "evidence": "evidence in the round (sd)"}.get(
        quantity, quantity.replace("_", " ")
    )


@styled
def play_offs(records: Mapping[str, PlayOffRecord]) -> Figure:
    """A panel for each play-off: probability of its cells before against what they came to, rounds by colour.

    A line joins what a cell came to in several rounds; a line across is the mean of a round's field.
    """
    columns = min(len(records), 3)
    lines = -(-len(records) // columns)
    figure = new_figure(4.1 * columns + (1.6 if columns == 1 else 0.0), 3.3 * lines + 0.4)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.flat[len(records) :]:
        axes.axis("off")
    for axes, (name, record) in zip(panels.flat, records.items(), strict=False):
        _panel(axes, record)
        axes.set_title(f"Play-off: {name}" if name else "Play-off")
    longest = max(records.values(), key=lambda record: len(record.rounds))
    handles, labels = _legend(longest.rounds)
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if columns == 1 else len(handles))
    return figure


def _panel(axes: Axes, record: PlayOffRecord) -> None:
    quantity = judged_by(record)
    ways: dict[str, list[tuple[float, float]]] = {}
    for number, one in enumerate(record.rounds):
        points = [(max(cell.probability, LEAST), value_of(cell, quantity)) for cell in one.cells]
        colour = ROUNDS[number % len(ROUNDS)]
        axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=5, markeredgecolor=PAPER, zorder=3)
        axes.axhline(fmean(y for _, y in points), color=colour, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1.5)
        for cell, point in zip(one.cells, points, strict=True):
            ways.setdefault(cell.genotype.compact(), []).append(point)
    for way in ways.values():
        axes.plot(*zip(*way, strict=True), color=MUTED, linewidth=0.7, alpha=0.6, zorder=2)
    x, y = max(record.rounds[-1].cells[0].probability, LEAST), value_of(record.rounds[-1].cells[0], quantity)
    axes.plot([x], [y], **_WINNER, zorder=4)
    axes.ticklabel_format(useOffset=False)
    probabilities = [x for way in ways.values() for x, _ in way]
    if max(probabilities) > 10 * min(probabilities):
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=4)
    axes.set(xlabel="probability before", ylabel=in_words(quantity))
    axes.margins(0.08)


_WINNER: dict[str, Any] = {
    "marker": "o",
    "markersize": 11,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 1.6,
    "linestyle": "none",
}


def _legend(rounds: Sequence[PlayedRound]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="o", linestyle="none", color=ROUNDS[i % len(ROUNDS)]) for i in range(len(rounds))]
    labels = [f"round {i}: {one.steps} step{'s' * (one.steps != 1)}" for i, one in enumerate(rounds, 1)]
    handles += [Line2D([], [], **_WINNER), Line2D([], [], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))]
    return handles, [*labels, "winner", "mean of a field"]


def play_off_table(records: Mapping[str, PlayOffRecord]) -> ResultTable:
    """Round by round, the winner beside what q(z) alone would have given: its most probable cell, and the mean."""
    quantities = {judged_by(record) for record in records.values()}
    rows: list[tuple[Value, ...]] = []
    for name, record in records.items():
        quantity = judged_by(record)
        for number, one in enumerate(record.rounds, 1):
            winner = next((cell for cell in one.cells if cell.genotype == record.winner), None)
            probable = max(one.cells, key=lambda cell: cell.probability)
            found, rank = None, None
            if winner is not None:
                found = value_of(winner, quantity)
                rank = 1 + sum(cell.probability > winner.probability for cell in one.cells)
            mean = fmean(value_of(cell, quantity) for cell in one.cells)
            rows.append((name, number, one.steps, len(one.cells), found, value_of(probable, quantity), mean, rank))
    columns = ("genotype", "round", "steps", "cells", "winner", "most probable", "mean", "winner's rank under q(z)")
    notes = (
        f"Compared by {', '.join(map(in_words, sorted(quantities)))}; within a round only, for the steps grow.",
        "Most probable: of the field's cells, under q(z) before. A winner without a value joined later, a neighbour.",
    )
    return ResultTable("Play-off", columns, tuple(rows), notes)


def field_table(name: str, record: PlayOffRecord) -> ResultTable:
    """Every round's cells, best first, with all that was measured; the winner is marked."""
    measured = list(record.rounds[0].cells[0].measured)
    rows: list[tuple[Value, ...]] = []
    for number, one in enumerate(record.rounds, 1):
        for place, cell in enumerate(one.cells, 1):
            mark = "winner" if cell.genotype == record.winner else ""
            values = [cell.measured.get(quantity) for quantity in measured]
            text = cell.genotype.compact()
            rows.append((number, place, mark, f"{cell.probability:.3g}", cell.evidence, *values, text))
    names = [quantity.replace("_", " ") for quantity in measured]
    columns = ("round", "place", "", "probability", "evidence", *names, "genotype")
    return ResultTable(f"Cells of the play-off: {name}", columns, tuple(rows))
