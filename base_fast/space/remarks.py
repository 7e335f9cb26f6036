"""What a reader should know of a genotype before training it: cells that compute little or nothing."""

from __future__ import annotations

from collections.abc import Collection

from base_fast.space.genotype import Genotype, Pair
from base_fast.space.primitives import PRIMITIVES
from base_fast.space.space import DARTS, NONE


def remarks(genotype: Genotype, cells: Collection[str] | None = None) -> list[str]:
    """Cells that are all skips or pools, cells that no path leads through, and nodes that lead nowhere.

    Args:
        genotype: one that `validate` accepts.
        cells: the cell types to look at; all unless given.
    """
    found = []
    for cell, pairs in genotype.cells.items():
        if pairs and (cells is None or cell in cells):
            name = "the cell" if genotype.keeps_all_edges else f"the {cell} cell"
            found += [f"{name} {remark}" for remark in _of_cell(genotype, pairs, genotype.concats[cell])]
    return found


def _of_cell(genotype: Genotype, pairs: tuple[Pair, ...], concat: tuple[int, ...]) -> list[str]:
    inputs = 1 if genotype.keeps_all_edges else DARTS.inputs
    edges: list[tuple[str, int, int]] = []  # primitive, predecessor, node
    node, left = inputs, inputs if genotype.keeps_all_edges else 2
    for primitive, predecessor in pairs:
        edges.append((primitive, predecessor, node))
        left -= 1
        if left == 0:
            node += 1
            left = node if genotype.keeps_all_edges else 2
    real = [edge for edge in edges if edge[0] != NONE]
    fed = set(range(inputs))
    for _, predecessor, end in real:  # nodes come in order
        if predecessor in fed:
            fed.add(end)
    used = set(concat)
    for _, predecessor, end in reversed(real):
        if end in used:
            used.add(predecessor)
    if not fed & set(concat):
        return ["is cut off: no path leads from its inputs to its output"]
    on_a_path = [primitive for primitive, predecessor, end in real if predecessor in fed and end in used]
    said = []
    families = {PRIMITIVES[primitive].family if primitive in PRIMITIVES else "other" for primitive in on_a_path}
    if families == {"skip"}:
        said.append("is all skip connections")
    elif families == {"pool"}:
        said.append("is all pools")
    elif families <= {"skip", "pool"}:
        said.append("is all pools and skip connections")
    idle = [end for end in range(inputs, node) if end not in used]
    if idle:
        nodes = "nodes that lead" if len(idle) > 1 else "a node that leads"
        said.append(f"has {nodes} nowhere: {', '.join(map(str, idle))}")
    return said
