"""Depthwise convolution, optionally of relu(x): reads x once per tap, from the caches after the first.

Backward is one pass over the input pixels: the gradient's elements that a tap brings to a pixel give both that pixel's
gradient and, times the pixel, the tap's; tiles contribute to the latter, and a second launch adds the tiles up.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from base_fast.kernels import _windows
from base_fast.kernels._launch import BOUNDED, images_like
from base_fast.kernels._partials import add_up, contributions
from base_fast.ops.branches import dense_like


@triton.jit
def _forward(
    x,
    weight,
    out,
    sizes,
    strides,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
    RELU: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """sizes: (C, H, W, the output's H, W, its pixels); strides: x's, out's."""
    at, inside = _windows.pixels(tl.program_id(0), sizes[3], sizes[4], sizes[5], BM)
    channel = tl.program_id(1).to(tl.int64) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    y = _windows.convolve(
        x, strides[0], sizes[1], sizes[2], weight, at, inside, channel, there, None, None, K, DILATION, STRIDE, RELU
    )
    to = _windows.offset(strides[1], at[0], at[1], at[2], channel)
    tl.store(out + to, y, mask=inside[:, None] & there[None, :])


@triton.jit
def _backward(
    grad,
    x,
    weight,
    d_x,
    partials,
    sizes,
    strides,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
    RELU: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """sizes: (C, grad's H, W, x's H, W, its pixels); strides: grad's, x's, d_x's; partials (programs, C, K, K)."""
    channel = tl.program_id(1).to(tl.int64) * BC + tl.arange(0, BC)
    there = channel < sizes[0]
    own = partials + tl.program_id(0).to(tl.int64) * sizes[0] * (K * K)
    for tile in range(tl.program_id(0), tl.cdiv(sizes[5], BM), tl.num_programs(0)):
        at, inside = _windows.pixels(tile, sizes[3], sizes[4], sizes[5], BM)
        mask = inside[:, None] & there[None, :]
        value = _windows.read(x, strides[1], at[0], at[1], at[2], channel, mask, None, None, RELU)
        first = tile == tl.program_id(0)
        d = _windows.convolve_backward(
            grad, strides[0], sizes[1], sizes[2], weight, value, at, inside, channel, there, own, first,
            K, DILATION, STRIDE,
        )  # fmt: skip
        if RELU:
            d = tl.where(value <= 0.0, 0.0, d)
        tl.store(d_x + _windows.offset(strides[2], at[0], at[1], at[2], channel), d, mask=mask)


def depthwise_conv(x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool) -> Tensor:
    weight = weight.contiguous()
    channels, height, width = x.shape[1:]
    out = images_like(x, stride)
    BM, BC = _windows.tile(out)
    count = out.numel() // channels
    with torch.cuda.device_of(x):
        _forward[(triton.cdiv(count, BM), triton.cdiv(channels, BC))](
            x, weight, out, (channels, height, width, *out.shape[2:], count), (x.stride(), out.stride()),
            K=weight.shape[-1], DILATION=dilation, STRIDE=stride, RELU=relu, BM=BM, BC=BC, **BOUNDED,
        )  # fmt: skip
    return out


def depthwise_conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool
) -> tuple[Tensor, Tensor]:
    weight = weight.contiguous()
    channels, height, width = x.shape[1:]
    d_x, d_weight = dense_like(x), torch.empty_like(weight)
    BM, BC = _windows.tile(d_x)
    count = x.numel() // channels
    partials = contributions(min(triton.cdiv(count, BM), _windows.CONTRIBUTORS), weight)
    with torch.cuda.device_of(x):
        _backward[(partials.shape[0], triton.cdiv(channels, BC))](
            grad, x, weight, d_x, partials, (channels, *grad.shape[2:], height, width, count),
            (grad.stride(), x.stride(), d_x.stride()),
            K=weight.shape[-1], DILATION=dilation, STRIDE=stride, RELU=relu, BM=BM, BC=BC, **BOUNDED,
        )  # fmt: skip
        add_up([partials], [d_weight])
    return d_x, d_weight
