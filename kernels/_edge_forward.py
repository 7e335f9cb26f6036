"""The kernels of mixed_op's forward pass; kernels/_edge.py says what their arguments are and where things lie."""

from __future__ import annotations

import triton
import triton.language as tl

from . import _edge, _math, _windows


@triton.jit
def _store_moments(y, pixel_mask, channel, index, sizes, moments):
    """The tile's mean and sum of squared deviations per channel into row `index` of (rows, tiles, padded) each."""
    _, _, _, _, _, _, padded = sizes
    means, squares = moments
    count = tl.sum(pixel_mask.to(y.dtype), 0)
    mean = tl.sum(tl.where(pixel_mask[:, None], y, 0.0), 0) / count
    d = tl.where(pixel_mask[:, None], y - mean[None, :], 0.0)
    to = (index * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * padded + channel
    tl.store(means + to, mean, mask=channel < padded)
    tl.store(squares + to, tl.sum(d * d, 0), mask=channel < padded)


@triton.jit
def stages(
    x,
    weights,
    saved,
    moments,
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
    """The values of stages FIRST, FIRST + 1, …, one along each step of grid axis 1: depthwise and pointwise convolution
    in one, or a factorized reduction (K = 0), and the tile's moments; where POOLS, those of the pools in one step more.

    `weights`: two of each stage; `moments`: means and sums of squares (rows, tiles, padded), or None where statistics
    are known; grid axis 2: blocks of BN channels.
    """
    C, H, W, h, w, pixels, padded = sizes
    values = saved[0]
    coords, pixel_mask = _windows.pixels(tl.program_id(0), h, w, pixels, BM)
    channel = tl.program_id(2) * BN + tl.arange(0, BN)
    for k in tl.static_range(len(KS)):
        if tl.program_id(1) == k:
            y = _math.zeros((BM, BN), x)
            for start in range(0, C, BK):
                c = start + tl.arange(0, BK)
                rows, columns = channel[None, :], c[:, None]
                if KS[k] == 0:
                    for part in range(2):
                        filters = weights[2 * k]
                        if part == 1:
                            filters = weights[2 * k + 1]
                        d = _edge.every_other(x, x_strides, coords, pixel_mask, c, sizes, part)
                        first, end = _edge.half_of(part, C)
                        matrix = _edge.load_filters(filters, rows, columns, first, end, C, y.dtype)
                        one = _edge.dot(d, matrix, tl.zeros(y.shape, y.dtype), PRECISION)
                        # Zeros in place of the other half's filters would let its NaN through.
                        y += tl.where((rows >= first) & (rows < end), one, 0.0)
                else:
                    d = _edge.depthwise(
                        x, x_strides, saved, weights[2 * k], coords, pixel_mask, c, sizes,
                        SOURCES[k], KS[k], DILATIONS[k], STRIDE,
                    )  # fmt: skip
                    matrix = _edge.load_filters(weights[2 * k + 1], rows, columns, 0, C, C, y.dtype)
                    y = _edge.dot(d.to(y.dtype), matrix, y, PRECISION)
            mask = pixel_mask[:, None] & (channel < padded)[None, :]
            # Statistics are those of what is stored.
            y = y.to(values.dtype.element_ty).to(y.dtype)
            tl.store(values + _edge.offset(FIRST + k, coords, sizes, channel), y, mask=mask)
            if moments is not None:
                _store_moments(y, pixel_mask, channel, k + 2 * POOLS, sizes, moments)
    if POOLS:  # noqa: SIM102 (settled when compiled)
        if tl.program_id(1) == len(KS):
            channel_mask = channel < C
            maximum, _place, average = _windows.pool(
                x, x_strides, H, W, coords, pixel_mask, channel, channel_mask, STRIDE
            )
            _store_moments(maximum, pixel_mask, channel, 0, sizes, moments)
            _store_moments(average, pixel_mask, channel, 1, sizes, moments)


@triton.jit
def _normalized(y, saved, index, sizes, channel):
    """Branch y (BM, BC) after its norm, `index` being its row of the statistics."""
    _, _, _, _, _, _, padded = sizes
    center, scale = _edge.load_norm(saved, index, padded, channel, y.dtype)
    return (y - center[None, :]) * scale[None, :]


@triton.jit
def weighted_sum(
    x,
    z,
    saved,
    y,
    sizes,
    strides,
    STAGES: tl.constexpr,
    POSITIONS: tl.constexpr,
    MAX_POOLS: tl.constexpr,
    AVERAGE_POOLS: tl.constexpr,
    SKIPS: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """y = Σ z·norm(v) over the branches' last STAGES, weighted by z at POSITIONS, and over pools and skips, which name
    their positions in z. strides: x's, y's."""
    C, H, W, h, w, pixels, _ = sizes
    values = saved[0]
    coords, pixel_mask = _windows.pixels(tl.program_id(0), h, w, pixels, BM)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    channel_mask = channel < C
    mask = pixel_mask[:, None] & channel_mask[None, :]
    total = _math.zeros((BM, BC), x)
    for k in tl.static_range(len(STAGES)):
        v = tl.load(values + _edge.offset(STAGES[k], coords, sizes, channel), mask=mask, other=0.0).to(total.dtype)
        weight = tl.load(z + POSITIONS[k]).to(total.dtype)
        total += weight * _normalized(v, saved, 2 + STAGES[k], sizes, channel)
    if len(MAX_POOLS) + len(AVERAGE_POOLS) > 0:
        maximum, _place, average = _windows.pool(x, strides[0], H, W, coords, pixel_mask, channel, channel_mask, STRIDE)
        # With a weight of zero in place of one that is absent, a NaN would get in.
        if len(MAX_POOLS) > 0:
            weight = _edge.total_weight(z, MAX_POOLS, total.dtype)
            total += weight * _normalized(maximum, saved, 0, sizes, channel)
        if len(AVERAGE_POOLS) > 0:
            weight = _edge.total_weight(z, AVERAGE_POOLS, total.dtype)
            total += weight * _normalized(average, saved, 1, sizes, channel)
    if len(SKIPS) > 0:
        same = _windows.read(x, strides[0], coords[0], coords[1], coords[2], channel, mask, None, None, False)
        total += _edge.total_weight(z, SKIPS, total.dtype) * same
    tl.store(y + _windows.offset(strides[1], coords[0], coords[1], coords[2], channel), total, mask=mask)
