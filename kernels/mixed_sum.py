"""Σ_k w_k·x_k: reads every branch, writes the sum; backward reads the gradient and every branch, writes every gradient.

Branches are read where they are, in any mix of strides; backward adds one number per tile and branch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _math, _tiles
from ._launch import BLOCK, OPTIONS
from ._weights import collect


@triton.jit
def weight(weights, positions, k: tl.constexpr):
    return _math.wide(tl.load(weights + positions[k]))


@triton.jit
def _sum_tile(out, branches, weights, positions, strides, at, inside):
    total = weight(weights, positions, 0) * _tiles.read(branches[0], strides[1], at, inside)
    for k in tl.static_range(1, len(branches)):
        total += weight(weights, positions, k) * _tiles.read(branches[k], strides[1 + k], at, inside)
    tl.store(out + _tiles.offset(strides[0], at), total, mask=inside)


@triton.jit
def _sum(out, branches, weights, positions, sizes, strides, BY: tl.constexpr, BX: tl.constexpr):
    """`strides`: out's, then the branches'."""
    at, whole = _tiles.place(sizes, BY, BX)
    if whole:
        _sum_tile(out, branches, weights, positions, strides, at, None)
    else:
        _sum_tile(out, branches, weights, positions, strides, at, _tiles.mask(at, sizes))


@triton.jit
def _gradient_tile(grad, branches, weights, out, contributions, positions, strides, tile, tiles, at, inside):
    g = _tiles.read(grad, strides[0], at, inside)
    for k in tl.static_range(len(branches)):
        x = _tiles.read(branches[k], strides[1 + k], at, inside)
        d = weight(weights, positions, k) * g
        tl.store(out[k] + _tiles.offset(strides[1 + len(branches) + k], at), d, mask=inside)
        product = g * x
        if inside is not None:
            product = tl.where(inside, product, 0.0)
        tl.store(contributions + tile + k * tiles, tl.sum(product))


@triton.jit
def _gradient(
    grad,
    branches,
    weights,
    out,
    contributions,
    positions,
    sizes,
    strides,
    BY: tl.constexpr,
    BX: tl.constexpr,
):
    """`strides`: grad's, the branches', their gradients'; contributions (K, tiles)."""
    at, whole = _tiles.place(sizes, BY, BX)
    tile, tiles = tl.program_id(0), tl.num_programs(0).to(tl.int64)
    if whole:
        _gradient_tile(grad, branches, weights, out, contributions, positions, strides, tile, tiles, at, None)
    else:
        inside = _tiles.mask(at, sizes)
        _gradient_tile(grad, branches, weights, out, contributions, positions, strides, tile, tiles, at, inside)


def mixed_sum(branches: Sequence[Tensor], weights: Tensor, positions: Sequence[int]) -> Tensor:
    weights = weights.contiguous()
    out = torch.empty_like(branches[0])
    walk = _tiles.walk([out, *branches], BLOCK)
    with torch.cuda.device_of(out):
        _sum[(walk.tiles,)](
            out, tuple(branches), weights, tuple(positions), walk.sizes, walk.strides,
            BY=walk.tile[0], BX=walk.tile[1], **OPTIONS,
        )  # fmt: skip
    return out


def mixed_sum_backward(
    grad: Tensor, branches: Sequence[Tensor], weights: Tensor, positions: Sequence[int]
) -> list[Tensor]:
    weights = weights.contiguous()
    out = [torch.empty_like(x) for x in branches]
    walk = _tiles.walk([grad, *branches, *out], BLOCK)
    dtype = torch.float64 if grad.dtype == torch.float64 else torch.float32
    contributions = torch.empty((len(branches), walk.tiles), dtype=dtype, device=grad.device)
    with torch.cuda.device_of(grad):
        _gradient[(walk.tiles,)](
            grad, tuple(branches), weights, tuple(out), contributions, tuple(positions), walk.sizes, walk.strides,
            BY=walk.tile[0], BX=walk.tile[1], **OPTIONS,
        )  # fmt: skip
        d_weights = collect(contributions, positions, weights)
    return [*out, d_weights]
