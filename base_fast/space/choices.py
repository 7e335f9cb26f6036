"""Genotypes as arrays of choices: the number of the primitive on every edge, `none` where an edge is not kept.

This is the form in which searches draw, change and look genotypes up, many at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from base_fast.errors import InputError
from base_fast.space.genotype import Genotype
from base_fast.space.space import NONE, Space
from base_fast.space.stack import AnyGenotype, AnySpace, Stack, StackGenotype

Choices = NDArray[np.int64]

_PRIMITIVES = re.compile(r"([A-Za-z0-9_]+)~")


def encode(genotype: AnyGenotype | str, space: AnySpace) -> Choices:
    """The choices (T, E) of a genotype, or of its text.

    Raises:
        InputError: the genotype is not one of the space, or a node has two primitives from one predecessor (rule
            "pairs" gives such cells; choices hold one primitive per edge).
    """
    if isinstance(space, Stack):
        return _encode_stack(genotype, space)
    if isinstance(genotype, str):
        if space.arity is None and (found := _encode_edges(genotype, space)) is not None:
            return found
        genotype = Genotype.parse(genotype)
    if not isinstance(genotype, Genotype):
        raise InputError(f"genotype: {genotype!r}; expected cells of the space {space.name}")
    genotype.validate(space)
    number = {primitive: l for l, primitive in enumerate(space.primitives)}
    choices = np.full((len(space.cell_types), space.num_edges), number[NONE], dtype=np.int64)
    for t, cell in enumerate(space.cell_types):
        for index, (primitive, predecessor) in enumerate(genotype.cells[cell]):
            edge = index
            if space.arity is not None:
                edge = space.incoming(space.inputs + index // space.arity)[predecessor]
                if primitive == NONE or choices[t, edge] != number[NONE]:
                    raise InputError(
                        f"{cell}[{index}]: {primitive}~{predecessor}; expected {space.arity} different predecessors "
                        "and no 'none': choices hold one primitive per edge"
                    )
            choices[t, edge] = number[primitive]
    return choices


def decode(choices: Choices, space: AnySpace) -> AnyGenotype:
    """The genotype of choices (T, E); pairs of a node in the order of their predecessors.

    Raises:
        InputError: wrong shape, a number that is no primitive, or a node that doesn't keep `space.arity` edges.
    """
    choices = np.asarray(choices)
    expected = (len(space.cell_types), space.num_edges)
    if choices.shape != expected:
        raise InputError(f"choices: shape {choices.shape}; expected (cell types, edges) = {expected}")
    if choices.min() < 0 or choices.max() >= space.num_primitives:
        raise InputError(
            f"choices: numbers {choices.min()} to {choices.max()}; expected 0 to {space.num_primitives - 1}"
        )
    if isinstance(space, Stack):
        return StackGenotype("".join(map(str, choices[0].tolist())))
    if not kept(choices[None], space)[0]:
        raise InputError(f"choices: {choices.tolist()}; expected {space.arity} edges other than 'none' at every node")
    cells = []
    for cell in choices.tolist():
        pairs = [(space.primitives[l], predecessor) for l, (predecessor, _) in zip(cell, space.edges, strict=True)]
        cells.append([pair for pair in pairs if space.arity is None or pair[0] != NONE])
    return Genotype.from_cells(cells, space)


def compact(choices: Choices, space: AnySpace) -> str:
    """`decode(choices, space).compact()`, quick where all edges are kept, for logs of many genotypes."""
    if isinstance(space, Space) and space.arity is None:
        template, number = _template(space)
        names = tuple(number)
        return template.format(*(names[l] for l in choices[0].tolist()))
    return decode(choices, space).compact()


def kept(choices: Choices, space: AnySpace) -> NDArray[np.bool_]:
    """Which of the choices (n, T, E) are genotypes: every node keeps exactly `space.arity` edges; (n,)."""
    good = np.ones(len(choices), dtype=np.bool_)
    if isinstance(space, Space) and space.arity is not None:
        present = choices != space.primitives.index(NONE)
        for node in space.node_numbers:
            incoming = space.incoming(node)
            good &= (present[..., incoming.start : incoming.stop].sum(axis=-1) == space.arity).all(axis=-1)
    return good


def configurations(space: AnySpace) -> list[tuple[range, Choices]]:
    """The independent parts of a cell: for each, its edges and the choices (C, edges) that they can have together.

    Where all edges are kept, every edge is a part with L choices. Otherwise every node is one, with all sets of
    `space.arity` incoming edges and all primitives on them. A genotype takes one of C from each part, freely.
    """
    return list(_configurations(space))


@lru_cache(maxsize=16)
def _configurations(space: AnySpace) -> tuple[tuple[range, Choices], ...]:
    if isinstance(space, Stack) or space.arity is None:
        each = np.arange(space.num_primitives)[:, None]
        return tuple((range(edge, edge + 1), each) for edge in range(space.num_edges))
    none = space.primitives.index(NONE)
    primitives = [l for l in range(space.num_primitives) if l != none]
    parts = []
    for node in space.node_numbers:
        rows = []
        for edges in combinations(range(node), space.arity):
            for chosen in product(primitives, repeat=space.arity):
                row = np.full(node, none)
                row[list(edges)] = chosen
                rows.append(row)
        parts.append((space.incoming(node), np.array(rows)))
    return tuple(parts)


def neighbours(choices: Choices, space: AnySpace) -> Choices:
    """All genotypes one change away from choices (T, E): another primitive on an edge, or, where a node keeps only
    some, an edge exchanged for another one of the node with the same primitive; (n, T, E)."""
    found = []
    for t, cell in enumerate(choices):
        for edges, row in _changes(cell, space):
            neighbour = choices.copy()
            neighbour[t, edges] = row
            found.append(neighbour)
    return np.array(found)


def _changes(cell: Choices, space: AnySpace) -> Iterator[tuple[list[int], list[int]]]:
    """(edges, their new choices) of every change."""
    if isinstance(space, Stack) or space.arity is None:
        for edge, was in enumerate(cell):
            yield from (([edge], [l]) for l in range(space.num_primitives) if l != was)
        return
    none = space.primitives.index(NONE)
    for node in space.node_numbers:
        incoming = space.incoming(node)
        for edge in (e for e in incoming if cell[e] != none):
            yield from (([edge], [l]) for l in range(space.num_primitives) if l not in (none, cell[edge]))
            yield from (([edge, other], [none, int(cell[edge])]) for other in incoming if cell[other] == none)


def _encode_edges(text: str, space: Space) -> Choices | None:
    """The choices of a text that names the primitive of every edge; None where the slow way has to say what is wrong.

    Tables hold tens of thousands of such texts.
    """
    template, number = _template(space)
    primitives = _PRIMITIVES.findall(text)
    if (
        len(primitives) != space.num_edges
        or template.format(*primitives) != text
        or not number.keys() >= set(primitives)
    ):
        return None
    return np.array([[number[primitive] for primitive in primitives]])


@lru_cache(maxsize=16)
def _template(space: Space) -> tuple[str, dict[str, int]]:
    edges = [f"{{}}~{predecessor}" for predecessor, _ in space.edges]
    nodes = ["|".join(edges[part.start : part.stop]) for part in map(space.incoming, space.node_numbers)]
    return "+".join(f"|{node}|" for node in nodes), {primitive: l for l, primitive in enumerate(space.primitives)}


def _encode_stack(genotype: AnyGenotype | str, space: Stack) -> Choices:
    text = genotype.compact() if isinstance(genotype, StackGenotype) else genotype
    if (
        not isinstance(text, str)
        or len(text) != space.layers
        or not set(text) <= set("0123456789"[: len(space.primitives)])
    ):
        raise InputError(
            f"genotype: {text!r}; expected {space.layers} digits from 0 to {space.num_primitives - 1} ({space.name})"
        )
    return np.array([[int(digit) for digit in text]])
