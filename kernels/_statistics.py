"""Batch statistics per channel from those of tiles (Chan, Golub, LeVeque 1983).

A tile's sum of squared deviations is about its own mean, and tiles are combined in float64: a large mean costs no
accuracy.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import _math

# Tiles whose statistics are combined at a time, and of how many channels.
TILES = 64
CHANNELS = 16


@triton.jit
def _some_tiles(start, k, channel, width, pixels, tiles, BX: tl.constexpr, TILES: tl.constexpr):
    """Of TILES tiles: where their statistics are, which exist, and how many pixels each has."""
    tile = start + tl.arange(0, TILES)
    mask = (tile < tiles)[:, None] & (channel < width)[None, :]
    count = tl.minimum(pixels - tile * BX, BX).to(tl.float64)
    return (tile + k * tiles).to(tl.int64)[:, None] * width + channel[None, :], mask, count[:, None]


@triton.jit
def statistics(
    means,
    squares,
    mean,
    rstd,
    eps: tl.float64,
    width,
    pixels,
    tiles,
    BX: tl.constexpr,
    TILES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """mean, rstd (K, width) from means and squares (K, tiles, width) of tiles of BX pixels each, the last one less."""
    k, channel = tl.program_id(1), tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    total = _math.scalar(1.0, tl.float64) * pixels
    center = tl.zeros((CHANNELS,), tl.float64)
    for start in range(0, tiles, TILES):
        index, mask, count = _some_tiles(start, k, channel, width, pixels, tiles, BX, TILES)
        center += tl.sum(count * tl.load(means + index, mask=mask, other=0.0).to(tl.float64), 0)
    center /= total
    square = tl.zeros((CHANNELS,), tl.float64)
    for start in range(0, tiles, TILES):
        index, mask, count = _some_tiles(start, k, channel, width, pixels, tiles, BX, TILES)
        d = tl.load(means + index, mask=mask, other=0.0).to(tl.float64) - center[None, :]
        within = tl.load(squares + index, mask=mask, other=0.0).to(tl.float64)
        square += tl.sum(tl.where(mask, within + count * d * d, 0.0), 0)
    to = k * width + channel
    tl.store(mean + to, center, mask=channel < width)
    tl.store(rstd + to, 1.0 / tl.sqrt(square / total + _math.scalar(eps, tl.float64)), mask=channel < width)
