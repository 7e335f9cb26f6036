"""Genotypes that grow: from one in which nothing is decided, a part at a time, all of them genotypes of the space."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from base_fast.space.choices import Choices, configurations
from base_fast.space.space import NONE, SKIP, Space
from base_fast.space.stack import AnySpace, Stack


class Stage(NamedTuple):
    """What is decided at once: edges of a cell (its number), and the choices (C, edges) that they can have."""

    cell: int
    edges: tuple[int, ...]
    options: Choices


def undecided(space: AnySpace) -> Choices:
    """(T, E): the smallest genotype, from which all grow.

    A stack has its first block in all layers. Where a node keeps some edges only, it keeps the first ones, with skip
    connections on them. Where all edges are kept, the inputs lead to the output by skip connections and nothing else is
    there. (Without skip connections it is the first primitive that is something.)
    """
    if isinstance(space, Stack):
        return np.zeros((1, space.num_edges), dtype=np.int64)
    none = space.primitives.index(NONE)
    present = space.primitives.index(SKIP) if SKIP in space.primitives else int(none == 0)
    cell = np.full(space.num_edges, none, dtype=np.int64)
    for edge, (predecessor, node) in enumerate(space.edges):
        if predecessor < space.arity if space.arity is not None else _direct(predecessor, node, space):
            cell[edge] = present
    return np.tile(cell, (len(space.cell_types), 1))


@lru_cache(maxsize=16)
def stages(space: AnySpace) -> tuple[Stage, ...]:
    """In which order parts are decided, cell types in turn.

    A stack grows layer by layer. Where a node keeps some edges only, cells grow node by node. Where all edges are kept,
    first the edges from the inputs to the output are decided, then node by node those that join it to what is there.
    """
    cells = range(len(space.cell_types))
    if isinstance(space, Stack) or space.arity is not None:
        return tuple(Stage(t, tuple(edges), options) for edges, options in configurations(space) for t in cells)
    parts = [[edge for edge, (a, b) in enumerate(space.edges) if _direct(a, b, space)]]
    there = {*range(space.inputs), *space.concat}
    for new in (node for node in space.node_numbers if node not in space.concat):
        there.add(new)
        parts.append([edge for edge, pair in enumerate(space.edges) if new in pair and set(pair) <= there])
    choices = [np.array(list(product(range(space.num_primitives), repeat=len(part)))) for part in parts]
    return tuple(Stage(t, tuple(part), options) for part, options in zip(parts, choices, strict=True) for t in cells)


def extensions(choices: Choices, stage: Stage) -> Choices:
    """(n, T, E) → (n · C, T, E): each of them with each option of a stage, the one that it has included."""
    grown = np.repeat(choices, len(stage.options), axis=0)
    grown[:, stage.cell, list(stage.edges)] = np.tile(stage.options, (len(choices), 1))
    return grown


def _direct(predecessor: int, node: int, space: Space) -> bool:
    """Whether an edge leads from an input to the output."""
    return predecessor < space.inputs and node in space.concat
