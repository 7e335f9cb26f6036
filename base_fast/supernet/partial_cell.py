"""A searched cell with partial channels: the first 1/K of them meets the primitives, the rest passes each edge.

An edge gives shuffle([Σ_l z_l·φ_l(x₁), β·x₂]), where x₁ is the first of K parts of x's channels, x₂ the others, and β
the weight of the edge (Xu et al., PC-DARTS, ICLR 2020). The shuffle is the same for all edges, so that a node is

    shuffle([Σ_e Σ_l z_el·φ_l(x_e₁), Σ_e β_e·x_e₂])

with one sum of mixed edges, one weighted sum of what passes, and one shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast import ops
from base_fast.reference.mixed_cell import edge_shapes
from base_fast.space import Space


def partial_cell(
    states: Sequence[Tensor],
    z: Tensor,
    weights: Tensor,
    space: Space,
    parts: int,
    reduction: bool = False,
    chosen: Sequence[int] | None = None,
    memory: str = "store",
) -> Tensor:
    """As `ops.mixed_cell`, with partial channels.

    β_e is Σ_l z_el, `none` included. Where z_e is a distribution, that is 1; with β_e·z_e in its place everything that
    an edge gives weighs β_e, what passes as well: PC-DARTS's edge normalization.

    Args:
        states: `space.inputs` tensors (B, C, H, W).
        z: (E, L), a weight per edge and primitive.
        weights: (W,), as for `ops.mixed_cell` on C/K channels.
        parts: K, a divisor of C.
        reduction: edges from the inputs have stride 2; what passes them is the maximum of each 2×2 pixels.
        chosen: per edge the primitive that runs alone. z's gradient is then that through it, and that through β.
        memory: what edges keep for backward.

    Returns:
        (B, N·C, H', W') for N = len(space.concat), as `ops.mixed_cell`.
    """
    channels = states[0].shape[1] // parts
    runs = [_runs(space, node, reduction) for node in space.node_numbers]
    of_edge = {s: sum(map(math.prod, edge_shapes(space.primitives, channels, s))) for s in (1, 2)}
    sizes = [len(edges) * of_edge[stride] for of_node in runs for edges, stride in of_node]
    own = iter(weights.split(sizes))
    beta = z.sum(dim=-1)
    nodes, first, passed = list(states), list[Tensor](), list[Tensor]()
    for node, of_node in zip(space.node_numbers, runs, strict=True):
        for x in nodes[len(first) :]:
            part, rest = x.split([channels, x.shape[1] - channels], dim=1)
            if reduction and len(first) < space.inputs:
                rest = F.max_pool2d(rest, 2, ceil_mode=True)
            first.append(part.contiguous(memory_format=torch.channels_last))
            passed.append(rest.contiguous(memory_format=torch.channels_last))
        sums, read = [], iter(first)
        for edges, stride in of_node:
            here = slice(edges.start, edges.stop)
            sums.append(
                ops.mixed_cell(
                    list(islice(read, len(edges))),
                    z[here],
                    next(own),
                    _sum_of(space.primitives, len(edges)),
                    stride == 2,
                    None if chosen is None else chosen[here],
                    memory,
                )
            )
        incoming = space.incoming(node)
        over = ops.mixed_sum(passed, beta[incoming.start : incoming.stop].to(passed[0].dtype))
        nodes.append(F.channel_shuffle(torch.cat([sum(sums[1:], sums[0]), over], dim=1), parts))
    return torch.cat([nodes[node] for node in space.concat], dim=1)


def _runs(space: Space, node: int, reduction: bool) -> list[tuple[range, int]]:
    """The edges that end in a node, by their stride: those from the inputs of a reduction have 2."""
    edges = space.incoming(node)
    if not reduction:
        return [(edges, 1)]
    runs = [(edges[: space.inputs], 2), (edges[space.inputs :], 1)]
    return [(own, stride) for own, stride in runs if own]


@lru_cache(maxsize=256)
def _sum_of(primitives: tuple[str, ...], count: int) -> Space:
    """A cell of one node, which adds `count` mixed edges up."""
    return Space("sum", primitives, count, 1, ("normal",), (count,), None)
