"""3 × 3 maximum and average pooling from one read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base_fast.ops import checks
from base_fast.ops.branches import dense_like, format_of, in_formats
from base_fast.ops.registry import define_gradient, define_kernel, differentiable
from base_fast.reference import pool_pair as reference


def _values(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    maximum, average = in_formats(reference.pool_pair(x, stride), [x, x])
    return maximum, average


def _empty(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    images, channels, height, width = x.shape
    shape = (images, channels, -(-height // stride), -(-width // stride))
    maximum, average = (
        torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format_of(x)) for _ in range(2)
    )
    return maximum, average


_op = define_kernel("pool_pair(Tensor x, int stride) -> (Tensor, Tensor)", _values, _empty, column="pool_pair")
_backward = differentiable(
    define_kernel(
        "pool_pair_backward(Tensor d_max, Tensor d_average, Tensor x, int stride) -> Tensor",
        lambda d_max, d_average, x, stride: in_formats(
            [reference.pool_pair_backward(d_max, d_average, x, stride)], [x]
        )[0],
        lambda d_max, d_average, x, stride: dense_like(x),
        column="pool_pair",
    ),
    reference.pool_pair_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.stride = inputs
    ctx.save_for_backward(x)


def _gradient(ctx: Any, d_max: Tensor, d_average: Tensor) -> tuple[Tensor, None]:
    (x,) = ctx.saved_tensors
    d_max, d_average = (d.contiguous(memory_format=format_of(x)) for d in (d_max, d_average))
    # x says only where the maxima are: there is no derivative in that direction.
    return _backward(d_max, d_average, x.detach(), ctx.stride), None


define_gradient(_op, _save, _gradient)


def pool_pair(x: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
    """The maximum and the average of every 3 × 3 window, padding 1; padded pixels are not counted.

    They are what `F.max_pool2d(x, 3, stride, 1)` and `F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)` give, and
    so are the gradients: the maximum's goes to the first pixel that attains it (of several NaNs, which are larger than
    everything, to the last). Nothing is saved for backward but x.

    On the CPU the kernel works on channels-last images; contiguous ones are turned on the way in and out. It treats
    denormal numbers as zeros. bfloat16 is averaged in float32 and rounded once.

    Args:
        x: (B, C, H, W) with C, H, W ≥ 1: float32, float64 or bfloat16. What is neither contiguous nor channels-last,
            such as a slice, is copied.
        stride: 1 or 2.

    Returns:
        maximum, average: (B, C, ⌈H/stride⌉, ⌈W/stride⌉), same dtype, in the memory format of x.

    Raises:
        InputError: for mismatched arguments, or an image without channels or pixels.
    """
    checks.image("x", x)
    checks.one_or_two("stride", stride)
    checks.no_tangents(x)
    maximum, average = _op(x.contiguous(memory_format=format_of(x)), stride)
    return maximum, average
