"""One edge of a supernet: all primitives, or the sampled one, weighted by z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks, extension
from base_fast.ops.registry import define_gradient, define_kernel
from base_fast.reference.mixed_op import mixed_op as reference
from base_fast.reference.primitives import SUPPORTED, apply, weight_shapes

# The primitives that the kernel knows, by its numbers for them: csrc/cpu/mixed_op_edge.h.
_NUMBERED = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
_BLOCK = 16
_MOST = 32


def _names(primitives: Sequence[int]) -> list[str]:
    return [_NUMBERED[i] for i in primitives]


def _value(
    x: Tensor, z: Tensor, weights: list[Tensor], primitives: list[int], stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    y = reference(x, z, weights, _names(primitives), stride, None)
    # The kernel's other outputs serve its own backward.
    _, values, statistics = _like_value(x, z, weights, primitives, stride)
    return y.contiguous(memory_format=torch.channels_last), values, statistics


def _like_value(
    x: Tensor, z: Tensor, weights: list[Tensor], primitives: list[int], stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    images, channels, height, width = x.shape
    height, width = (height + stride - 1) // stride, (width + stride - 1) // stride
    padded = (channels + _BLOCK - 1) // _BLOCK * _BLOCK
    stages = sum((2 if p.startswith("sep") else len(weight_shapes(p, 1, stride)) > 0) for p in _names(primitives))
    y = x.new_empty(images, channels, height, width).contiguous(memory_format=torch.channels_last)
    values = x.new_empty(stages * images * padded * height * width)
    return y, values, x.new_empty(stages + 2, 2, padded, dtype=torch.float64)


def _again(
    grad: Tensor, x: Tensor, z: Tensor, weights: list[Tensor], primitives: list[int], stride: int, *_: Tensor
) -> list[Tensor]:
    """The gradients through the reference, which can be differentiated in turn."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: an input may depend on another one, and is not differentiated through its own history.
        leaves = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in (x, z, *weights)]
        y = reference(leaves[0], leaves[1], leaves[2:], _names(primitives), stride, None)
        found = torch.autograd.grad(y, leaves, grad, create_graph=again, allow_unused=True, materialize_grads=True)
    return list(found)


_kernel = define_kernel(
    "mixed_op(Tensor x, Tensor z, Tensor[] weights, int[] primitives, int stride) -> (Tensor, Tensor, Tensor)",
    _value,
    _like_value,
    column=None,
)
_backward = define_kernel(
    "mixed_op_backward(Tensor grad, Tensor x, Tensor z, Tensor[] weights, int[] primitives, int stride, "
    "Tensor values, Tensor statistics) -> Tensor[]",
    _again,
    lambda grad, x, z, weights, *_: [
        torch.empty_like(x).contiguous(memory_format=torch.channels_last),
        *(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (z, *weights)),
    ],
    column=None,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, z, weights, ctx.primitives, ctx.stride = inputs
    _, values, statistics = output
    ctx.save_for_backward(x, z, values, statistics, *weights)
    # Only y has a gradient: without this, PyTorch would fill tensors with zeros for the others.
    ctx.mark_non_differentiable(values, statistics)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    x, z, values, statistics, *weights = ctx.saved_tensors
    if grad is None:
        return None, None, [None] * len(weights), None, None
    backward = _again if torch.is_grad_enabled() else _backward
    d_x, d_z, *d_weights = backward(grad, x, z, weights, ctx.primitives, ctx.stride, values, statistics)
    return d_x, d_z, d_weights, None, None


define_gradient(_kernel, _save, _gradient)


def _fused(x: Tensor, z: Tensor, weights: Sequence[Tensor], primitives: Sequence[str], stride: int) -> Tensor:
    """The primitives that the kernel knows in one op, the dense convolutions by PyTorch's own."""
    own, numbers, dense = [], [], []
    remaining = iter(weights)
    for l, primitive in enumerate(primitives):
        mine = [next(remaining) for _ in weight_shapes(primitive, x.shape[1], stride)]
        if primitive in _NUMBERED:
            own += mine
            numbers.append(_NUMBERED.index(primitive))
        else:
            numbers.append(0)
            dense.append((z[l], apply(primitive, x, mine, stride)))
    if x.dtype == torch.bfloat16:
        y = _kernel(x.float(), z.float(), [w.float() for w in own], numbers, stride)[0].to(x.dtype)
    else:
        y = _kernel(x, z, own, numbers, stride)[0]
    for weight, branch in dense:
        y = torch.addcmul(y, branch, weight)
    return y


def mixed_op(
    x: Tensor,
    z: Tensor,
    weights: Sequence[Tensor],
    primitives: Sequence[str],
    stride: int = 1,
    chosen: int | None = None,
) -> Tensor:
    """Σ_l z_l·φ_l(x) over an edge's primitives (Liu et al. 2019, Eq. 2).

    Every primitive ends in a batch norm with batch statistics, no affine parameters and no running averages; the
    identity and `none` have none.

    On the CPU all primitives but the dense convolutions are one compiled kernel, which keeps seven tensors of the
    output's size for backward (PyTorch: thirty) and treats denormal numbers as zeros; bfloat16 is computed in float32
    and rounded once. Elsewhere, and where the compiled extension is missing, the edge is PyTorch's own operations.
    Second derivatives recompute the edge by PyTorch's own operations everywhere. Under `torch.autocast` the edge is
    computed in the wider dtype of x and z.

    Args:
        x: (B, C, H, W), float32, float64 or bfloat16. Channels-last tensors are read as they are.
        z: (L,), one weight per primitive.
        weights: the primitives' weights in order, as `reference.primitives.weight_shapes` lists them.
        primitives: L names, any subset and order of the DARTS and NAS-Bench-201 primitives.
        stride: 1 or 2.
        chosen: execute this primitive alone (a hard sample). The gradient then reaches z through it only, as in GDAS
            (Dong & Yang 2019); the others get zero.

    Returns:
        (B, C, ⌈H/stride⌉, ⌈W/stride⌉).

    Raises:
        InputError: for mismatched arguments, or where batch statistics do not exist (B·H·W = 1 after the stride).
    """
    checks.floating("x", x, dims=4)
    checks.floating("z", z)
    if torch.is_autocast_enabled(x.device.type):
        wide = torch.promote_types(x.dtype, z.dtype)
        x, z, weights = x.to(wide), z.to(wide), [w.to(wide) for w in weights]
    if len(primitives) > _MOST:
        raise InputError(f"primitives: got {len(primitives)}, expected at most {_MOST}")
    if z.shape != (len(primitives),):
        raise InputError(f"z: got {checks.describe(z)}, expected shape ({len(primitives)},), one weight per primitive")
    for name, tensor in (("z", z), *((f"weights[{i}]", w) for i, w in enumerate(weights))):
        if (tensor.dtype, tensor.device) != (x.dtype, x.device):
            raise InputError(f"{name}: got {checks.describe(tensor)}, expected {x.dtype} on {x.device}, as x")
    if stride not in (1, 2):
        raise InputError(f"stride: got {stride}, expected 1 or 2")
    if chosen is not None and not 0 <= chosen < len(primitives):
        raise InputError(f"chosen: got {chosen}, expected an index below {len(primitives)} or None")
    expected = []
    for primitive in primitives:
        if primitive not in SUPPORTED:
            raise InputError(f"primitives: got {primitive!r}, expected one of {', '.join(SUPPORTED)}")
        expected += list(weight_shapes(primitive, x.shape[1], stride).values())
    if [tuple(w.shape) for w in weights] != expected:
        got = [tuple(w.shape) for w in weights]
        raise InputError(f"weights: got shapes {got}, expected {expected}")
    if x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride) == 1:
        raise InputError(f"x: got shape {tuple(x.shape)}, expected more than one value per channel for batch norm")

    if chosen is not None:
        begin = sum(len(weight_shapes(p, x.shape[1], stride)) for p in primitives[:chosen])
        count = len(weight_shapes(primitives[chosen], x.shape[1], stride))
        z, weights, primitives = z[chosen : chosen + 1], weights[begin : begin + count], primitives[chosen : chosen + 1]
    known = any(p in _NUMBERED and p != "none" for p in primitives)
    if x.device.type != "cpu" or extension.CPU.module is None or not known or x.numel() == 0:
        return reference(x, z, list(weights), list(primitives), stride, None)
    checks.no_tangents(x, z, *weights)
    return _fused(x, z, weights, primitives, stride)
