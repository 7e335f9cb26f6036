"""Figures of a posterior over its steps: the edges' probabilities, how decided they are, how far the weights moved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from base_fast.errors import InputError
from base_fast.reports.contents import Row
from base_fast.reports.lines import band, over_runs, thin
from base_fast.reports.style import (
    INK,
    MUTED,
    group_colours,
    new_figure,
    primitive_colour,
    primitive_label,
    reference_line,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Edges = Sequence[tuple[int, int]]
Groups = Mapping[str, Sequence[Sequence[Row]]]

_CELL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def probabilities(rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps (S,) and probabilities (S, T, E, L) of the rows that recorded them; empty arrays where none did."""
    found = [(row["step"], row["probabilities"]) for row in rows if row.get("probabilities") is not None]
    if not found:
        return np.empty(0), np.empty((0, 0, 0, 0))
    steps, values = zip(*found, strict=True)
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 4:
        raise InputError("metrics: probabilities must be (cell types, edges, primitives) and of one shape in all rows")
    return np.asarray(steps, dtype=np.float64), array


@styled
def edge_probabilities(
    steps: NDArray[np.float64], values: NDArray[np.float64], edges: Edges, primitives: Sequence[str], title: str = ""
) -> Figure:
    """Small multiples, one per edge: `values` (S, E, L) over `steps`. A row is a node, a column a predecessor."""
    nodes = sorted({node for _, node in edges})
    predecessors = sorted({predecessor for predecessor, _ in edges})
    figure = new_figure(max(1.95 * len(predecessors) + 0.4, 6.0), 1.42 * len(nodes) + 0.9)
    grid = figure.add_gridspec(len(nodes), len(predecessors))
    keep = thin(len(steps), 60)
    top = float(np.nanmax(values)) * 1.08
    first: Axes | None = None
    for index, (predecessor, node) in enumerate(edges):
        place = grid[nodes.index(node), predecessors.index(predecessor)]
        axes = figure.add_subplot(place, sharex=first, sharey=first)
        first = first or axes
        # The most probable primitive is drawn last, over the others.
        for choice in np.argsort(values[-1, index]):
            colour = primitive_colour(primitives[choice])
            strong = choice == values[-1, index].argmax()
            axes.plot(steps[keep], values[keep, index, choice], color=colour, linewidth=2.0 if strong else 1.2)
        axes.axhline(1 / len(primitives), color=MUTED, linestyle=(0, (1, 2)), linewidth=0.8)
        axes.set_title(f"{predecessor} → {node}", pad=3)
        axes.set_ylim(0, min(top, 1.02))
        axes.tick_params(labelleft=predecessor == predecessors[0], labelbottom=node == nodes[-1])
        axes.locator_params(axis="x", nbins=3)
        axes.locator_params(axis="y", nbins=4)
        if node == nodes[-1]:
            axes.set_xlabel("step")
    _legend_of_primitives(figure, primitives, beside=len(nodes) > 2)
    figure.supylabel("probability", fontsize=9)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _legend_of_primitives(figure: Figure, primitives: Sequence[str], beside: bool) -> None:
    """In the upper right corner, which a triangle of panels leaves free, or below the panels."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=primitive_colour(name), linewidth=2.5) for name in primitives]
    lines.append(Line2D([], [], color=MUTED, linewidth=1, linestyle=(0, (1, 2))))
    labels = [*map(primitive_label, primitives), "uniform"]
    if beside:
        figure.legend(lines, labels, loc="upper right", bbox_to_anchor=(0.995, 0.985), ncols=2)
    else:
        figure.legend(lines, labels, loc="outside lower center", ncols=min(5, len(labels)))


@styled
def final_probabilities(
    values: NDArray[np.float64], edges: Edges, primitives: Sequence[str], cell_types: Sequence[str], title: str = ""
) -> Figure:
    """A heatmap E × L per cell type of `values` (T, E, L); the largest of each edge is framed."""
    from matplotlib.patches import Rectangle

    cells, count, choices = values.shape
    figure = new_figure(0.62 * choices * cells + 1.4, 0.27 * count + 1.6)
    panels = figure.subplots(1, cells, squeeze=False, sharey=True)[0]
    top = max(float(np.nanmax(values)), 1e-9)
    image: Any = None
    for cell, axes in enumerate(panels):
        image = axes.pcolormesh(values[cell], cmap="cividis", vmin=0, vmax=top, edgecolors="none")
        axes.set_title(f"{cell_types[cell] if cell < len(cell_types) else cell} cell")
        axes.set_xticks(np.arange(choices) + 0.5, [primitive_label(p) for p in primitives], rotation=40, ha="right")
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
        axes.set_yticks(np.arange(count) + 0.5, [f"{p} → {node}" for p, node in edges])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        for edge in range(count):
            for choice in range(choices):
                p = values[cell, edge, choice]
                colour = "#111111" if p > 0.55 * top else "#ffffff"
                text = f"{p:.2f}".removeprefix("0") if p < 0.995 else "1"
                axes.text(choice + 0.5, edge + 0.5, text, ha="center", va="center", fontsize=7, color=colour)
            best = int(values[cell, edge].argmax())
            frame = Rectangle((best + 0.06, edge + 0.08), 0.88, 0.84, fill=False, edgecolor="#ff5a36", linewidth=1.4)
            axes.add_patch(frame)
    panels[0].invert_yaxis()
    bar = figure.colorbar(image, ax=list(panels), aspect=30, pad=0.015)
    bar.outline.set_visible(False)
    bar.set_label("probability")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


@styled
def entropy(groups: Groups, cell_types: Sequence[str], choices: int) -> Figure:
    """Mean entropy of an edge's choice, per cell type, over steps; `choices` primitives could give at most ln of it."""
    figure = new_figure(5.6, 3.3)
    axes = figure.subplots()
    styles = ("solid", (0, (4, 1.5)), (0, (1, 1.2)))
    several = len(groups) > 1
    for g, (group, runs) in enumerate(groups.items()):
        look: dict[str, Any] = {"linestyle": styles[g % len(styles)]}
        for i, cell in enumerate(cell_types):
            label = f"{group}, {cell}" if several else cell
            colour = _CELL_COLOURS[i % len(_CELL_COLOURS)]
            band(axes, runs, f"entropy.{cell}", color=colour, label=label, **look)
    reference_line(axes, math.log(choices), f"ln {choices}: nothing decided")
    axes.margins(y=0.12)
    axes.set(xlabel="step" + over_runs(max(map(len, groups.values()))), ylabel="entropy per edge (nats)")
    axes.set_title("Entropy of the choice")
    axes.legend(loc="best")
    return figure


@styled
def shares(groups: Groups) -> Figure:
    """Mean probability of `none` and of skip, and the largest probability of any edge, over steps."""
    figure = new_figure(5.6, 3.3)
    axes = figure.subplots()
    runs = [rows for group in groups.values() for rows in group]
    for key, label, colour in (
        ("max_probability", "largest", INK),
        ("none", "none (mean)", primitive_colour("none")),
        ("skip", "skip (mean)", primitive_colour("skip_connect")),
    ):
        band(axes, runs, key, color=colour, label=label)
    axes.set(xlabel="step" + over_runs(len(runs)), ylabel="probability")
    axes.set_ylim(bottom=0)
    axes.set_title("Largest probability, share of none and skip")
    axes.legend(loc="best")
    return figure


@styled
def movement(groups: Groups) -> Figure:
    """How far the weights' posterior moved: means in units of the initial sigma, and the drift of log sigma."""
    figure = new_figure(5.6, 3.3)
    top, bottom = figure.subplots(2, 1, sharex=True)
    runs = [rows for group in groups.values() for rows in group]
    colours = group_colours(["means", "sigma"])
    band(top, runs, "mu_moved", color=colours["means"])
    band(bottom, runs, "sigma_drift", color=colours["sigma"])
    bottom.axhline(0, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    top.set_title("Movement of the means, in initial σ (root mean square)")
    bottom.set_title("Drift of σ: mean ln σ/σ₀")
    bottom.set_xlabel("step" + over_runs(len(runs)))
    return figure
