"""Σ_k w_k·(x_k − mean_k)·rstd_k with each branch's batch statistics per channel.

Forward reads every branch twice (statistics, then the sum) and writes the sum; backward reads the gradient and every
branch twice and writes every gradient. Means and squared deviations are taken per tile about the tile's own mean and
combined in float64 (Chan, Golub, LeVeque 1983), so a large mean costs no accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from base_fast.kernels import _math, _tiles
from base_fast.kernels._launch import BLOCK, OPTIONS
from base_fast.kernels._weights import collect
from base_fast.kernels.mixed_sum import weight

# Statistics hold one branch at a time, so a tile may be larger: fewer partial results. Their projections hold the
# gradient as well.
STATISTICS_BLOCK = 4 * BLOCK
PROJECTIONS_BLOCK = 2 * BLOCK
# Tiles whose statistics are combined at a time, and of how many channels.
TILES = 64
CHANNELS = 16


@triton.jit
def _deviations(branch, strides, at, sizes, inside):
    """Per channel of the tile, (BY,): the mean and the sum of squared deviations from it."""
    x = _tiles.read(branch, strides, at, inside)
    if inside is None:
        mean = tl.sum(x, 1) / x.shape[1]
        d = x - mean[:, None]
    else:
        count = tl.sum((at[3] < sizes[3]).to(x.dtype), 1)
        mean = tl.sum(tl.where(inside, x, 0.0), 1) / count
        d = tl.where(inside, x - mean[:, None], 0.0)
    return mean, tl.sum(d * d, 1)


@triton.jit
def _channels(sizes, BY: tl.constexpr):
    """The tile's channels, (BY,)."""
    return tl.program_id(0) % tl.cdiv(sizes[2], BY) * BY + tl.arange(0, BY)


@triton.jit(do_not_specialize=["normalized"])
def _tile_statistics(branches, means, squares, normalized, sizes, strides, tiles, BY: tl.constexpr, BX: tl.constexpr):
    """means, squares (K, tiles, C), of the branches whose bit is set in `normalized`."""
    tile, at, whole = _tiles.place(sizes, BY, BX)
    channel = _channels(sizes, BY)
    for k in tl.static_range(len(branches)):
        if (normalized >> k) & 1 == 1:
            if whole:
                mean, square = _deviations(branches[k], strides[k], at, sizes, None)
            else:
                mean, square = _deviations(branches[k], strides[k], at, sizes, _tiles.mask(at, sizes))
            to = (tile + k * tiles).to(tl.int64) * sizes[2] + channel
            tl.store(means + to, mean, mask=channel < sizes[2])
            tl.store(squares + to, square, mask=channel < sizes[2])


@triton.jit
def _some_tiles(start, k, channel, sizes, tiles, BX: tl.constexpr, TILES: tl.constexpr):
    """Of TILES tiles: where their statistics are, which exist, and how many pixels each has."""
    tile = start + tl.arange(0, TILES)
    there = (tile < tiles)[:, None] & (channel < sizes[2])[None, :]
    count = tl.minimum(sizes[3] - tile % tl.cdiv(sizes[3], BX) * BX, BX).to(tl.float64)
    return (tile + k * tiles).to(tl.int64)[:, None] * sizes[2] + channel[None, :], there, count[:, None]


@triton.jit(do_not_specialize=["normalized"])
def statistics(
    means,
    squares,
    mean,
    rstd,
    normalized,
    eps: tl.float64,
    sizes,
    tiles,
    BX: tl.constexpr,
    TILES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """mean, rstd (K, C) from the tiles' statistics; 0 and 1 for a branch that is not normalized."""
    k, channel = tl.program_id(1), tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    center = tl.zeros((CHANNELS,), tl.float64)
    scale = center + 1.0
    if (normalized >> k) & 1 == 1:
        total = _math.scalar(1.0, tl.float64) * sizes[0] * sizes[1] * sizes[3]
        for start in range(0, tiles, TILES):
            index, there, count = _some_tiles(start, k, channel, sizes, tiles, BX, TILES)
            center += tl.sum(count * tl.load(means + index, mask=there, other=0.0).to(tl.float64), 0)
        center /= total
        square = tl.zeros((CHANNELS,), tl.float64)
        for start in range(0, tiles, TILES):
            index, there, count = _some_tiles(start, k, channel, sizes, tiles, BX, TILES)
            d = tl.load(means + index, mask=there, other=0.0).to(tl.float64) - center[None, :]
            within = tl.load(squares + index, mask=there, other=0.0).to(tl.float64)
            square += tl.sum(tl.where(there, within + count * d * d, 0.0), 0)
        scale = 1.0 / tl.sqrt(square / total + _math.scalar(eps, tl.float64))
    to = k * sizes[2] + channel
    tl.store(mean + to, center, mask=channel < sizes[2])
    tl.store(rstd + to, scale, mask=channel < sizes[2])


@triton.jit
def _per_channel(x, row, at, sizes):
    """Row `row` of x (…, C) for the tile's channels, (BY, 1)."""
    return tl.load(x + row * sizes[2] + at[2], mask=at[2] < sizes[2], other=0.0)


@triton.jit
def _sum_tile(out, branches, weights, positions, mean, rstd, sizes, strides, at, inside):
    total = (at[2] + at[3]).to(mean.dtype.element_ty) * 0.0
    for k in tl.static_range(len(branches)):
        scale = weight(weights, positions, k) * _per_channel(rstd, k, at, sizes)
        x = _tiles.read(branches[k], strides[1 + k], at, inside)
        total += scale * (x - _per_channel(mean, k, at, sizes))
    tl.store(out + _tiles.offset(strides[0], at), total, mask=inside)


@triton.jit
def _sum(out, branches, weights, positions, mean, rstd, sizes, strides, BY: tl.constexpr, BX: tl.constexpr):
    """`strides`: out's, then the branches'."""
    _, at, whole = _tiles.place(sizes, BY, BX)
    if whole:
        _sum_tile(out, branches, weights, positions, mean, rstd, sizes, strides, at, None)
    else:
        _sum_tile(out, branches, weights, positions, mean, rstd, sizes, strides, at, _tiles.mask(at, sizes))


@triton.jit
def _projections_tile(grad, branches, mean, rstd, projections, sizes, strides, tiles, tile, channel, at, inside):
    g = _tiles.read(grad, strides[0], at, inside)
    if inside is not None:
        g = tl.where(inside, g, 0.0)
    to = tile.to(tl.int64) * sizes[2] + channel
    tl.store(projections + to, tl.sum(g, 1), mask=channel < sizes[2])
    for k in tl.static_range(len(branches)):
        x = _tiles.read(branches[k], strides[1 + k], at, inside)
        product = g * (x - _per_channel(mean, k, at, sizes))
        if inside is not None:
            product = tl.where(inside, product, 0.0)
        scale = tl.load(rstd + k * sizes[2] + channel, mask=channel < sizes[2], other=0.0)
        to += tiles.to(tl.int64) * sizes[2]
        tl.store(projections + to, tl.sum(product, 1) * scale, mask=channel < sizes[2])


@triton.jit
def _projections(grad, branches, mean, rstd, projections, sizes, strides, tiles, BY: tl.constexpr, BX: tl.constexpr):
    """projections (1 + K, tiles, C): Σ g, then Σ g·x̂ of each branch. `strides`: grad's, then the branches'."""
    tile, at, whole = _tiles.place(sizes, BY, BX)
    channel = _channels(sizes, BY)
    if whole:
        _projections_tile(grad, branches, mean, rstd, projections, sizes, strides, tiles, tile, channel, at, None)
    else:
        inside = _tiles.mask(at, sizes)
        _projections_tile(grad, branches, mean, rstd, projections, sizes, strides, tiles, tile, channel, at, inside)


@triton.jit
def _gradient_tile(
    grad, branches, weights, positions, normalized, mean, rstd, sums, out, sizes, strides, share, at, inside
):
    g = _tiles.read(grad, strides[0], at, inside)
    mean_g = _per_channel(sums, 0, at, sizes).to(g.dtype) * share
    for k in tl.static_range(len(branches)):
        scale = weight(weights, positions, k) * _per_channel(rstd, k, at, sizes)
        d = g
        if (normalized >> k) & 1 == 1:
            x_hat = _tiles.read(branches[k], strides[1 + k], at, inside) - _per_channel(mean, k, at, sizes)
            mean_gx = _per_channel(sums, 1 + k, at, sizes).to(g.dtype) * share
            d = g - mean_g - x_hat * (_per_channel(rstd, k, at, sizes) * mean_gx)
        tl.store(out[k] + _tiles.offset(strides[1 + len(branches) + k], at), scale * d, mask=inside)


@triton.jit(do_not_specialize=["normalized"])
def _gradient(
    grad,
    branches,
    weights,
    positions,
    normalized,
    mean,
    rstd,
    sums,
    out,
    sizes,
    strides,
    BY: tl.constexpr,
    BX: tl.constexpr,
):
    """sums (1 + K, C): the projections' totals. `strides`: grad's, the branches', their gradients'."""
    _, at, whole = _tiles.place(sizes, BY, BX)
    share = (1.0 / (_math.scalar(1.0, tl.float64) * sizes[0] * sizes[1] * sizes[3])).to(mean.dtype.element_ty)
    if whole:
        _gradient_tile(
            grad, branches, weights, positions, normalized, mean, rstd, sums, out, sizes, strides, share, at, None
        )
    else:
        inside = _tiles.mask(at, sizes)
        _gradient_tile(
            grad, branches, weights, positions, normalized, mean, rstd, sums, out, sizes, strides, share, at, inside
        )


def _bits(normalized: Sequence[bool]) -> int:
    return sum(int(flag) << k for k, flag in enumerate(normalized))


def _statistics_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def mixed_norm_sum(
    branches: Sequence[Tensor], weights: Tensor, positions: Sequence[int], normalized: Sequence[bool], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    xs, weights, bits = tuple(branches), weights.contiguous(), _bits(normalized)
    out = torch.empty_like(xs[0])
    K, C = len(xs), out.shape[1]
    mean, rstd = (torch.empty((K, C), dtype=_statistics_dtype(out), device=out.device) for _ in range(2))
    partly = _tiles.walk_channels(xs, STATISTICS_BLOCK)
    means, squares = (mean.new_empty((K, partly.pixel_tiles, C)) for _ in range(2))
    walk = _tiles.walk_channels([out, *xs], BLOCK)
    with torch.cuda.device_of(out):
        _tile_statistics[(partly.tiles,)](
            xs, means, squares, bits, partly.sizes, partly.strides, partly.pixel_tiles,
            BY=partly.tile[0], BX=partly.tile[1], **OPTIONS,
        )  # fmt: skip
        statistics[(triton.cdiv(C, CHANNELS), K)](
            means, squares, mean, rstd, bits, eps, partly.sizes, partly.pixel_tiles,
            BX=partly.tile[1], TILES=TILES, CHANNELS=CHANNELS, **OPTIONS,
        )  # fmt: skip
        _sum[(walk.tiles,)](
            out, xs, weights, tuple(positions), mean, rstd, walk.sizes, walk.strides,
            BY=walk.tile[0], BX=walk.tile[1], **OPTIONS,
        )  # fmt: skip
    return out, mean, rstd


def mixed_norm_sum_backward(
    grad: Tensor,
    branches: Sequence[Tensor],
    weights: Tensor,
    positions: Sequence[int],
    normalized: Sequence[bool],
    mean: Tensor,
    rstd: Tensor,
) -> list[Tensor]:
    xs, weights, mean, rstd = tuple(branches), weights.contiguous(), mean.contiguous(), rstd.contiguous()
    out = tuple(torch.empty_like(x, dtype=grad.dtype) for x in xs)
    partly = _tiles.walk_channels([grad, *xs], PROJECTIONS_BLOCK)
    projections = mean.new_empty((1 + len(xs), partly.pixel_tiles, grad.shape[1]))
    walk = _tiles.walk_channels([grad, *xs, *out], BLOCK)
    with torch.cuda.device_of(grad):
        _projections[(partly.tiles,)](
            grad, xs, mean, rstd, projections, partly.sizes, partly.strides, partly.pixel_tiles,
            BY=partly.tile[0], BX=partly.tile[1], **OPTIONS,
        )  # fmt: skip
        sums = projections.sum(1, dtype=torch.float64)
        _gradient[(walk.tiles,)](
            grad, xs, weights, tuple(positions), _bits(normalized), mean, rstd, sums, out, walk.sizes, walk.strides,
            BY=walk.tile[0], BX=walk.tile[1], **OPTIONS,
        )  # fmt: skip
        d_weights = collect(sums[1:], positions, weights)
    return [*out, d_weights]
