"""ReLU, 1×1 convolution and batch norm in one op: the preprocessing of a cell's inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.ops import autocast, checks
from base_fast.ops.registry import define_gradient, define_kernel
from base_fast.reference import relu_conv_norm as reference


def _value(x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    with autocast.off(x.device.type):
        y, rstd = reference.relu_conv_norm(x, weight, stride)
    return y.contiguous(memory_format=torch.channels_last), rstd


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, y: Tensor, statistics: Tensor
) -> tuple[Tensor, Tensor]:
    with autocast.off(x.device.type):
        d_x, d_weight = reference.relu_conv_norm_backward(grad, x, weight, stride, y, statistics)
    return d_x.contiguous(memory_format=torch.channels_last), d_weight


def _images(x: Tensor, *sizes: int) -> Tensor:
    return torch.empty(sizes, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _empty(x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    images, _, height, width = x.shape
    y = _images(x, images, weight.shape[0], (height + stride - 1) // stride, (width + stride - 1) // stride)
    return y, x.new_empty(weight.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))


_op = define_kernel(
    "relu_conv_norm(Tensor x, Tensor weight, int stride) -> (Tensor, Tensor)", _value, _empty, column=None
)
_backward = define_kernel(
    "relu_conv_norm_backward(Tensor grad, Tensor x, Tensor weight, int stride, Tensor y, Tensor statistics)"
    " -> (Tensor, Tensor)",
    _gradients,
    lambda grad, x, weight, *_: (_images(x, *x.shape), weight.new_empty(weight.shape)),
    column=None,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, ctx.stride = inputs
    y, statistics = output
    ctx.save_for_backward(x, weight, y, statistics)
    ctx.mark_non_differentiable(statistics)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, y, statistics = ctx.saved_tensors
    if grad is None:
        return None, None, None
    if torch.is_grad_enabled():
        # A backward pass that is recorded is differentiated in turn; y and its statistics are then functions of x.
        y, statistics = reference.relu_conv_norm(x, weight, ctx.stride)
        return *reference.relu_conv_norm_backward(grad, x, weight, ctx.stride, y, statistics), None
    return *_backward(grad, x, weight, ctx.stride, y, statistics), None


define_gradient(_op, _save, _gradient)


def relu_conv_norm(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Batch norm of a 1×1 convolution of relu(x): batch statistics, no affine parameters, eps 1e-5.

    At stride 2 it is the factorized reduction (Liu et al. 2019): the first ⌊C_out/2⌋ filters convolve the even pixels,
    the others the pixels shifted by one along both axes, zeros beyond the edge of odd sizes.

    On the CPU it is one compiled kernel, which keeps x and y for backward and nothing else of their size, and treats
    denormal numbers as zeros; bfloat16 is computed in float32 and rounded once. Elsewhere, and where the compiled
    extension is missing, it is PyTorch's own operations. Second derivatives recompute it by PyTorch's own operations
    everywhere. Under `torch.autocast` to bfloat16 a float32 x is cast, and the weight is not; what is float16 under
    another one is computed in float32.

    Args:
        x: (B, C_in, H, W), float32, float64 or bfloat16. Images whose channels are neighbours in memory are read as
            they are: channels-last tensors, and slices of channels or pixels of them.
        weight: (C_out, C_in), of the dtype of x, or float32 beside a bfloat16 x.
        stride: 1 or 2.

    Returns:
        (B, C_out, ⌈H/stride⌉, ⌈W/stride⌉), the dtype of x, channels-last.

    Raises:
        InputError: for mismatched arguments, or where batch statistics do not exist (B·H·W = 1 after the stride).
    """
    x, weight = autocast.widened(x), autocast.widened(weight)
    checks.floating("x", x, dims=4)
    checks.floating("weight", weight, dims=2)
    if autocast.asked(x.device.type) == torch.bfloat16:
        x = x.bfloat16() if x.dtype == torch.float32 else x
    dtypes = (torch.float32, torch.bfloat16) if x.dtype == torch.bfloat16 else (x.dtype,)
    if weight.dtype not in dtypes or weight.device != x.device:
        expected = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise InputError(f"weight: got {checks.describe(weight)}, expected {expected} on {x.device}, as x")
    if weight.shape[1] != x.shape[1] or weight.numel() == 0:
        raise InputError(f"weight: got {checks.describe(weight)}, expected shape (C_out ≥ 1, {x.shape[1]} ≥ 1)")
    stride = integer("stride", stride, 1, 2)
    if x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride) == 1:
        raise InputError(f"x: got shape {tuple(x.shape)}, expected more than one value per channel for batch norm")
    checks.no_tangents(x, weight)
    y: Tensor = _op(x, weight, stride)[0]
    return y
