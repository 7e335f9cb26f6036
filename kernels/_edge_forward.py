"""The kernels of mixed_op's forward pass; kernels/_edge.py says where things lie.

sizes: (C, H, W, h, w, output pixels, width).
"""

from __future__ import annotations

import triton
import triton.language as tl

from base_fast.kernels import _edge, _math, _windows


@triton.jit
def _record(y, inside, channel, index, sizes, means, squares):
    """The tile's mean and sum of squared deviations per channel into row `index` of (rows, tiles, width)."""
    count = tl.sum(inside.to(y.dtype), 0)
    mean = tl.sum(tl.where(inside[:, None], y, 0.0), 0) / count
    d = tl.where(inside[:, None], y - mean[None, :], 0.0)
    to = (index * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * sizes[6] + channel
    tl.store(means + to, mean, mask=channel < sizes[6])
    tl.store(squares + to, tl.sum(d * d, 0), mask=channel < sizes[6])


@triton.jit
def stages(
    x,
    weights,
    mean,
    rstd,
    values,
    means,
    squares,
    sizes,
    x_strides,
    FIRST: tl.constexpr,
    SOURCES: tl.constexpr,
    KS: tl.constexpr,
    DILATIONS: tl.constexpr,
    POOLS: tl.constexpr,
    STRIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    BN: tl.constexpr,
):
    """Stages FIRST, FIRST + 1, …, one along each step of grid axis 1: depthwise and pointwise convolution in one, or a
    factorized reduction (K = 0), and the tile's statistics; where POOLS, those of the pools in one step more.

    `weights`: two of each stage; means, squares (rows, tiles, width) or None; grid axis 2: blocks of BN channels.
    """
    at, inside = _windows.pixels(tl.program_id(0), sizes[3], sizes[4], sizes[5], BM)
    channel = tl.program_id(2) * BN + tl.arange(0, BN)
    for k in tl.static_range(len(KS)):
        if tl.program_id(1) == k:
            y = _math.zeros((BM, BN), x)
            for start in range(0, sizes[0], BK):
                c = start + tl.arange(0, BK)
                rows, columns = channel[None, :], c[:, None]
                if KS[k] == 0:
                    half = sizes[0] // 2
                    for part in range(2):
                        filters = weights[2 * k]
                        if part == 1:
                            filters = weights[2 * k + 1]
                        d = _edge.shifted(x, x_strides, at, inside, c, sizes, part)
                        above, below = half * part, half + (sizes[0] - half) * part
                        w = _edge.load_filters(filters, rows, columns, above, below, sizes[0], y.dtype)
                        one = _edge.dot(d, w, tl.zeros(y.shape, y.dtype), PRECISION)
                        # Zeros in place of the other half's filters would let its NaN through.
                        y += tl.where((rows >= above) & (rows < below), one, 0.0)
                else:
                    d = _edge.depthwise(
                        x, x_strides, values, mean, rstd, weights[2 * k], at, inside, c, sizes,
                        SOURCES[k], KS[k], DILATIONS[k], STRIDE,
                    )  # fmt: skip
                    w = _edge.load_filters(weights[2 * k + 1], rows, columns, 0, sizes[0], sizes[0], y.dtype)
                    y = _edge.dot(d.to(y.dtype), w, y, PRECISION)
            mask = inside[:, None] & (channel < sizes[6])[None, :]
            # Statistics are those of what is stored.
            y = y.to(values.dtype.element_ty).to(y.dtype)
            tl.store(values + _edge.place(FIRST + k, at, sizes, channel), y, mask=mask)
            if means is not None:
                _record(y, inside, channel, k + 2 * POOLS, sizes, means, squares)
    if POOLS:  # noqa: SIM102 (settled when compiled)
        if tl.program_id(1) == len(KS):
            there = channel < sizes[0]
            maximum, _, average = _windows.pool(x, x_strides, sizes[1], sizes[2], at, inside, channel, there, STRIDE)
            _record(maximum, inside, channel, 0, sizes, means, squares)
            _record(average, inside, channel, 1, sizes, means, squares)


@triton.jit
def _normalized(y, mean, rstd, index, sizes, channel):
    """Branch y (BM, BC) after its norm, `index` being its row of the statistics."""
    center, scale = (_edge.row(mean, index, sizes[6], channel, mean), _edge.row(rstd, index, sizes[6], channel, mean))
    return (y - center.to(y.dtype)[None, :]) * scale.to(y.dtype)[None, :]


@triton.jit
def weighted_sum(
    x,
    z,
    values,
    mean,
    rstd,
    y,
    sizes,
    strides,
    FINALS: tl.constexpr,
    POSITIONS: tl.constexpr,
    MAXIMA: tl.constexpr,
    AVERAGES: tl.constexpr,
    SKIPS: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Σ z·v̂ over the stages FINALS, weighted by z at POSITIONS, the pools and x. strides: x's, y's."""
    at, inside = _windows.pixels(tl.program_id(0), sizes[3], sizes[4], sizes[5], BM)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    mask = inside[:, None] & there[None, :]
    total = _math.zeros((BM, BC), x)
    for k in tl.static_range(len(FINALS)):
        v = tl.load(values + _edge.place(FINALS[k], at, sizes, channel), mask=mask, other=0.0).to(total.dtype)
        weight = tl.load(z + POSITIONS[k]).to(total.dtype)
        total += weight * _normalized(v, mean, rstd, 2 + FINALS[k], sizes, channel)
    if len(MAXIMA) + len(AVERAGES) > 0:
        maximum, _, average = _windows.pool(x, strides[0], sizes[1], sizes[2], at, inside, channel, there, STRIDE)
        # With a weight of zero in place of one that is absent, a NaN would get in.
        if len(MAXIMA) > 0:
            weight = _edge.total_weight(z, MAXIMA, total.dtype)
            total += weight * _normalized(maximum, mean, rstd, 0, sizes, channel)
        if len(AVERAGES) > 0:
            weight = _edge.total_weight(z, AVERAGES, total.dtype)
            total += weight * _normalized(average, mean, rstd, 1, sizes, channel)
    if len(SKIPS) > 0:
        same = _windows.read(x, strides[0], at[0], at[1], at[2], channel, mask, None, None, False)
        total += _edge.total_weight(z, SKIPS, total.dtype) * same
    tl.store(y + _windows.offset(strides[1], at[0], at[1], at[2], channel), total, mask=mask)
