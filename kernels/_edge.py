"""What the kernels of mixed_op share: products over channels, norms, and where things lie.

A stage is a depthwise and a pointwise convolution, or a factorized reduction, up to its batch norm; what it gives
before the norm are its values. Inside an edge images are channels-last with C padded to a multiple of 16, and
pixels are numbered through: an element of stage s is at (s·pixels + pixel)·padded + channel. Padded channels hold
zeros. Statistics have a row for the maximum, one for the average and one for each stage.

    sizes    (C, H, W, h, w, pixels, padded): channels, the input's and the output's height and width, the output's
             pixels in all images, channels with padding
    saved    (values, mean, rstd): what forward left
    coords   a tile's pixels (image, row, column), (BM,) each; pixel_mask (BM,): which exist
    channel  a tile's channels, (BC,); channel_mask (BC,): which exist
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import _math, _windows


@triton.jit
def dot(a, b, total, PRECISION: tl.constexpr):
    """total + a·b."""
    return tl.dot(a, b, total, input_precision=PRECISION, out_dtype=total.dtype)


@triton.jit
def load_filters(weight, rows, columns, first, end, channels, dtype: tl.constexpr):
    """Of a weight (C_out, C_in) whose first row is output channel `first`, outputs (R, 1) and inputs (1, S) or the
    other way round; 0 beyond rows first ≤ … < end and C_in."""
    mask = (rows >= first) & (rows < end) & (columns < channels)
    return tl.load(weight + (rows - first) * channels + columns, mask=mask, other=0.0).to(dtype)


@triton.jit
def half_of(part, C):
    """The outputs first ≤ … < end of the first (part 0) or second convolution of a factorized reduction."""
    half = C // 2
    return half * part, half + (C - half) * part


@triton.jit
def load_row(x, index, padded, channel, like):
    """Row `index` of x (…, padded) for the tile's channels, (BC,), in the dtype of arithmetic for `like`, a pointer."""
    return tl.load(x + index * padded + channel, mask=channel < padded, other=0.0).to(_math.zeros((1,), like).dtype)


@triton.jit
def load_norm(saved, index, padded, channel, dtype: tl.constexpr):
    """Mean and 1/σ of row `index` of the statistics, (BC,) each."""
    _, mean, rstd = saved
    center, scale = load_row(mean, index, padded, channel, mean), load_row(rstd, index, padded, channel, rstd)
    return center.to(dtype), scale.to(dtype)


@triton.jit
def total_weight(z, POSITIONS: tl.constexpr, dtype: tl.constexpr):
    """Σ z at the positions of one primitive."""
    total = tl.zeros((), dtype)
    for n in tl.static_range(len(POSITIONS)):
        total += tl.load(z + POSITIONS[n]).to(dtype)
    return total


@triton.jit
def offset(stage, coords, sizes, channel):
    """Of a tile's elements within the values of a stage, int64 (BM, BC)."""
    _, _, _, h, w, pixels, padded = sizes
    pixel = (coords[0] * h + coords[1]) * w + coords[2]
    return ((stage * pixels + pixel) * padded)[:, None] + channel[None, :]


@triton.jit
def stage_offset(stage, sizes):
    """Where the values of a stage begin, int64."""
    _, _, _, _, _, pixels, padded = sizes
    return tl.full((), stage, tl.int64) * pixels * padded


@triton.jit
def stage_strides(sizes):
    """Of the values of a stage, as those of images (B, C, h, w)."""
    _, _, _, h, w, _, padded = sizes
    return h * w * padded, 1, w * padded, padded


@triton.jit
def depthwise(
    x,
    x_strides,
    saved,
    weight,
    coords,
    pixel_mask,
    channel,
    sizes,
    SOURCE: tl.constexpr,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
):
    """The depthwise half of a stage, of relu(x) or, where SOURCE ≥ 0, of the normalized stage SOURCE: (BM, BC)."""
    C, H, W, h, w, _, padded = sizes
    values, mean, rstd = saved
    channel_mask = channel < C
    if SOURCE < 0:
        return _windows.convolve(
            x, x_strides, H, W, weight, coords, pixel_mask, channel, channel_mask, None, None,
            K, DILATION, STRIDE,
        )  # fmt: skip
    else:
        center = load_row(mean, 2 + SOURCE, padded, channel, values)
        scale = load_row(rstd, 2 + SOURCE, padded, channel, values)
        return _windows.convolve(
            values + stage_offset(SOURCE, sizes), stage_strides(sizes), h, w, weight, coords, pixel_mask, channel,
            channel_mask, center, scale, K, DILATION, 1,
        )  # fmt: skip


@triton.jit
def every_other(x, x_strides, coords, pixel_mask, channel, sizes, shift):
    """relu(x) at every other pixel, from `shift` on; 0 beyond the border. (BM, BC)."""
    C, H, W, _, _, _, _ = sizes
    row, column = coords[1] * 2 + shift, coords[2] * 2 + shift
    mask = (pixel_mask & (row < H) & (column < W))[:, None] & (channel < C)[None, :]
    return _windows.read(x, x_strides, coords[0], row, column, channel, mask, None, None, True)
