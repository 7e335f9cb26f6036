"""What the kernels of mixed_op share: products over channels, norms, and where things lie.

Inside an edge images are channels-last with C padded to a multiple of 16, `width`, and pixels are numbered through: an
element of stage s is at (s·pixels + pixel)·width + channel. Padded channels hold zeros. Statistics have a row for the
maximum, one for the average and one for each stage.
"""

from __future__ import annotations

import triton
import triton.language as tl

from base_fast.kernels import _math, _windows


@triton.jit
def dot(a, b, total, PRECISION: tl.constexpr):
    """total + a·b."""
    return tl.dot(a, b, total, input_precision=PRECISION, out_dtype=total.dtype)


@triton.jit
def load_filters(weight, rows, columns, above, below, channels, dtype: tl.constexpr):
    """Of a weight (C_out, C_in) whose first row is output channel `above`, outputs (R, 1) and inputs (1, S) or the
    other way round; 0 beyond rows above ≤ … < below and C_in."""
    inside = (rows >= above) & (rows < below) & (columns < channels)
    return tl.load(weight + (rows - above) * channels + columns, mask=inside, other=0.0).to(dtype)


@triton.jit
def row(x, index, width, channel, like):
    """Row `index` of x (…, width) for the tile's channels, (BC,), at the width of arithmetic for `like`, a pointer."""
    return tl.load(x + index * width + channel, mask=channel < width, other=0.0).to(_math.zeros((1,), like).dtype)


@triton.jit
def total_weight(z, POSITIONS: tl.constexpr, dtype: tl.constexpr):
    """Σ z at the positions of one primitive."""
    total = tl.zeros((), dtype)
    for n in tl.static_range(len(POSITIONS)):
        total += tl.load(z + POSITIONS[n]).to(dtype)
    return total


@triton.jit
def place(stage, at, sizes, channel):
    """Of a tile's elements within a stage, int64 (BM, BC); sizes: (C, H, W, h, w, pixels, width), at: output pixels."""
    pixel = (at[0] * sizes[3] + at[1]) * sizes[4] + at[2]
    return ((stage * sizes[5] + pixel) * sizes[6])[:, None] + channel[None, :]


@triton.jit
def begin(stage, sizes):
    """Where a stage begins, int64."""
    return tl.full((), stage, tl.int64) * sizes[5] * sizes[6]


@triton.jit
def depthwise(
    x,
    x_strides,
    values,
    mean,
    rstd,
    weight,
    at,
    inside,
    channel,
    sizes,
    SOURCE: tl.constexpr,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
):
    """The depthwise half of a stage, of relu(x) or, where SOURCE ≥ 0, of the normalized stage SOURCE: (BM, BC)."""
    there = channel < sizes[0]
    if SOURCE < 0:
        return _windows.convolve(
            x, x_strides, sizes[1], sizes[2], weight, at, inside, channel, there, None, None, K, DILATION, STRIDE, True
        )  # fmt: skip
    else:
        first = values + begin(SOURCE, sizes)
        center = row(mean, 2 + SOURCE, sizes[6], channel, values)
        scale = row(rstd, 2 + SOURCE, sizes[6], channel, values)
        strides = (sizes[3] * sizes[4] * sizes[6], 1, sizes[4] * sizes[6], sizes[6])
        return _windows.convolve(
            first, strides, sizes[3], sizes[4], weight, at, inside, channel, there, center, scale, K, DILATION, 1, True
        )  # fmt: skip


@triton.jit
def shifted(x, x_strides, at, inside, channel, sizes, shift):
    """relu(x) at every other pixel, from `shift` on; 0 beyond the border. (BM, BC)."""
    line, column = at[1] * 2 + shift, at[2] * 2 + shift
    mask = (inside & (line < sizes[1]) & (column < sizes[2]))[:, None] & (channel < sizes[0])[None, :]
    return _windows.read(x, x_strides, at[0], line, column, channel, mask, None, None, True)
