"""Genotypes as vectors of whole numbers that are free of each other: which configuration each independent part has.

A part is an edge where all edges are kept, a layer of a stack, and a node otherwise (`configurations`); every vector
within `sizes` is a genotype, so that vectors can be crossed and changed at will.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from base_fast.space.choices import Choices, configurations
from base_fast.space.stack import AnySpace


def sizes(space: AnySpace) -> NDArray[np.int64]:
    """(V,): how many configurations each part has; cell type by cell type, V = T · parts of a cell."""
    return np.array([len(rows) for _, rows in configurations(space)] * len(space.cell_types), dtype=np.int64)


def to_parts(choices: Choices, space: AnySpace) -> NDArray[np.int64]:
    """(n, T, E) → (n, V): the number of each part's configuration."""
    columns = []
    for t in range(len(space.cell_types)):
        for edges, rows in configurations(space):
            own = choices[:, t, edges.start : edges.stop]
            columns.append((own[:, None] == rows[None]).all(axis=2).argmax(axis=1))
    return np.stack(columns, axis=1)


def from_parts(parts: NDArray[np.int64], space: AnySpace) -> Choices:
    """(n, V) → (n, T, E), the inverse of `to_parts`."""
    choices = np.empty((len(parts), len(space.cell_types), space.num_edges), dtype=np.int64)
    columns = iter(parts.T)
    for t in range(len(space.cell_types)):
        for edges, rows in configurations(space):
            choices[:, t, edges.start : edges.stop] = rows[next(columns)]
    return choices
