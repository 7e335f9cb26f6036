"""How far apart two genotypes are as graphs: eight measures, of many pairs at once.

A cell is a directed graph of its inputs and computed nodes. An edge is there where its choice isn't `none`, and its
primitive is its label; the nodes whose concatenation is the cell's output are labelled as such. A stack is a chain of
nodes, one edge a layer. Where there are several cell types, they are one graph side by side: counts add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from base_fast.errors import InputError
from base_fast.space.choices import Choices
from base_fast.space.space import NONE, Space
from base_fast.space.stack import AnySpace

Values = NDArray[np.float64]

# 7! orders of nodes; the published spaces have at most 4! of them.
MOST_ORDERS = 5040
_ABSENT = -1
_SHORTCUTS = ("skip_connect", "identity")


def edit_distance(a: Choices, b: Choices, space: AnySpace) -> Values:
    """Edges to insert, to delete, or to give another primitive, until `a` is `b`; nodes stay what they are.

    Every such edit costs 1, so this is the number of edges whose choices differ. In the DARTS space, a node that takes
    another predecessor costs 2: one edge less and one more.

    Args:
        a, b: (n, T, E), genotypes pair by pair.
        space: theirs.

    Returns:
        (n,) float64.

    Raises:
        InputError: shapes that differ or aren't the space's.
    """
    _check(a, b, space)
    return (a != b).sum(axis=(1, 2)).astype(np.float64)


def relabelled_edit_distance(a: Choices, b: Choices, space: AnySpace) -> Values:
    """`edit_distance` where the computed nodes have no numbers: the least one over all orders of b's nodes.

    The inputs keep their numbers, for they are different things, and so does a single output node; of several, each may
    take another's place. It is the graph edit distance with unit costs: to delete a node and insert another is
    never cheaper than to match the two, because each edge costs at most 1 then. In a stack layers can't be exchanged.

    Raises:
        InputError: as `edit_distance`, or more than `MOST_ORDERS` orders.
    """
    _check(a, b, space)
    ours, theirs = _labels(a, space), _labels(b, space)
    best = np.full((len(a), a.shape[1]), np.inf)
    for order in _orders(space):
        moved = theirs[:, :, order][:, :, :, order]
        best = np.minimum(best, (ours != moved).sum(axis=(2, 3)))
    return best.sum(axis=1)


def shared_edges(a: Choices, b: Choices, space: AnySpace) -> Values:
    """Edges that both have, whatever their primitives: a likeness, the larger the nearer; see `edit_distance`."""
    _check(a, b, space)
    return (_present(a, space) & _present(b, space)).sum(axis=(1, 2)).astype(np.float64)


def shared_primitives(a: Choices, b: Choices, space: AnySpace) -> Values:
    """Primitives that both have, as many times as both have them, wherever they stand in a cell; `none` is none.

    A likeness, the larger the nearer; see `edit_distance`.
    """
    _check(a, b, space)
    counts = [
        [(x == l).sum(axis=2) for l, name in enumerate(space.primitives) if not _is_absent(name, space)] for x in (a, b)
    ]
    return np.minimum(*(np.array(one) for one in counts)).sum(axis=(0, 2)).astype(np.float64)


def depth_difference(a: Choices, b: Choices, space: AnySpace) -> Values:
    """Difference in depth: most edges on a path from an input to the output that aren't shortcuts (skip connections,
    identities); the sum over cell types; see `edit_distance`."""
    return _difference(a, b, space, lambda x: _longest(x, space, shortcuts=False))


def longest_path_difference(a: Choices, b: Choices, space: AnySpace) -> Values:
    """Difference in the longest path from an input to the output, in edges, shortcuts as well; see `edit_distance`."""
    return _difference(a, b, space, lambda x: _longest(x, space, shortcuts=True))


def loose_end_difference(a: Choices, b: Choices, space: AnySpace) -> Values:
    """Difference in loose ends, computed nodes from which no edge leads to another node; see `edit_distance`."""

    def loose(x: Choices) -> Values:
        used = (_labels(x, space) != _ABSENT).any(axis=3)
        return (~used[:, :, _inputs(space) :]).sum(axis=2).astype(np.float64)

    return _difference(a, b, space, loose)


def spectral_distance(a: Choices, b: Choices, space: AnySpace) -> Values:
    """Euclidean distance of the Laplacian spectra, sorted, of the cells as undirected graphs without labels.

    Source: Wilson & Zhu, "A study of graph spectra for comparing graphs and trees", Pattern Recognition 2008.
    """
    _check(a, b, space)

    def spectrum(x: Choices) -> Values:
        directed = (_labels(x, space) != _ABSENT).astype(np.float64)
        adjacency = directed + directed.swapaxes(2, 3)
        return np.linalg.eigvalsh(np.eye(adjacency.shape[2]) * adjacency.sum(axis=3)[..., None] - adjacency)

    distances: Values = np.sqrt(np.square(spectrum(a) - spectrum(b)).sum(axis=(1, 2)))
    return distances


MEASURES: dict[str, Callable[[Choices, Choices, AnySpace], Values]] = {
    "edit distance": edit_distance,
    "edit distance, nodes relabelled": relabelled_edit_distance,
    "shared edges": shared_edges,
    "shared primitives": shared_primitives,
    "depth": depth_difference,
    "longest path": longest_path_difference,
    "loose ends": loose_end_difference,
    "Laplacian spectrum": spectral_distance,
}
"""All of the above by name. Shared edges and primitives are likenesses, the others distances."""


def _difference(a: Choices, b: Choices, space: AnySpace, number: Callable[[Choices], Values]) -> Values:
    _check(a, b, space)
    difference: Values = np.abs(number(a) - number(b)).sum(axis=1)
    return difference


def _check(a: Choices, b: Choices, space: AnySpace) -> None:
    shape = (len(space.cell_types), space.num_edges)
    for name, x in (("a", a), ("b", b)):
        if x.ndim != 3 or x.shape[1:] != shape or len(x) != len(a):
            raise InputError(f"{name}: got shape {x.shape}, expected {(len(a), *shape)}")
        if x.size and not 0 <= x.min() <= x.max() < space.num_primitives:
            raise InputError(f"{name}: got numbers {x.min()} to {x.max()}, expected 0 to {space.num_primitives - 1}")


def _is_absent(primitive: str, space: AnySpace) -> bool:
    return isinstance(space, Space) and primitive == NONE


def _present(choices: Choices, space: AnySpace) -> NDArray[np.bool_]:
    absent = [l for l, name in enumerate(space.primitives) if _is_absent(name, space)]
    return ~np.isin(choices, absent)


def _inputs(space: AnySpace) -> int:
    return space.inputs if isinstance(space, Space) else 1


def _labels(choices: Choices, space: AnySpace) -> Choices:
    """(n, T, V, V): the primitive of the edge from the first to the second node; `_ABSENT` where there is none."""
    nodes = 1 + max(node for _, node in space.edges)
    labels = np.full((*choices.shape[:2], nodes, nodes), _ABSENT)
    start, end = np.array(space.edges).T
    labels[:, :, start, end] = np.where(_present(choices, space), choices, _ABSENT)
    return labels


def _orders(space: AnySpace) -> list[list[int]]:
    """All orders of the nodes that keep inputs, and the nodes of the output among themselves."""
    if not isinstance(space, Space):
        return [list(range(space.layers + 1))]
    outputs = [node for node in space.node_numbers if node in space.concat]
    inner = [node for node in space.node_numbers if node not in space.concat]
    if math.factorial(len(outputs)) * math.factorial(len(inner)) > MOST_ORDERS:
        raise InputError(
            f"space: got {len(space.node_numbers)} computed nodes in {space.name}, expected at most {MOST_ORDERS} "
            "orders of them; edit_distance has nodes that keep their numbers"
        )
    orders = []
    for first, second in product(permutations(outputs), permutations(inner)):
        place = dict(zip([*outputs, *inner], [*first, *second], strict=True))
        orders.append([*range(space.inputs), *(place[node] for node in space.node_numbers)])
    return orders


def _longest(choices: Choices, space: AnySpace, shortcuts: bool) -> Values:
    """(n, T): most edges on a path from an input to a node of the output; 0 where none leads there."""
    labels = _labels(choices, space)
    weights = np.ones(space.num_primitives)
    if not shortcuts:
        weights[[l for l, name in enumerate(space.primitives) if name in _SHORTCUTS]] = 0.0
    reach = np.full(labels.shape[:3], -np.inf)
    reach[:, :, : _inputs(space)] = 0.0
    for start, end in space.edges:  # in the order of their ends: what leads to a node comes before what leaves it
        label = labels[:, :, start, end]
        along = np.where(label == _ABSENT, -np.inf, reach[:, :, start] + weights[label])
        reach[:, :, end] = np.maximum(reach[:, :, end], along)
    outputs = list(space.concat) if isinstance(space, Space) else [space.layers]
    longest: Values = np.maximum(reach[:, :, outputs].max(axis=2), 0.0)
    return longest
