"""Genotypes as sequences of decisions, for what chooses one after another: exactly one sequence for each genotype."""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from base_fast.errors import InputError
from base_fast.space.choices import Choices, kept
from base_fast.space.space import NONE
from base_fast.space.stack import AnySpace, Stack


class Decision(NamedTuple):
    """One decision about a cell.

    Attributes:
        kind: which earlier node an edge comes from, or which primitive is on it.
        cell: number of the cell type.
        place: where all edges are kept, the edge's number in the cell; otherwise its number among those that its node
            keeps, in the order of their predecessors: 0, 1, ...
        node: the node that it ends in; None where all edges are kept.
    """

    kind: Literal["input", "primitive"]
    cell: int
    place: int
    node: int | None


@lru_cache(maxsize=16)
def decisions(space: AnySpace) -> tuple[Decision, ...]:
    """What has to be decided for a genotype, in order (S of them).

    Where all edges are kept (NAS-Bench-201, stacks), the primitive of every edge. Otherwise, for every node, first the
    inputs, then the primitives on them, as ENAS has it; the inputs are different and in increasing order, so that a
    genotype is reached in one way only.
    """
    cells = range(len(space.cell_types))
    if isinstance(space, Stack) or space.arity is None:
        return tuple(Decision("primitive", t, edge, None) for t in cells for edge in range(space.num_edges))
    return tuple(
        Decision(kind, t, place, node)
        for t in cells
        for node in space.node_numbers
        for kind in ("input", "primitive")
        for place in range(space.arity)
    )


def ways(decision: Decision, space: AnySpace) -> NDArray[np.int64]:
    """How many ways there are to go on with each option of a decision: how the rest of its node's inputs can follow;
    0 for what cannot be chosen.

    Options are numbers of nodes for an input, of primitives for a primitive. For an input the table has a row for each
    input before it, number −1 (the node's first input) first: (1 + nodes, nodes); otherwise it is (primitives,).
    """
    if isinstance(space, Stack) or space.arity is None:
        return np.ones(space.num_primitives, dtype=np.int64)
    if decision.kind == "primitive":
        return np.array([int(primitive != NONE) for primitive in space.primitives])
    assert decision.node is not None
    node, after = decision.node, space.arity - 1 - decision.place
    return np.array([[comb(node - 1 - i, after) * (i > before) for i in range(node)] for before in range(-1, node)])


def to_decisions(choices: Choices, space: AnySpace) -> Choices:
    """The options (n, S) that lead to choices (n, T, E).

    Raises:
        InputError: a node that doesn't keep `space.arity` edges.
    """
    if isinstance(space, Stack) or space.arity is None:
        return choices.reshape(len(choices), -1)
    wrong = ~kept(choices, space)
    if wrong.any():
        raise InputError(
            f"choices: {choices[wrong][0].tolist()}; expected {space.arity} edges other than 'none' at every node"
        )
    none, columns = space.primitives.index(NONE), []
    for t in range(len(space.cell_types)):
        for node in space.node_numbers:
            own = choices[:, t, space.incoming(node)]
            inputs = np.argsort(own == none, axis=1, kind="stable")[:, : space.arity]
            columns += [inputs, np.take_along_axis(own, inputs, axis=1)]
    return np.concatenate(columns, axis=1)


def from_decisions(options: Choices, space: AnySpace) -> Choices:
    """The choices (n, T, E) that options (n, S) lead to, the inverse of `to_decisions`."""
    shape = (len(options), len(space.cell_types), space.num_edges)
    if isinstance(space, Stack) or space.arity is None:
        return options.reshape(shape)
    choices = np.full(shape, space.primitives.index(NONE), dtype=np.int64)
    columns = iter(options.reshape(len(options), -1, space.arity).swapaxes(0, 1))
    for t in range(len(space.cell_types)):
        for node in space.node_numbers:
            # A view of one node's edges, which is filled in place.
            own = choices[:, t, space.incoming(node).start : space.incoming(node).stop]
            np.put_along_axis(own, next(columns), next(columns), axis=1)
    return choices
