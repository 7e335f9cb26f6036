"""How tensors of one shape and different strides are walked together, in two-dimensional tiles and without copies.

Every tensor is seen as four axes (outer, middle, Y, X); a program takes a tile of Y × X. Axes that all tensors step
through alike are merged, so tensors of one dense layout end up with X alone. Where layouts differ, Y and X are the axes
that are contiguous in one or the other: each tensor is then read along its own, and the compiler transposes in shared
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from . import _math

# Of either side where layouts differ: 128 bytes of float32.
SIDE = 32


@dataclass(frozen=True)
class Walk:
    sizes: tuple[int, ...]  # outer, middle, Y, X
    strides: tuple[tuple[int, ...], ...]  # of each tensor, the same axes
    tile: tuple[int, int]  # powers of two that cover Y and X or parts of them

    @property
    def tiles(self) -> int:
        across, along = (triton.cdiv(n, side) for n, side in zip(self.sizes[2:], self.tile, strict=True))
        return self.sizes[0] * self.sizes[1] * across * along


def _merge(axes: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    """(size, stride in each tensor), with axes that every tensor steps through as through one made one."""
    merged: list[tuple[int, tuple[int, ...]]] = []
    for size, steps in sorted((axis for axis in axes if axis[0] != 1), key=lambda axis: axis[1], reverse=True):
        if merged and all(outer == size * inner for outer, inner in zip(merged[-1][1], steps, strict=True)):
            merged[-1] = (merged[-1][0] * size, steps)
        else:
            merged.append((size, steps))
    return merged


def _sides(height: int, width: int, area: int) -> tuple[int, int]:
    """The tile of at most `area` that covers Y × X with little waste, as square as needed for either to be long."""
    y, x = triton.next_power_of_2(max(height, 1)), triton.next_power_of_2(max(width, 1))
    width = min(x, max(SIDE, area // y))
    return min(y, area // width), width


def walk(tensors: Sequence[Tensor], area: int) -> Walk:
    """Over all elements of tensors of one shape; the first tensor decides the order."""
    axes = _merge([(n, tuple(t.stride(d) for t in tensors)) for d, n in enumerate(tensors[0].shape)])
    nothing = (1, (0,) * len(tensors))
    # Y: what some other tensor is contiguous along.
    y = min(axes[:-1], key=lambda axis: min(step for step in axis[1] if step), default=nothing)
    *rest, x = [axis for axis in axes if axis is not y] or [nothing]
    if len(rest) > 2:
        raise NotImplementedError(f"tensors with {len(rest) + 2} axes that cannot be merged")
    outer, middle = [nothing] * (2 - len(rest)) + rest
    chosen = (outer, middle, y, x)
    sizes = tuple(axis[0] for axis in chosen)
    return Walk(sizes, tuple(zip(*(axis[1] for axis in chosen), strict=True)), _sides(sizes[2], sizes[3], area))


@triton.jit
def place(sizes, BY: tl.constexpr, BX: tl.constexpr):
    """Where this program's tile lies: int64 (outer, middle, y (BY, 1), x (1, BX)); and whether all of it is inside."""
    _, middle, Y, X = sizes
    tile = tl.program_id(0)
    across = tl.cdiv(Y, BY)
    row_tile = tile // across
    y = (tile % across).to(tl.int64) * BY
    along = tl.cdiv(X, BX)
    x = (row_tile % along).to(tl.int64) * BX
    row = (row_tile // along).to(tl.int64)
    whole = (y + BY <= Y) & (x + BX <= X)
    at = (row // middle, row % middle, (y + tl.arange(0, BY))[:, None], (x + tl.arange(0, BX))[None, :])
    return at, whole


@triton.jit
def mask(at, sizes):
    """Which elements of the tile exist, (BY, BX)."""
    _, _, Y, X = sizes
    return (at[2] < Y) & (at[3] < X)


@triton.jit
def read(x, strides, at, inside):
    """The tile of x at the width of arithmetic, (BY, BX)."""
    return _math.wide(tl.load(x + offset(strides, at), mask=inside))


@triton.jit
def offset(strides, at):
    """Of the tile's elements, int64 (BY, BX)."""
    return at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2] + at[3] * strides[3]
