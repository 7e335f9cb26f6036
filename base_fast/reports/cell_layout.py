"""Where everything in the picture of a cell goes: pure geometry, in inches.

A layered drawing. Column 0 holds the inputs, column d the nodes whose longest way from an input has d edges, the last
column the output. Every edge ends in a *chip* (its label) that stands immediately before its node, so that labels have
places of their own and cannot meet. A value that is needed further right than the next column travels through the
columns between in a *lane*, one per value. Wires bend only between columns, where nothing else stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

ROW, LANE, SPACE = 0.33, 0.2, 0.14
CHIP, CHIP_TO_NODE, NODE, GAP, INPUT, OUTPUT = 0.66, 0.17, 0.27, 0.5, 0.66, 0.3
PITCH = CHIP + CHIP_TO_NODE + NODE + GAP

Pair = tuple[str, int]


@dataclass
class Item:
    """Something with a height in a column: an input, a node with its chips, a lane, or the output.

    `source` is the number of the node whose value leaves here; `chips` are (primitive, predecessor).
    """

    kind: str
    source: int
    chips: list[Pair] = field(default_factory=list)
    y: float = 0.0

    @property
    def height(self) -> float:
        return {"input": ROW + 0.12, "lane": LANE, "output": 0.0}.get(self.kind, 0.0) or len(self.chips) * ROW + SPACE


@dataclass
class CellLayout:
    """Placed columns; `wires` are (column, item it leaves, item it enters, chip index or -1)."""

    columns: list[list[Item]]
    wires: list[tuple[int, Item, Item, int]]

    @property
    def width(self) -> float:
        return self.column_x(len(self.columns) - 1) + OUTPUT

    def column_x(self, column: int) -> float:
        """Left side of a column."""
        return 0.0 if column == 0 else INPUT + GAP + (column - 1) * PITCH

    @property
    def extent(self) -> tuple[float, float]:
        """Lowest and highest y that anything reaches."""
        items = [item for column in self.columns for item in column]
        return min(i.y - i.height / 2 for i in items), max(i.y + i.height / 2 for i in items)


def split_nodes(pairs: Sequence[Pair], inputs: int, arity: int | None) -> list[list[Pair]]:
    """The pairs of each node in turn: `arity` of them, or, for None, one from every earlier node."""
    nodes: list[list[Pair]] = []
    rest = list(pairs)
    while rest:
        count = inputs + len(nodes) if arity is None else arity
        nodes.append(rest[:count])
        rest = rest[count:]
    return nodes


def chip_y(item: Item, index: int) -> float:
    """Height of the middle of a chip; the first chip stands on top."""
    return item.y + ((len(item.chips) - 1) / 2 - index) * ROW


def lay_out(nodes: Sequence[Sequence[Pair]], inputs: int, concat: Sequence[int]) -> CellLayout:
    """Place a cell whose i-th node takes the pairs `nodes[i]` and whose output joins the values `concat`."""
    depth = {i: 0 for i in range(inputs)}
    for number, pairs in enumerate(nodes, inputs):
        depth[number] = 1 + max(depth[predecessor] for _, predecessor in pairs)
    last = max(depth.values()) + 1
    # How far right each value is needed.
    reach = {number: last if number in concat else 0 for number in depth}
    for number, pairs in enumerate(nodes, inputs):
        for _, predecessor in pairs:
            reach[predecessor] = max(reach[predecessor], depth[number])

    columns: list[list[Item]] = [[] for _ in range(last + 1)]
    for number, own in depth.items():
        node = Item("node", number, list(nodes[number - inputs])) if number >= inputs else Item("input", number)
        columns[own].append(node)
        for column in range(own + 1, reach[number]):
            columns[column].append(Item("lane", number))
    columns[last] = [Item("output", -1, [("", number) for number in concat])]

    best = None
    for _ in range(12):
        for sweep in (range(1, last + 1), range(last - 1, -1, -1)):
            for column in sweep:
                _order(columns, column, forwards=sweep.step > 0)
        for items in columns:
            _stack(items)
        _sort_chips(columns)
        score = _score(columns)
        if best is None or score < best[0]:
            best = score, [list(items) for items in columns]
    assert best is not None
    columns = best[1]
    _improve(columns)
    _straighten(columns)
    return CellLayout(columns, _wires(columns))


def _wires(columns: list[list[Item]]) -> list[tuple[int, Item, Item, int]]:
    wires = []
    for column in range(len(columns) - 1):
        leaving = {item.source: item for item in columns[column]}
        for item in columns[column + 1]:
            if item.kind == "lane":
                wires.append((column, leaving[item.source], item, -1))
            else:
                wires += [(column, leaving[source], item, i) for i, (_, source) in enumerate(item.chips)]
    return wires


def _stack(items: list[Item]) -> None:
    """Items from top to bottom without gaps, around height 0."""
    top = sum(item.height for item in items) / 2
    for item in items:
        item.y = top - item.height / 2
        top -= item.height


def _neighbours(columns: list[list[Item]], column: int, forwards: bool) -> dict[int, list[float]]:
    """For each item (by position) the heights of what it is wired to on the left (forwards) or on the right."""
    found: dict[int, list[float]] = {i: [] for i in range(len(columns[column]))}
    position = {id(item): i for i, item in enumerate(columns[column])}
    for start, left, right, chip in _wires(columns):
        if forwards and start == column - 1:
            found[position[id(right)]].append(left.y)
        elif not forwards and start == column:
            found[position[id(left)]].append(chip_y(right, chip) if chip >= 0 else right.y)
    return found


def _order(columns: list[list[Item]], column: int, forwards: bool) -> None:
    """Barycentre rule: sort a column by the mean height of its neighbours."""
    items = columns[column]
    ends = _neighbours(columns, column, forwards)
    mean = {id(item): sum(ends[i]) / len(ends[i]) if ends[i] else item.y for i, item in enumerate(items)}
    items.sort(key=lambda item: -mean[id(item)])
    _stack(items)
    _sort_chips(columns)


def _sort_chips(columns: list[list[Item]]) -> None:
    """Within a node the chip with the higher source stands higher."""
    for before, items in pairwise(columns):
        height = {item.source: item.y for item in before}
        for item in items:
            item.chips.sort(key=lambda pair: (-height[pair[1]], pair[0]))


def _score(columns: list[list[Item]]) -> tuple[int, float]:
    """Crossings, then length of the wires' rise and fall: both should be small."""
    crossings, length = 0, 0.0
    by_column: dict[int, list[tuple[float, float]]] = {}
    for column, left, right, chip in _wires(columns):
        by_column.setdefault(column, []).append((left.y, chip_y(right, chip) if chip >= 0 else right.y))
    for ends in by_column.values():
        for i, (left_y, right_y) in enumerate(ends):
            length += abs(left_y - right_y)
            crossings += sum((left_y - a) * (right_y - b) < -1e-9 for a, b in ends[:i])
    return crossings, round(length, 6)


def _improve(columns: list[list[Item]]) -> None:
    """Swap pairs within a column as long as that helps."""
    score, improved = _score(columns), True
    while improved:
        improved = False
        for items in columns[:-1]:
            for i in range(len(items)):
                for j in range(i):
                    items[i], items[j] = items[j], items[i]
                    _stack(items)
                    _sort_chips(columns)
                    new = _score(columns)
                    if new < score:
                        score, improved = new, True
                        continue
                    items[i], items[j] = items[j], items[i]
                    _stack(items)
                    _sort_chips(columns)


def _straighten(columns: list[list[Item]]) -> None:
    """Move items, in their order and without overlap, towards their neighbours, so that wires run level."""
    for _ in range(6):
        for forwards in (True, False):
            for column, items in enumerate(columns):
                ends = _neighbours(columns, column, forwards)
                wanted = [sum(ends[i]) / len(ends[i]) if ends[i] else item.y for i, item in enumerate(items)]
                for item, y in zip(items, _place(wanted, [item.height for item in items]), strict=True):
                    item.y = y


def _place(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Least-squares heights, from top to bottom, that keep neighbours apart (isotonic regression by pooling)."""
    offsets = [0.0]
    for above, below in pairwise(heights):
        offsets.append(offsets[-1] + (above + below) / 2)
    pools: list[list[float]] = []  # [mean, count]: means must fall from top to bottom
    for y, offset in zip(wanted, offsets, strict=True):
        pools.append([y + offset, 1])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            mean, count = pools.pop()
            total = pools[-1][1] + count
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * count) / total, total]
    level = [mean for mean, count in pools for _ in range(int(count))]
    return [y - offset for y, offset in zip(level, offsets, strict=True)]
