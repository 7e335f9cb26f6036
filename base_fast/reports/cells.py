"""Draw the cells of a genotype as graphs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from base_fast.errors import InputError
from base_fast.reports.cell_layout import (
    CHIP,
    CHIP_TO_NODE,
    INPUT,
    NODE,
    OUTPUT,
    ROW,
    CellLayout,
    Item,
    chip_y,
    lay_out,
    split_nodes,
)
from base_fast.reports.style import FAMILIES, INK, MUTED, PAPER, family, new_figure, short_label, styled
from base_fast.space import Genotype

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDEST = 13.5
_MARGIN, _BETWEEN, _TITLE, _LEGEND = 0.12, 0.55, 0.34, 0.36


def cell_layouts(genotype: Genotype) -> dict[str, CellLayout]:
    """The placed cells {"normal": ..., "reduce": ...}; an empty cell is left out.

    Two inputs and two pairs per node (DARTS), unless the genotype keeps all edges (NAS-Bench-201): then one input, and
    a pair from every earlier node; or is a recurrent cell: then one input, and one pair.

    Raises:
        InputError: there is nothing to draw, or a node takes pairs or predecessors that it cannot have.
    """
    if not genotype.normal:
        raise InputError("genotype: no pairs in its normal cell; expected some for each node")
    inputs, arity = (1, 1) if genotype.is_recurrent else (1, None) if genotype.keeps_all_edges else (2, 2)
    layouts = {}
    for cell, pairs in genotype.cells.items():
        if not pairs:
            continue
        groups = split_nodes(pairs, inputs, arity)
        if arity is not None and len(groups[-1]) != arity:
            raise InputError(f"genotype: {cell} has {len(pairs)} pairs, expected {arity} per node")
        for number, group in enumerate(groups, inputs):
            if not all(0 <= p < number for _, p in group):
                raise InputError(f"genotype: node {number} of {cell} takes a node that does not come before it")
        last = inputs + len(groups) - 1
        concat = genotype.concats[cell]
        if not all(0 <= number <= last for number in concat):
            raise InputError(f"genotype: {cell}_concat names a node that the cell lacks (it ends with node {last})")
        layouts[cell] = lay_out(groups, inputs, concat or [last])
    return layouts


@styled
def draw_genotype(genotype: Genotype, title: str = "", cells: Collection[str] | None = None) -> Figure:
    """The cells of a genotype, normal left and reduction right (below, where that would be too wide); those of the
    types `cells` alone, where they are given."""
    layouts = {cell: layout for cell, layout in cell_layouts(genotype).items() if cells is None or cell in cells}
    sizes = [(layout.width, layout.extent[1] - layout.extent[0]) for layout in layouts.values()]
    wide = sum(width for width, _ in sizes) + _BETWEEN * (len(sizes) - 1) + 2 * _MARGIN
    stacked = wide > _WIDEST
    head = _MARGIN + (0.3 if title else 0.0)
    if stacked:
        width = max(width for width, _ in sizes) + 2 * _MARGIN
        height = head + sum(height + _TITLE for _, height in sizes) + _LEGEND + 0.15
    else:
        width = max(wide, 5.2)
        height = head + _TITLE + max(height for _, height in sizes) + _LEGEND
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    if title:
        axes.text(_MARGIN, height - _MARGIN, title, va="top", fontsize=11, fontweight="bold")

    x, top = _MARGIN, height - head
    row = max(size[1] for size in sizes)
    for (name, layout), (cell_width, cell_height) in zip(layouts.items(), sizes, strict=True):
        label = "cell" if genotype.keeps_all_edges or genotype.is_recurrent else f"{name} cell"
        axes.text(x, top, label, va="top", fontsize=9.5, color=MUTED, fontweight="bold")
        space = 0.0 if stacked else (row - cell_height) / 2
        _draw_cell(axes, layout, x, top - _TITLE - space - layout.extent[1])
        if stacked:
            top -= cell_height + _TITLE + 0.15
        else:
            x += cell_width + _BETWEEN
    _draw_legend(axes, layouts)
    return figure


def _draw_cell(axes: Axes, layout: CellLayout, x0: float, y0: float) -> None:
    """One cell with its left side at `x0` and height 0 of the layout at `y0`."""
    for column, left, right, chip in layout.wires:
        start = x0 + layout.column_x(column) + _right_side(left)
        end = x0 + layout.column_x(column + 1)
        y_end = right.y if chip < 0 else chip_y(right, chip)
        if right.kind == "node":
            kind = family(right.chips[chip][0])
            dashes: Any = (0, (1, 1.5)) if kind == "none" else "solid"
            _wire(axes, start, y0 + left.y, end, y0 + y_end, FAMILIES[kind], 1.5, dashes)
        elif right.kind == "output":
            y_end = _port(right, chip)
            _wire(axes, start, y0 + left.y, end, y0 + y_end, MUTED, 1.0, (0, (4, 2.5)))
        else:
            output_only = _feeds_output_only(layout, column + 1, right)
            _wire(axes, start, y0 + left.y, end, y0 + y_end, MUTED, 1.0, (0, (4, 2.5)) if output_only else "solid")
    for column, items in enumerate(layout.columns):
        for item in items:
            _draw_item(axes, layout, column, item, x0 + layout.column_x(column), y0 + item.y, y0)


def _right_side(item: Item) -> float:
    return INPUT if item.kind == "input" else CHIP + CHIP_TO_NODE + NODE


def _port(output: Item, index: int) -> float:
    return output.y + ((len(output.chips) - 1) / 2 - index) * 0.15


def _feeds_output_only(layout: CellLayout, column: int, lane: Item) -> bool:
    """Whether everything that a lane carries on to is the output: then it is dashed, as the way to the output is."""
    following = [right for start, left, right, _ in layout.wires if start == column and left is lane]
    return all(
        r.kind == "output" or (r.kind == "lane" and _feeds_output_only(layout, column + 1, r)) for r in following
    )


def _wire(axes: Axes, x0: float, y0: float, x1: float, y1: float, colour: str, width: float, dashes: Any) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    bend = (x1 - x0) * 0.55
    path = Path([(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)], [Path.MOVETO, *[Path.CURVE4] * 3])
    axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, linewidth=width, linestyle=dashes, zorder=2))


def _box(axes: Axes, x: float, y: float, width: float, height: float, **look: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    rounding = min(width, height) / 2 - 1e-3 if look.pop("round", False) else 0.06
    style = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(FancyBboxPatch((x, y - height / 2), width, height, boxstyle=style, zorder=3, **look))


def _draw_item(axes: Axes, layout: CellLayout, column: int, item: Item, x: float, y: float, y0: float) -> None:
    from matplotlib.patches import Circle

    if item.kind == "input":
        inputs = len(layout.columns[0])
        name = "input" if inputs == 1 else f"$c_{{k-{inputs - item.source}}}$"
        _box(axes, x, y, INPUT, 0.29, facecolor=PAPER, edgecolor=INK, linewidth=1.2)
        axes.text(x + INPUT / 2, y, f"{item.source}  {name}", ha="center", va="center", fontsize=8.5, zorder=4)
    elif item.kind == "lane":
        output_only = _feeds_output_only(layout, column, item)
        dashes: Any = (0, (4, 2.5)) if output_only else "solid"
        axes.plot([x, x + _right_side(item)], [y, y], color=MUTED, linewidth=1.0, linestyle=dashes, zorder=2)
    elif item.kind == "node":
        centre = x + CHIP + CHIP_TO_NODE + NODE / 2
        for index, (primitive, _) in enumerate(item.chips):
            at, kind = y0 + chip_y(item, index), family(primitive)
            _wire(axes, x + CHIP, at, centre - NODE / 2 + 0.02, y, FAMILIES[kind], 1.5, "solid")
            _box(axes, x, at, CHIP, ROW * 0.7, facecolor=PAPER, edgecolor="none", round=True)
            _box(axes, x, at, CHIP, ROW * 0.7, facecolor=FAMILIES[kind] + "2b", edgecolor=FAMILIES[kind], round=True)
            axes.text(
                x + CHIP / 2, at, short_label(primitive), ha="center", va="center_baseline", fontsize=7.5, zorder=4
            )
        axes.add_patch(Circle((centre, y), NODE / 2, facecolor=PAPER, edgecolor=INK, linewidth=1.2, zorder=3))
        axes.text(centre, y, str(item.source), ha="center", va="center_baseline", fontsize=8.5, zorder=4)
    else:
        height = max(0.75, len(item.chips) * 0.15 + 0.12)
        _box(axes, x, y, OUTPUT, height, facecolor=PAPER, edgecolor=INK, linewidth=1.2)
        axes.text(x + OUTPUT / 2, y, "output", ha="center", va="center", fontsize=8.5, rotation=90, zorder=4)


def _draw_legend(axes: Axes, layouts: Mapping[str, CellLayout]) -> None:
    """The families that occur, and what a dashed line means."""
    chips = (c for cell in layouts.values() for items in cell.columns[:-1] for item in items for c, _ in item.chips)
    present = {family(primitive) for primitive in chips}
    x = _MARGIN
    for name, colour in FAMILIES.items():
        if name in present:
            _box(axes, x, 0.17, 0.2, 0.13, facecolor=colour, edgecolor="none", round=True)
            axes.text(x + 0.27, 0.17, name, va="center_baseline", fontsize=8, color=MUTED)
            x += 0.45 + 0.072 * len(name)
    axes.plot([x, x + 0.28], [0.17, 0.17], color=MUTED, linewidth=1.0, linestyle=(0, (4, 2.5)))
    axes.text(x + 0.35, 0.17, "joined in the output", va="center_baseline", fontsize=8, color=MUTED)
