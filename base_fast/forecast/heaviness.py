"""How much work a path through a supernet is, roughly: enough to choose steps that stand for all others."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from base_fast.ops.mixed_cell_path import live
from base_fast.space.primitives import find
from base_fast.supernet import Supernet
from base_fast.supernet.cells import Cell
from base_fast.supernet.stems import STEMS, choose_stem


def heaviness(supernet: Supernet, path: Tensor, resolution: int) -> float:
    """Multiply-adds of the primitives of a path (T, E), for an image of this many pixels a side.

    What every path has in common, such as stems and pools, is left out.
    """
    space, config = supernet.space, supernet.config
    side = resolution
    for stride in STEMS[choose_stem(config.stems, resolution)]:
        side = -(-side // stride)
    total = 0.0
    for i, block in enumerate(supernet.blocks):
        side = -(-side // 2) if i in config.reduction_cells else side
        if not isinstance(block, Cell):
            continue
        chosen = path[block.cell_type].tolist()
        if "none" in space.primitives and space.concat == (space.inputs + space.nodes - 1,):
            chosen = live(chosen, space.primitives, space.inputs)
        channels = block.channels // config.partial
        for l, (predecessor, _) in zip(chosen, space.edges, strict=True):
            shapes = find(space.primitives[l]).weights(channels, block.stride(predecessor)).values()
            total += side**2 * sum(math.prod(shape) for shape in shapes)
    return total


def evenly(weights: Sequence[float], count: int) -> list[int]:
    """Indices of so many weights, or of all, that lie in the middle of equal parts of their order: their mean is close
    to that of all."""
    order = sorted(range(len(weights)), key=weights.__getitem__)
    count = min(count, len(order))
    return [order[(2 * i + 1) * len(order) // (2 * count)] for i in range(count)]
