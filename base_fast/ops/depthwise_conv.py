"""Depthwise convolution, with the ReLU before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks
from base_fast.ops.branches import dense_like, format_of, in_formats
from base_fast.ops.registry import define_gradient, define_kernel, differentiable
from base_fast.reference import depthwise_conv as reference


def _value(x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool) -> Tensor:
    return in_formats([reference.depthwise_conv(x, weight, stride, dilation, relu)], [x])[0]


def _empty(x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool) -> Tensor:
    images, channels, height, width = x.shape
    shape = (images, channels, -(-height // stride), -(-width // stride))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format_of(x))


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool
) -> tuple[Tensor, Tensor]:
    d_x, d_weight = reference.depthwise_conv_backward(grad, x, weight, stride, dilation, relu)
    return in_formats([d_x], [x])[0], d_weight.contiguous()


_op = define_kernel(
    "depthwise_conv(Tensor x, Tensor weight, int stride, int dilation, bool relu) -> Tensor",
    _value,
    _empty,
    column="depthwise_conv",
)
_backward = differentiable(
    define_kernel(
        "depthwise_conv_backward(Tensor grad, Tensor x, Tensor weight, int stride, int dilation, bool relu)"
        " -> (Tensor, Tensor)",
        _gradients,
        lambda grad, x, weight, *_: (dense_like(x), torch.empty_like(weight, memory_format=torch.contiguous_format)),
        column="depthwise_conv",
    ),
    reference.depthwise_conv_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, *ctx.settings = inputs
    ctx.save_for_backward(x, weight)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
    x, weight = ctx.saved_tensors
    d_x, d_weight = _backward(grad.contiguous(memory_format=format_of(x)), x, weight, *ctx.settings)
    return d_x, d_weight, None, None, None


define_gradient(_op, _save, _gradient)


def depthwise_conv(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1, relu: bool = False) -> Tensor:
    """A k × k filter for each channel, of x or of max(x, 0), "same" padding: the first half of a separable convolution.

    y is what `F.conv2d(F.relu(x), weight, stride=stride, dilation=dilation, padding=dilation·⌊k/2⌋, groups=C)` gives.
    Nothing is saved for backward but x and the weight.

    On the CPU the kernel works on channels-last images; contiguous ones are turned on the way in and out. It treats
    denormal numbers as zeros. bfloat16 is computed in float32 and rounded once.

    Args:
        x: (B, C, H, W) with C, H, W ≥ 1: float32, float64 or bfloat16. What is neither contiguous nor channels-last,
            such as a slice, is copied.
        weight: (C, 1, k, k), k 3, 5 or 7; same dtype and device. Under `torch.autocast` it follows the dtype of x.
        stride: 1 or 2.
        dilation: 1 or 2.
        relu: take max(x, 0) for x.

    Returns:
        y (B, C, ⌈H/stride⌉, ⌈W/stride⌉), same dtype, in the memory format of x.

    Raises:
        InputError: for mismatched arguments, or an image without channels or pixels.
    """
    checks.image("x", x)
    checks.floating("weight", weight, dims=4)
    if torch.is_autocast_enabled(x.device.type):
        weight = weight.to(x.dtype)
    k = weight.shape[-1]
    if k not in (3, 5, 7) or weight.shape != (x.shape[1], 1, k, k):
        expected = f"({x.shape[1]}, 1, k, k), k 3, 5 or 7: one filter per channel of x"
        raise InputError(f"weight: got {checks.describe(weight)}, expected shape {expected}")
    if (weight.dtype, weight.device) != (x.dtype, x.device):
        raise InputError(f"weight: got {checks.describe(weight)}, expected {x.dtype} on {x.device}, as x")
    checks.one_or_two("stride", stride)
    checks.one_or_two("dilation", dilation)
    checks.no_tangents(x, weight)
    y: Tensor = _op(x.contiguous(memory_format=format_of(x)), weight.contiguous(), stride, dilation, relu)
    return y
