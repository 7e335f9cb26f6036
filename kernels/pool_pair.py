"""The maximum and the average of every 3 × 3 window, from one read of x.

Backward notes where each window has its maximum, a byte each, and then gathers at every pixel what the windows around
it send: no window is looked through twice, and nothing is added out of order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from base_fast.kernels import _windows
from base_fast.kernels._launch import BOUNDED, images_like
from base_fast.ops.branches import dense_like, format_of


@triton.jit
def _forward(x, maximum, average, sizes, strides, STRIDE: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr):
    """sizes: (C, H, W, the outputs' H, W, their pixels); strides: x's, the outputs'."""
    at, inside = _windows.pixels(tl.program_id(0), sizes[3], sizes[4], sizes[5], BM)
    channel = tl.program_id(1).to(tl.int64) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    highest, _, mean = _windows.pool(x, strides[0], sizes[1], sizes[2], at, inside, channel, there, STRIDE)
    to = _windows.offset(strides[1], at[0], at[1], at[2], channel)
    mask = inside[:, None] & there[None, :]
    tl.store(maximum + to, highest, mask=mask)
    tl.store(average + to, mean, mask=mask)


@triton.jit
def _places(x, places, sizes, strides, STRIDE: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr):
    """Which of its nine pixels each window has its maximum at; sizes and strides as in `_forward`."""
    at, inside = _windows.pixels(tl.program_id(0), sizes[3], sizes[4], sizes[5], BM)
    channel = tl.program_id(1).to(tl.int64) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    _, place, _ = _windows.pool(x, strides[0], sizes[1], sizes[2], at, inside, channel, there, STRIDE)
    to = _windows.offset(strides[1], at[0], at[1], at[2], channel)
    tl.store(places + to, place.to(tl.int8), mask=inside[:, None] & there[None, :])


@triton.jit
def _backward(d_max, d_average, places, d_x, sizes, strides, STRIDE: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr):
    """sizes: (C, d_x's H, W, its pixels, the gradients' H, W); strides: the gradients', d_x's."""
    at, inside = _windows.pixels(tl.program_id(0), sizes[1], sizes[2], sizes[3], BM)
    channel = tl.program_id(1).to(tl.int64) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    d = _windows.pool_backward(
        d_max, d_average, places, strides[0], sizes[1], sizes[2], sizes[4], sizes[5], at, inside, channel, there, STRIDE
    )
    to = _windows.offset(strides[1], at[0], at[1], at[2], channel)
    tl.store(d_x + to, d, mask=inside[:, None] & there[None, :])


def _grid(out: Tensor) -> tuple[tuple[int, int], int, int, int]:
    """The grid over out's pixels and channels, out's pixels, and the tile."""
    BM, BC = _windows.tile(out)
    count = out.numel() // out.shape[1]
    return (triton.cdiv(count, BM), triton.cdiv(out.shape[1], BC)), count, BM, BC


def pool_pair(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    maximum, average = images_like(x, stride), images_like(x, stride)
    grid, count, BM, BC = _grid(maximum)
    sizes = (*x.shape[1:], *maximum.shape[2:], count)
    with torch.cuda.device_of(x):
        _forward[grid](
            x, maximum, average, sizes, (x.stride(), maximum.stride()), STRIDE=stride, BM=BM, BC=BC, **BOUNDED
        )
    return maximum, average


def pool_pair_backward(d_max: Tensor, d_average: Tensor, x: Tensor, stride: int) -> Tensor:
    d_x = dense_like(x)
    d_max, d_average = (d.contiguous(memory_format=format_of(x)) for d in (d_max, d_average))
    places = images_like(x, stride, torch.int8)
    with torch.cuda.device_of(x):
        grid, count, BM, BC = _grid(places)
        sizes = (*x.shape[1:], *places.shape[2:], count)
        _places[grid](x, places, sizes, (x.stride(), places.stride()), STRIDE=stride, BM=BM, BC=BC, **BOUNDED)
        grid, count, BM, BC = _grid(d_x)
        _backward[grid](
            d_max, d_average, places, d_x, (*x.shape[1:], count, *places.shape[2:]), (places.stride(), d_x.stride()),
            STRIDE=stride, BM=BM, BC=BC, **BOUNDED,
        )  # fmt: skip
    return d_x
