"""The kernels of mixed_op's backward pass; kernels/_edge.py says what their arguments are and where things lie.

A norm's input gradient needs Σ g and Σ g·v̂ over all pixels, of its output gradient g and its normalized input v̂. Such
sums come in rows: `partials` (rows, programs, padded), collected to `sums` (rows, padded).
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import _edge, _math, _partials, _windows


@triton.jit
def _store_partial(partials, index, sizes, channel, total):
    """What the program along grid axis 0 adds to row `index`."""
    _, _, _, _, _, _, padded = sizes
    to = (index * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * padded + channel
    tl.store(partials + to, total, mask=channel < padded)


@triton.jit
def _dot_normalized(g, v, saved, index, sizes, channel):
    """Σ g·v̂ over the tile's pixels, (BC,)."""
    _, _, _, _, _, _, padded = sizes
    center, scale = _edge.load_norm(saved, index, padded, channel, g.dtype)
    return tl.sum(g * (v - center[None, :]), 0) * scale


@triton.jit
def projections(
    grad,
    x,
    saved,
    partials,
    sizes,
    strides,
    STAGES: tl.constexpr,
    ROWS: tl.constexpr,
    POOL_ROWS: tl.constexpr,
    SKIP_ROW: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Σ g to row 0; Σ g·v̂ of the branches' last STAGES to ROWS, of the pools to POOL_ROWS, and Σ g·x to SKIP_ROW (0:
    absent). strides: grad's, x's."""
    C, H, W, h, w, pixels, _ = sizes
    values = saved[0]
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    channel_mask = channel < C
    coords, pixel_mask = _windows.pixels(tl.program_id(0), h, w, pixels, BM)
    mask = pixel_mask[:, None] & channel_mask[None, :]
    g = _windows.read(grad, strides[0], coords[0], coords[1], coords[2], channel, mask, None, None, False)
    _store_partial(partials, 0, sizes, channel, tl.sum(g, 0))
    for k in tl.static_range(len(STAGES)):
        v = tl.load(values + _edge.offset(STAGES[k], coords, sizes, channel), mask=mask, other=0.0).to(g.dtype)
        total = _dot_normalized(g, v, saved, 2 + STAGES[k], sizes, channel)
        _store_partial(partials, ROWS[k], sizes, channel, total)
    if POOL_ROWS[0] + POOL_ROWS[1] > 0:
        maximum, _place, average = _windows.pool(x, strides[1], H, W, coords, pixel_mask, channel, channel_mask, STRIDE)
        if POOL_ROWS[0] > 0:
            total = _dot_normalized(g, maximum, saved, 0, sizes, channel)
            _store_partial(partials, POOL_ROWS[0], sizes, channel, total)
        if POOL_ROWS[1] > 0:
            total = _dot_normalized(g, average, saved, 1, sizes, channel)
            _store_partial(partials, POOL_ROWS[1], sizes, channel, total)
    if SKIP_ROW > 0:
        same = _windows.read(x, strides[1], coords[0], coords[1], coords[2], channel, mask, None, None, False)
        _store_partial(partials, SKIP_ROW, sizes, channel, tl.sum(g * same, 0))


@triton.jit
def collect(partials, sums, d_z, programs, padded, ROW_OF_Z: tl.constexpr, TILES: tl.constexpr, CHANNELS: tl.constexpr):
    """`sums` in float64, and to d_z[l] the total of row ROW_OF_Z[l], 0 where that is −1."""
    index = tl.program_id(0)
    total = tl.zeros((), tl.float64)
    for start in range(0, padded, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        found = tl.zeros((CHANNELS,), tl.float64)
        for first in range(0, programs, TILES):
            n = first + tl.arange(0, TILES)
            mask = (n < programs)[:, None] & (channel < padded)[None, :]
            to = (index * programs + n).to(tl.int64)[:, None] * padded + channel[None, :]
            found += tl.sum(tl.load(partials + to, mask=mask, other=0.0).to(tl.float64), 0)
        tl.store(sums + index * padded + channel, found, mask=channel < padded)
        total += tl.sum(found, 0)
    for l in tl.static_range(len(ROW_OF_Z)):
        if ROW_OF_Z[l] == index:
            _partials.store(d_z + l, total, None)
        elif ROW_OF_Z[l] == -1:
            _partials.store(d_z + l, total * 0.0, None)


@triton.jit
def _mean(sums, index, sizes, channel, dtype: tl.constexpr):
    """Row `index` of the sums over the number of pixels, (BC,)."""
    _, _, _, _, _, pixels, padded = sizes
    share = 1.0 / (_math.scalar(1.0, tl.float64) * pixels)
    return (_edge.load_row(sums, index, padded, channel, sums) * share).to(dtype)


@triton.jit
def _norm_input_gradient(g, v, saved, index, sums, row_g, row_gv, sizes, channel):
    """The gradient of a norm's input v from that of its output, (BM, BC); its sums are in rows row_g and row_gv."""
    _, _, _, _, _, _, padded = sizes
    center, scale = _edge.load_norm(saved, index, padded, channel, g.dtype)
    mean_g, mean_gv = _mean(sums, row_g, sizes, channel, g.dtype), _mean(sums, row_gv, sizes, channel, g.dtype)
    normalized = (v - center[None, :]) * scale[None, :]
    return scale[None, :] * (g - mean_g[None, :] - normalized * mean_gv[None, :])


@triton.jit
def _stage_gradient(
    grad, strides, weight, saved, stage, sums, row_g, row_gv, coords, pixel_mask, channel, sizes
):  # fmt: skip
    """The gradient of a stage's values, where that of its normalized output is weight·grad; 0 outside."""
    C, _, _, _, _, _, _ = sizes
    values = saved[0]
    mask = pixel_mask[:, None] & (channel < C)[None, :]
    g = _windows.read(grad, strides, coords[0], coords[1], coords[2], channel, mask, None, None, False)
    v = tl.load(values + _edge.offset(stage, coords, sizes, channel), mask=mask, other=0.0).to(g.dtype)
    d = _norm_input_gradient(g, v, saved, 2 + stage, sums, row_g, row_gv, sizes, channel)
    return tl.where(mask, weight * d, 0.0)


@triton.jit
def pointwise_input_gradient(
    grad,
    z,
    sums,
    saved,
    weights,
    d_depthwise,
    sizes,
    strides,
    STAGES: tl.constexpr,
    KS: tl.constexpr,
    SLOTS: tl.constexpr,
    POSITIONS: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    BN: tl.constexpr,
):
    """Back through the norms and pointwise convolutions of STAGES, one along each step of grid axis 1: the output
    gradients of their depthwise convolutions, into SLOTS of d_depthwise (slots, pixels, padded).

    grad is the edge's, and z weighs it (at POSITIONS), or that of every stage, one after the other, and z is None.
    ROWS: two of `sums` per stage. strides: grad's, and from one stage's gradient to the next. Grid axis 2: blocks of BK
    inputs.
    """
    C, _, _, h, w, pixels, padded = sizes
    dtype: tl.constexpr = _math.zeros((1,), d_depthwise).dtype
    c = tl.program_id(2) * BK + tl.arange(0, BK)
    for k in tl.static_range(len(STAGES)):
        if tl.program_id(1) == k:
            weight = tl.full((), 1.0, dtype)
            if z is not None:
                weight = tl.load(z + POSITIONS[k]).to(dtype)
            # A factorized reduction has two weights, for a part of the outputs each.
            for part in range(2 if KS[k] == 0 else 1):
                first, end = 0, C
                filters = weights[2 * k + 1]
                if KS[k] == 0:
                    if part == 0:
                        filters = weights[2 * k]
                    first, end = _edge.half_of(part, C)
                for tile in range(tl.program_id(0), tl.cdiv(pixels, BM), tl.num_programs(0)):
                    coords, pixel_mask = _windows.pixels(tile, h, w, pixels, BM)
                    d = tl.zeros((BM, BK), dtype)
                    for start in range(0, C, BN):
                        n = start + tl.arange(0, BN)
                        dv = _stage_gradient(
                            grad + k * strides[1], strides[0], weight, saved, STAGES[k], sums, ROWS[2 * k],
                            ROWS[2 * k + 1], coords, pixel_mask, n, sizes,
                        ).to(dtype)  # fmt: skip
                        if KS[k] == 0:
                            dv = tl.where(((n >= first) & (n < end))[None, :], dv, 0.0)
                        matrix = _edge.load_filters(filters, n[:, None], c[None, :], first, end, C, dtype)
                        d = _edge.dot(dv, matrix, d, PRECISION)
                    to = _edge.offset(SLOTS[k] + part, coords, sizes, c)
                    tl.store(d_depthwise + to, d, mask=pixel_mask[:, None] & (c < padded)[None, :])


@triton.jit
def pointwise_weight_gradient(
    grad,
    z,
    sums,
    x,
    saved,
    weights,
    contributions,
    sizes,
    strides,
    STAGES: tl.constexpr,
    SOURCES: tl.constexpr,
    KS: tl.constexpr,
    DILATIONS: tl.constexpr,
    POSITIONS: tl.constexpr,
    ROWS: tl.constexpr,
    STRIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    BN: tl.constexpr,
):
    """What programs add to the gradients of the pointwise weights of STAGES, for which the depthwise convolutions are
    computed again; arguments as above. strides: grad's, from one stage's gradient to the next, x's. Grid axis 2: blocks
    of BN outputs × BK inputs."""
    C, _, _, h, w, pixels, _ = sizes
    dtype: tl.constexpr = _math.zeros((1,), x).dtype
    blocks = tl.cdiv(C, BK)
    c = (tl.program_id(2) % blocks) * BK + tl.arange(0, BK)
    n = (tl.program_id(2) // blocks) * BN + tl.arange(0, BN)
    for k in tl.static_range(len(STAGES)):
        if tl.program_id(1) == k:
            weight = tl.full((), 1.0, dtype)
            if z is not None:
                weight = tl.load(z + POSITIONS[k]).to(dtype)
            for part in range(2 if KS[k] == 0 else 1):
                first, end = 0, C
                partial = contributions[2 * k + 1]
                if KS[k] == 0:
                    if part == 0:
                        partial = contributions[2 * k]
                    first, end = _edge.half_of(part, C)
                d_weight = tl.zeros((BN, BK), dtype)
                for tile in range(tl.program_id(0), tl.cdiv(pixels, BM), tl.num_programs(0)):
                    coords, pixel_mask = _windows.pixels(tile, h, w, pixels, BM)
                    dv = _stage_gradient(
                        grad + k * strides[1], strides[0], weight, saved, STAGES[k], sums, ROWS[2 * k],
                        ROWS[2 * k + 1], coords, pixel_mask, n, sizes,
                    ).to(dtype)  # fmt: skip
                    if KS[k] == 0:
                        u = _edge.every_other(x, strides[2], coords, pixel_mask, c, sizes, part)
                    else:
                        u = _edge.depthwise(
                            x, strides[2], saved, weights[2 * k], coords, pixel_mask, c, sizes,
                            SOURCES[k], KS[k], DILATIONS[k], STRIDE,
                        ).to(dtype)  # fmt: skip
                    d_weight = _edge.dot(tl.trans(dv), u, d_weight, PRECISION)
                row = n[:, None]
                to = (tl.program_id(0).to(tl.int64) * (end - first) + row - first) * C + c[None, :]
                tl.store(partial + to, d_weight, mask=(row >= first) & (row < end) & (c < C)[None, :])


@triton.jit
def pool_output_gradient(
    grad,
    z,
    sums,
    x,
    saved,
    pools,
    sizes,
    strides,
    POOL_ROWS: tl.constexpr,
    MAX_POOLS: tl.constexpr,
    AVERAGE_POOLS: tl.constexpr,
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """The gradients of what the pools give, before their norms, and the places of the maxima, into `pools` (d_max,
    d_average, places), (pixels, padded) each. MAX_POOLS, AVERAGE_POOLS: positions in z; strides: grad's, x's."""
    C, H, W, h, w, pixels, _ = sizes
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    channel_mask = channel < C
    coords, pixel_mask = _windows.pixels(tl.program_id(0), h, w, pixels, BM)
    mask = pixel_mask[:, None] & channel_mask[None, :]
    g = _windows.read(grad, strides[0], coords[0], coords[1], coords[2], channel, mask, None, None, False)
    maximum, place, average = _windows.pool(x, strides[1], H, W, coords, pixel_mask, channel, channel_mask, STRIDE)
    to = _edge.offset(0, coords, sizes, channel)
    d_max = _pool_gradient(g, maximum, saved, 0, sums, z, sizes, channel, POOL_ROWS[0], MAX_POOLS)
    d_average = _pool_gradient(g, average, saved, 1, sums, z, sizes, channel, POOL_ROWS[1], AVERAGE_POOLS)
    tl.store(pools[0] + to, d_max, mask=mask)
    tl.store(pools[1] + to, d_average, mask=mask)
    tl.store(pools[2] + to, place.to(tl.int8), mask=mask)


@triton.jit
def _pool_gradient(g, v, saved, index, sums, z, sizes, channel, ROW: tl.constexpr, POSITIONS: tl.constexpr):
    if ROW == 0:
        return g * 0.0
    else:
        weight = _edge.total_weight(z, POSITIONS, g.dtype)
        return weight * _norm_input_gradient(g, v, saved, index, sums, 0, ROW, sizes, channel)


@triton.jit
def second_stages_backward(
    d_depthwise,
    saved,
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
    """Back through the second stages' depthwise convolutions and ReLUs: the gradients of the normalized stages SOURCES
    into out (stages, pixels, padded), their Σ d and Σ d·v̂ into `partials`, and what programs add to the weights'.

    Grid axis 1: stages; axis 2: blocks of BC channels.
    """
    C, _, _, h, w, pixels, padded = sizes
    values, mean, rstd = saved
    channel = tl.program_id(2) * BC + tl.arange(0, BC)
    channel_mask = channel < C
    for k in tl.static_range(len(KS)):
        if tl.program_id(1) == k:
            center = _edge.load_row(mean, 2 + SOURCES[k], padded, channel, out)
            scale = _edge.load_row(rstd, 2 + SOURCES[k], padded, channel, out)
            partial = contributions[k] + tl.program_id(0).to(tl.int64) * C * (KS[k] * KS[k])
            total = _math.zeros((BC,), out)
            total_normalized = _math.zeros((BC,), out)
            for tile in range(tl.program_id(0), tl.cdiv(pixels, BM), tl.num_programs(0)):
                coords, pixel_mask = _windows.pixels(tile, h, w, pixels, BM)
                mask = pixel_mask[:, None] & channel_mask[None, :]
                from_source = _edge.offset(SOURCES[k], coords, sizes, channel)
                v = tl.load(values + from_source, mask=mask, other=0.0).to(total.dtype)
                v = tl.where(mask, (v - center[None, :]) * scale[None, :], 0.0)
                d = _windows.convolve_backward(
                    d_depthwise + _edge.stage_offset(SLOTS[k], sizes), _edge.stage_strides(sizes), h, w, weights[k],
                    _windows.relu(v), coords, pixel_mask, channel, channel_mask, partial, tile == tl.program_id(0),
                    KS[k], 1, 1,
                )  # fmt: skip
                d = tl.where(mask & ~(v <= 0.0), d, 0.0)
                total += tl.sum(d, 0)
                total_normalized += tl.sum(d * v, 0)
                to = _edge.offset(k, coords, sizes, channel)
                tl.store(out + to, d, mask=pixel_mask[:, None] & (channel < padded)[None, :])
            _store_partial(partials, 2 * k, sizes, channel, total)
            _store_partial(partials, 2 * k + 1, sizes, channel, total_normalized)


@triton.jit
def first_stages_backward(
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
    STRIDE: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """The gradient of x through all first stages, the pools and skips, at once, and what programs add to the weights'.
    `pools` as above, or None; strides: grad's, x's, d_x's; input pixels are numbered."""
    C, H, W, h, w, pixels, padded = sizes
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    channel_mask = channel < C
    inner = _edge.stage_strides(sizes)
    count = pixels // (h * w) * H * W
    for tile in range(tl.program_id(0), tl.cdiv(count, BM), tl.num_programs(0)):
        coords, pixel_mask = _windows.pixels(tile, H, W, count, BM)
        mask = pixel_mask[:, None] & channel_mask[None, :]
        value = _windows.read(x, strides[1], coords[0], coords[1], coords[2], channel, mask, None, None, True)
        d = tl.zeros(value.shape, value.dtype)
        for k in tl.static_range(len(KS)):
            slot = d_depthwise + _edge.stage_offset(SLOTS[k], sizes)
            if KS[k] == 0:
                # Pixels of even rows and columns are read by one half, those of odd ones by the other.
                odd = coords[1] & 1
                one = pixel_mask & ((coords[2] & 1) == odd)
                to = _windows.offset(inner, coords[0], coords[1] >> 1, coords[2] >> 1, channel)
                to += (odd.to(tl.int64) * pixels * padded)[:, None]
                d += tl.load(slot + to, mask=one[:, None] & channel_mask[None, :], other=0.0).to(d.dtype)
            else:
                partial = contributions[k] + tl.program_id(0).to(tl.int64) * C * (KS[k] * KS[k])
                d += _windows.convolve_backward(
                    slot, inner, h, w, weights[k], value, coords, pixel_mask, channel, channel_mask, partial,
                    tile == tl.program_id(0), KS[k], DILATIONS[k], STRIDE,
                )  # fmt: skip
        d = tl.where(value <= 0.0, 0.0, d)
        if pools is not None:
            d += _windows.pool_backward(
                pools[0], pools[1], pools[2], inner, H, W, h, w, coords, pixel_mask, channel, channel_mask, STRIDE
            )
        if len(SKIPS) > 0:
            g = _windows.read(grad, strides[0], coords[0], coords[1], coords[2], channel, mask, None, None, False)
            d += _edge.total_weight(z, SKIPS, d.dtype) * g
        tl.store(d_x + _windows.offset(strides[2], coords[0], coords[1], coords[2], channel), d, mask=mask)
