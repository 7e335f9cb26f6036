"""Windows of images: what convolutions and poolings share.

A program takes a tile (BM, BC) of pixels, numbered through all images, and channels. An image tensor comes with its
strides (b, c, h, w), so any memory layout is read and written where it is. Pixels beyond the border are masked.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import _math

# Programs that contribute to the gradient of one weight, at most: each takes several tiles.
CONTRIBUTORS = 512


@triton.jit
def pixels(tile, height, width, count, BM: tl.constexpr):
    """The tile's coords (image, row, column), (BM,) each, and the pixel_mask of which of `count` exist."""
    p = tl.full((), tile, tl.int64) * BM + tl.arange(0, BM)
    column, line = p % width, p // width
    return (line // height, (line % height).to(tl.int32), column.to(tl.int32)), p < count


@triton.jit
def offset(strides, image, row, column, channel):
    """Of a tile's elements, int64 (BM, BC)."""
    pixel = image * strides[0] + row.to(tl.int64) * strides[2] + column.to(tl.int64) * strides[3]
    return pixel[:, None] + (channel * strides[1])[None, :]


@triton.jit
def relu(x):
    """NaN stays NaN."""
    return tl.where(x < 0.0, 0.0, x)


@triton.jit
def read(x, strides, image, row, column, channel, mask, center, scale, RELU: tl.constexpr):
    """A tile at the width of arithmetic, normalized where `center` and `scale` (BC,) are given; 0 outside."""
    y = _math.wide(tl.load(x + offset(strides, image, row, column, channel), mask=mask, other=0.0))
    if center is not None:
        y = (y - center[None, :]) * scale[None, :]
    if RELU:
        y = relu(y)
    return y


@triton.jit
def convolve(
    x,
    strides,
    height,
    width,
    weight,
    coords,
    pixel_mask,
    channel,
    channel_mask,
    center,
    scale,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
):
    """The depthwise convolution of relu(x), height × width, at the output pixels `coords`: (BM, BC).

    0 for absent channels. `pixel_mask` (BM,), `channel_mask` (BC,): which pixels and channels exist; weight (C, K, K).
    """
    total = _math.zeros((pixel_mask.shape[0], channel.shape[0]), x)
    for u in range(K):
        row = coords[1] * STRIDE + (u - K // 2) * DILATION
        line = pixel_mask & (row >= 0) & (row < height)
        for v in tl.static_range(K):
            column = coords[2] * STRIDE + (v - K // 2) * DILATION
            mask = (line & (column >= 0) & (column < width))[:, None] & channel_mask[None, :]
            value = read(x, strides, coords[0], row, column, channel, mask, center, scale, True)
            if center is not None:
                # Zeros of the border are padded after the norm.
                value = tl.where(mask, value, 0.0)
            total += value * _tap(weight, channel, channel_mask, u * K + v, K, total.dtype)
    return total


@triton.jit
def _tap(weight, channel, channel_mask, tap, K: tl.constexpr, dtype: tl.constexpr):
    """Of every channel's filter, (1, BC)."""
    return tl.load(weight + channel * (K * K) + tap, mask=channel_mask, other=0.0).to(dtype)[None, :]


@triton.jit
def convolve_backward(
    grad,
    strides,
    height,
    width,
    weight,
    x,
    coords,
    pixel_mask,
    channel,
    channel_mask,
    contributions,
    first,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
):
    """The gradient at the input pixels `coords` from `grad`, of height × width: (BM, BC).

    What these pixels, of value x (BM, BC), add to the gradient of the weight is added to `contributions` (C, K, K),
    which the program's `first` tile fills. Each tap meets the same elements of `grad` in both.
    """
    total = tl.zeros(x.shape, x.dtype)
    # One at a time: with several in flight, threads run out of registers.
    for tap in range(K * K):
        row, line = _center(coords[1] - (tap // K - K // 2) * DILATION, height, STRIDE)
        column, exists = _center(coords[2] - (tap % K - K // 2) * DILATION, width, STRIDE)
        mask = (pixel_mask & line & exists)[:, None] & channel_mask[None, :]
        g = tl.load(grad + offset(strides, coords[0], row, column, channel), mask=mask, other=0.0).to(x.dtype)
        total += g * _tap(weight, channel, channel_mask, tap, K, x.dtype)
        # A pair that does not exist adds nothing, be its x infinite.
        sums = tl.sum(tl.where(mask, g * x, 0.0), 0)
        to = contributions + channel * (K * K) + tap
        sums += tl.where(first, 0.0, tl.load(to, mask=channel_mask, other=0.0))
        tl.store(to, sums, mask=channel_mask)
    # What was stored is seen by every thread that adds the next tile to it.
    tl.debug_barrier()
    return total


@triton.jit
def _center(position, size, STRIDE: tl.constexpr):
    """The output whose window has its center at an input position, and whether there is one."""
    exists = position >= 0
    if STRIDE == 2:
        exists &= (position & 1) == 0
        position = position >> 1
    return position, exists & (position < size)


@triton.jit
def pool(x, strides, height, width, coords, pixel_mask, channel, channel_mask, STRIDE: tl.constexpr):
    """Of the 3 × 3 windows around the output pixels `coords`: the maximum, its place among the nine, and the average,
    (BM, BC) each. Pixels beyond the border are not counted; NaN is larger than everything, the last one of several."""
    total = _math.zeros((pixel_mask.shape[0], channel.shape[0]), x)
    maximum = total + float("-inf")
    count = tl.zeros(pixel_mask.shape, tl.int32)
    # Where all are −∞, it is the first.
    first = tl.where(coords[1] == 0, 3, 0) + tl.where(coords[2] == 0, 1, 0)
    place = tl.zeros(maximum.shape, tl.int32) + first[:, None]
    for u in range(3):
        row = coords[1] * STRIDE + u - 1
        line = pixel_mask & (row >= 0) & (row < height)
        for v in tl.static_range(3):
            column = coords[2] * STRIDE + v - 1
            exists = line & (column >= 0) & (column < width)
            mask = exists[:, None] & channel_mask[None, :]
            value = read(x, strides, coords[0], row, column, channel, mask, None, None, False)
            larger = mask & ((value > maximum) | (value != value))
            maximum = tl.where(larger, value, maximum)
            place = tl.where(larger, 3 * u + v, place)
            total += value
            count += exists.to(tl.int32)
    maximum = tl.where(pixel_mask[:, None] & channel_mask[None, :], maximum, 0.0)
    return maximum, place, total / tl.maximum(count, 1)[:, None]


@triton.jit
def pool_backward(
    d_max, d_average, places, strides, height, width, out_height, out_width, coords, pixel_mask, channel, channel_mask,
    STRIDE: tl.constexpr,
):  # fmt: skip
    """The gradient at the input pixels `coords` of images of height × width, (BM, BC). d_max, d_average and `places`,
    what `pool` said of the windows, share their strides and are of out_height × out_width."""
    total = _math.zeros((pixel_mask.shape[0], channel.shape[0]), d_max)
    for u in range(3):
        row, line = _center(coords[1] + 1 - u, out_height, STRIDE)
        for v in tl.static_range(3):
            column, exists = _center(coords[2] + 1 - v, out_width, STRIDE)
            exists &= pixel_mask & line
            mask = exists[:, None] & channel_mask[None, :]
            where = offset(strides, coords[0], row, column, channel)
            highest = tl.load(places + where, mask=mask, other=9) == 3 * u + v
            count = tl.where(exists, _covered(row * STRIDE, height) * _covered(column * STRIDE, width), 1)
            total += tl.load(d_average + where, mask=mask, other=0.0).to(total.dtype) / count[:, None]
            total += tl.where(highest, tl.load(d_max + where, mask=mask, other=0.0).to(total.dtype), 0.0)
    return total


@triton.jit
def _covered(center, size):
    """How many of the pixels center − 1, center, center + 1 exist."""
    return tl.minimum(center + 2, size) - tl.maximum(center - 1, 0)
