"""A searched cell: every node is the sum of the mixed edges from all nodes before it (Liu et al. 2019, Eq. 1 and 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count, islice

import torch
from torch import Tensor

from base_fast.reference.mixed_op import mixed_op
from base_fast.reference.primitives import weight_shapes
from base_fast.space.primitives import Shape


def edges(inputs: int, number: int) -> list[tuple[int, int]]:
    """(predecessor, node) of each edge: node after node, and for each node predecessor after predecessor."""
    return list(islice(((p, node) for node in count(inputs) for p in range(node)), number))


def strides(inputs: int, number: int, reduction: bool) -> list[int]:
    """Of each edge: 2 from the inputs of a reduction."""
    return [2 if reduction and p < inputs else 1 for p, _ in edges(inputs, number)]


def edge_shapes(primitives: Sequence[str], channels: int, stride: int) -> list[Shape]:
    """An edge's weights, in the order in which they lie in the cell's flat ones."""
    return [shape for p in primitives for shape in weight_shapes(p, channels, stride).values()]


def mixed_cell(
    states: list[Tensor],
    z: Tensor,
    weights: Tensor,
    primitives: list[str],
    concat: list[int],
    reduction: bool,
    chosen: Sequence[int | None],
    edge: Callable[..., Tensor] = mixed_op,
) -> Tensor:
    """States (B, C, H, W), z (E, L) and all edges' weights (W,) → the nodes `concat` side by side, (B, N·C, H', W').

    chosen: per edge the primitive that is executed alone; None for all.
    edge: what computes an edge, called as `reference.mixed_op` is.
    """
    inputs, nodes = len(states), list(states)
    shapes = [edge_shapes(primitives, states[0].shape[1], stride) for stride in strides(inputs, len(z), reduction)]
    parts = iter(torch.split(weights, [math.prod(shape) for own in shapes for shape in own]))
    for e, (p, node) in enumerate(edges(inputs, len(z))):
        own = [next(parts).view(shape) for shape in shapes[e]]
        y = edge(nodes[p], z[e], own, primitives, 2 if reduction and p < inputs else 1, chosen[e])
        if node == len(nodes):
            nodes.append(y)
        else:
            nodes[node] = nodes[node] + y
    return torch.cat([nodes[node] for node in concat], dim=1)
