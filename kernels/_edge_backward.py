"""The kernels of mixed_op's backward pass; kernels/_edge.py says where things lie.

sizes: (C, H, W, h, w, output pixels, width). Sums over pixels come in rows, each (programs, width) until they are
collected to (width,).
"""

from __future__ import annotations

import triton
import triton.language as tl

from base_fast.kernels import _edge, _math, _partials, _windows


@triton.jit
def _put(partials, index, sizes, channel, total):
    """What the program along grid axis 0 adds to row `index`."""
    to = (index * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * sizes[6] + channel
    tl.store(partials + to, total, mask=channel < sizes[6])


@triton.jit
def _along(g, v, mean, rstd, index, sizes, channel):
    """Σ g·v̂ over the tile's pixels, (BC,)."""
    center, scale = (_edge.row(mean, index, sizes[6], channel, mean), _edge.row(rstd, index, sizes[6], channel, mean))
    return tl.sum(g * (v - center.to(g.dtype)[None, :]), 0) * scale.to(g.dtype)


@triton.jit
def projections(
    grad,
    x,
    values,
    mean,
    rstd,
    partials,
    sizes,
    strides,
    FINALS: tl.constexpr,
    ROWS: tl.constexpr,
    POOL_ROWS: tl.constexpr,
    SKIP_ROW: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Σ g to row 0; Σ g·v̂ of the stages FINALS to ROWS, of the pools to POOL_ROWS, and Σ g·x to SKIP_ROW (0: absent).
    strides: grad's, x's."""
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    at, inside = _windows.pixels(tl.program_id(0), sizes[3], sizes[4], sizes[5], BM)
    mask = inside[:, None] & there[None, :]
    g = _windows.read(grad, strides[0], at[0], at[1], at[2], channel, mask, None, None, False)
    _put(partials, 0, sizes, channel, tl.sum(g, 0))
    for k in tl.static_range(len(FINALS)):
        v = tl.load(values + _edge.place(FINALS[k], at, sizes, channel), mask=mask, other=0.0).to(g.dtype)
        _put(partials, ROWS[k], sizes, channel, _along(g, v, mean, rstd, 2 + FINALS[k], sizes, channel))
    if POOL_ROWS[0] + POOL_ROWS[1] > 0:
        maximum, _, average = _windows.pool(x, strides[1], sizes[1], sizes[2], at, inside, channel, there, STRIDE)
        if POOL_ROWS[0] > 0:
            _put(partials, POOL_ROWS[0], sizes, channel, _along(g, maximum, mean, rstd, 0, sizes, channel))
        if POOL_ROWS[1] > 0:
            _put(partials, POOL_ROWS[1], sizes, channel, _along(g, average, mean, rstd, 1, sizes, channel))
    if SKIP_ROW > 0:
        same = _windows.read(x, strides[1], at[0], at[1], at[2], channel, mask, None, None, False)
        _put(partials, SKIP_ROW, sizes, channel, tl.sum(g * same, 0))


@triton.jit
def collect(partials, sums, d_z, programs, width, TARGETS: tl.constexpr, TILES: tl.constexpr, CHANNELS: tl.constexpr):
    """sums (rows, width) in float64, and to d_z[l] the total of row TARGETS[l], 0 where that is −1."""
    index = tl.program_id(0)
    total = tl.zeros((), tl.float64)
    for start in range(0, width, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        found = tl.zeros((CHANNELS,), tl.float64)
        for first in range(0, programs, TILES):
            n = first + tl.arange(0, TILES)
            there = (n < programs)[:, None] & (channel < width)[None, :]
            to = (index * programs + n).to(tl.int64)[:, None] * width + channel[None, :]
            found += tl.sum(tl.load(partials + to, mask=there, other=0.0).to(tl.float64), 0)
        tl.store(sums + index * width + channel, found, mask=channel < width)
        total += tl.sum(found, 0)
    for l in tl.static_range(len(TARGETS)):
        if TARGETS[l] == index:
            _partials.store(d_z + l, total, None)
        elif TARGETS[l] == -1:
            _partials.store(d_z + l, total * 0.0, None)


@triton.jit
def _mean(sums, index, sizes, channel, dtype: tl.constexpr):
    """Row `index` of the sums over the number of pixels, (BC,)."""
    share = 1.0 / (_math.scalar(1.0, tl.float64) * sizes[5])
    return (_edge.row(sums, index, sizes[6], channel, sums) * share).to(dtype)


@triton.jit
def _norm_gradient(g, v, mean, rstd, index, sums, row_g, row_gv, sizes, channel):
    """The gradient of a norm's input v from that of its output, (BM, BC)."""
    center = _edge.row(mean, index, sizes[6], channel, mean).to(g.dtype)
    scale = _edge.row(rstd, index, sizes[6], channel, mean).to(g.dtype)
    mean_g, mean_gv = _mean(sums, row_g, sizes, channel, g.dtype), _mean(sums, row_gv, sizes, channel, g.dtype)
    normalized = (v - center[None, :]) * scale[None, :]
    return scale[None, :] * (g - mean_g[None, :] - normalized * mean_gv[None, :])


@triton.jit
def _stage_gradient(
    grad,
    strides,
    weight,
    values,
    mean,
    rstd,
    stage,
    sums,
    row_g,
    row_gv,
    at,
    inside,
    channel,
    sizes,
):
    """The same for a stage, whose output's gradient is weight·grad; 0 outside."""
    mask = inside[:, None] & (channel < sizes[0])[None, :]
    g = _windows.read(grad, strides, at[0], at[1], at[2], channel, mask, None, None, False)
    v = tl.load(values + _edge.place(stage, at, sizes, channel), mask=mask, other=0.0).to(g.dtype)
    d = _norm_gradient(g, v, mean, rstd, 2 + stage, sums, row_g, row_gv, sizes, channel)
    return tl.where(mask, weight * d, 0.0)


@triton.jit
def pointwise(
    grad,
    z,
    sums,
    x,
    values,
    mean,
    rstd,
    weights,
    contributions,
    d_depthwise,
    pools,
    sizes,
    strides,
    STAGES: tl.constexpr,
    SOURCES: tl.constexpr,
    KS: tl.constexpr,
    DILATIONS: tl.constexpr,
    SLOTS: tl.constexpr,
    POSITIONS: tl.constexpr,
    ROWS: tl.constexpr,
    POOLS: tl.constexpr,
    STRIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    BN: tl.constexpr,
):
    """Of STAGES, one along each step of grid axis 1: the gradients of what the pointwise convolution reads, into slots
    of d_depthwise, and of its weight, into `contributions`; where POOLS, one step more for the gradients of the pools.

    Along grid axis 2 the former are in blocks of BK inputs, the latter after them in blocks of BN outputs × BK inputs,
    for which the depthwise convolution is computed again. grad is the edge's, and z weighs it (at POSITIONS), or that
    of every stage, one after the other, and z is None. ROWS: two of `sums` per stage. strides: grad's, x's, and from
    one stage's gradient to the next.
    """
    blocks = tl.cdiv(sizes[0], BK)
    c = (tl.program_id(2) % blocks) * BK + tl.arange(0, BK)
    dtype: tl.constexpr = _math.zeros((1,), x).dtype
    for k in tl.static_range(len(STAGES)):
        if tl.program_id(1) == k:
            weight = tl.full((), 1.0, dtype)
            if z is not None:
                weight = tl.load(z + POSITIONS[k]).to(dtype)
            g = grad + k * strides[2]
            # A factorized reduction has two weights, for a part of the outputs each.
            for part in range(2 if KS[k] == 0 else 1):
                above, below = 0, sizes[0]
                filters, own = weights[2 * k + 1], contributions[2 * k + 1]
                if KS[k] == 0:
                    if part == 0:
                        filters, own = weights[2 * k], contributions[2 * k]
                    half = sizes[0] // 2
                    above, below = half * part, half + (sizes[0] - half) * part
                if tl.program_id(2) < blocks:
                    for tile in range(tl.program_id(0), tl.cdiv(sizes[5], BM), tl.num_programs(0)):
                        at, inside = _windows.pixels(tile, sizes[3], sizes[4], sizes[5], BM)
                        d = tl.zeros((BM, BK), dtype)
                        for start in range(0, sizes[0], BN):
                            n = start + tl.arange(0, BN)
                            dv = _stage_gradient(
                                g, strides[0], weight, values, mean, rstd, STAGES[k], sums, ROWS[2 * k],
                                ROWS[2 * k + 1], at, inside, n, sizes,
                            ).to(dtype)  # fmt: skip
                            if KS[k] == 0:
                                dv = tl.where(((n >= above) & (n < below))[None, :], dv, 0.0)
                            w = _edge.load_filters(filters, n[:, None], c[None, :], above, below, sizes[0], dtype)
                            d = _edge.dot(dv, w, d, PRECISION)
                        to = _edge.place(SLOTS[k] + part, at, sizes, c)
                        tl.store(d_depthwise + to, d, mask=inside[:, None] & (c < sizes[6])[None, :])
                else:
                    n = (tl.program_id(2) // blocks - 1) * BN + tl.arange(0, BN)
                    d_weight = tl.zeros((BN, BK), dtype)
                    for tile in range(tl.program_id(0), tl.cdiv(sizes[5], BM), tl.num_programs(0)):
                        at, inside = _windows.pixels(tile, sizes[3], sizes[4], sizes[5], BM)
                        dv = _stage_gradient(
                            g, strides[0], weight, values, mean, rstd, STAGES[k], sums, ROWS[2 * k], ROWS[2 * k + 1],
                            at, inside, n, sizes,
                        ).to(dtype)  # fmt: skip
                        if KS[k] == 0:
                            read = _edge.shifted(x, strides[1], at, inside, c, sizes, part)
                        else:
                            read = _edge.depthwise(
                                x, strides[1], values, mean, rstd, weights[2 * k], at, inside, c, sizes,
                                SOURCES[k], KS[k], DILATIONS[k], STRIDE,
                            ).to(dtype)  # fmt: skip
                        d_weight = _edge.dot(tl.trans(dv), read, d_weight, PRECISION)
                    row = n[:, None]
                    to = (tl.program_id(0).to(tl.int64) * (below - above) + row - above) * sizes[0] + c[None, :]
                    mask = (row >= above) & (row < below) & (c < sizes[0])[None, :]
                    tl.store(own + to, d_weight, mask=mask)
    if POOLS is not None:  # noqa: SIM102 (settled when compiled)
        if (tl.program_id(1) == len(STAGES)) & (tl.program_id(2) < blocks):
            _pools(grad, z, sums, x, mean, rstd, pools, sizes, strides, c, POOLS, STRIDE, BM)


@triton.jit
def _pools(
    grad,
    z,
    sums,
    x,
    mean,
    rstd,
    pools,
    sizes,
    strides,
    channel,
    POOLS: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
):
    """Into `pools` (d_max, d_average, places). POOLS: row and positions of the maximum, of the average; row 0: none."""
    there = channel < sizes[0]
    for tile in range(tl.program_id(0), tl.cdiv(sizes[5], BM), tl.num_programs(0)):
        at, inside = _windows.pixels(tile, sizes[3], sizes[4], sizes[5], BM)
        mask = inside[:, None] & there[None, :]
        g = _windows.read(grad, strides[0], at[0], at[1], at[2], channel, mask, None, None, False)
        maximum, place, average = _windows.pool(x, strides[1], sizes[1], sizes[2], at, inside, channel, there, STRIDE)
        to = _edge.place(0, at, sizes, channel)
        d_max = _pool_gradient(g, maximum, mean, rstd, 0, sums, z, sizes, channel, POOLS[0], POOLS[1])
        d_average = _pool_gradient(g, average, mean, rstd, 1, sums, z, sizes, channel, POOLS[2], POOLS[3])
        tl.store(pools[0] + to, d_max, mask=mask)
        tl.store(pools[1] + to, d_average, mask=mask)
        tl.store(pools[2] + to, place.to(tl.int8), mask=mask)


@triton.jit
def _pool_gradient(g, v, mean, rstd, index, sums, z, sizes, channel, ROW: tl.constexpr, POSITIONS: tl.constexpr):
    if ROW == 0:
        return g * 0.0
    else:
        weight = _edge.total_weight(z, POSITIONS, g.dtype)
        return weight * _norm_gradient(g, v, mean, rstd, index, sums, 0, ROW, sizes, channel)


@triton.jit
def second_stages(
    d_depthwise,
    values,
    mean,
    rstd,
    weights,
    contributions,
    out,
    partials,
    sizes,
    SOURCES: tl.constexpr,
    KS: tl.constexpr,
    SLOTS: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Back through second stages' depthwise convolutions and ReLUs: the gradients of the normalized stages SOURCES into
    out (stages, pixels, width), their Σ d and Σ d·v̂ into `partials`, and the weights' contributions.

    Grid axis 1: stages.
    """
    channel = tl.program_id(2) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    strides = (sizes[3] * sizes[4] * sizes[6], 1, sizes[4] * sizes[6], sizes[6])
    for k in tl.static_range(len(KS)):
        if tl.program_id(1) == k:
            center = _edge.row(mean, 2 + SOURCES[k], sizes[6], channel, out)
            scale = _edge.row(rstd, 2 + SOURCES[k], sizes[6], channel, out)
            own = contributions[k] + tl.program_id(0).to(tl.int64) * sizes[0] * (KS[k] * KS[k])
            total = _math.zeros((BC,), out)
            along = _math.zeros((BC,), out)
            for tile in range(tl.program_id(0), tl.cdiv(sizes[5], BM), tl.num_programs(0)):
                at, inside = _windows.pixels(tile, sizes[3], sizes[4], sizes[5], BM)
                mask = inside[:, None] & there[None, :]
                v = tl.load(values + _edge.place(SOURCES[k], at, sizes, channel), mask=mask, other=0.0).to(total.dtype)
                v = tl.where(mask, (v - center[None, :]) * scale[None, :], 0.0)
                d = _windows.convolve_backward(
                    d_depthwise + _edge.begin(SLOTS[k], sizes), strides, sizes[3], sizes[4], weights[k],
                    _windows.relu(v), at, inside, channel, there, own, tile == tl.program_id(0), KS[k], 1, 1,
                )  # fmt: skip
                d = tl.where(mask & ~(v <= 0.0), d, 0.0)
                total += tl.sum(d, 0)
                along += tl.sum(d * v, 0)
                to = _edge.place(k, at, sizes, channel)
                tl.store(out + to, d, mask=inside[:, None] & (channel < sizes[6])[None, :])
            _put(partials, 2 * k, sizes, channel, total)
            _put(partials, 2 * k + 1, sizes, channel, along)


@triton.jit
def first_stages(
    d_depthwise,
    grad,
    z,
    x,
    pools,
    weights,
    contributions,
    d_x,
    sizes,
    strides,
    KS: tl.constexpr,
    DILATIONS: tl.constexpr,
    SLOTS: tl.constexpr,
    SKIPS: tl.constexpr,
    POOLS: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """The gradient of x through all first stages, the pools and skips, at once, and the weights' contributions.
    strides: grad's, x's, d_x's; input pixels are numbered."""
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    inner = (sizes[3] * sizes[4] * sizes[6], 1, sizes[4] * sizes[6], sizes[6])
    count = sizes[5] // (sizes[3] * sizes[4]) * sizes[1] * sizes[2]
    for tile in range(tl.program_id(0), tl.cdiv(count, BM), tl.num_programs(0)):
        at, inside = _windows.pixels(tile, sizes[1], sizes[2], count, BM)
        mask = inside[:, None] & there[None, :]
        value = _windows.read(x, strides[1], at[0], at[1], at[2], channel, mask, None, None, True)
        d = tl.zeros(value.shape, value.dtype)
        for k in tl.static_range(len(KS)):
            slot = d_depthwise + _edge.begin(SLOTS[k], sizes)
            if KS[k] == 0:
                # Pixels of even rows and columns are read by one half, those of odd ones by the other.
                odd = at[1] & 1
                one = inside & ((at[2] & 1) == odd)
                to = _windows.offset(inner, at[0], at[1] >> 1, at[2] >> 1, channel)
                to += (odd.to(tl.int64) * sizes[5] * sizes[6])[:, None]
                d += tl.load(slot + to, mask=one[:, None] & there[None, :], other=0.0).to(d.dtype)
            else:
                own = contributions[k] + tl.program_id(0).to(tl.int64) * sizes[0] * (KS[k] * KS[k])
                d += _windows.convolve_backward(
                    slot, inner, sizes[3], sizes[4], weights[k], value, at, inside, channel, there, own,
                    tile == tl.program_id(0), KS[k], DILATIONS[k], STRIDE,
                )  # fmt: skip
        d = tl.where(value <= 0.0, 0.0, d)
        if POOLS:
            d += _windows.pool_backward(
                pools[0], pools[1], pools[2], inner, sizes[1], sizes[2], sizes[3], sizes[4], at, inside, channel, there,
                STRIDE,
            )  # fmt: skip
        if len(SKIPS) > 0:
            g = _windows.read(grad, strides[0], at[0], at[1], at[2], channel, mask, None, None, False)
            d += _edge.total_weight(z, SKIPS, d.dtype) * g
        tl.store(d_x + _windows.offset(strides[2], at[0], at[1], at[2], channel), d, mask=mask)
