"""One edge of a supernet: all primitives, or the sampled one, weighted by z."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.ops import autocast, checks, extension
from base_fast.ops.memory import MEMORY, kept, kept_dtype, padded, stages
from base_fast.ops.mixed_sum import mixed_sum
from base_fast.ops.registry import define_gradient, define_kernel, gradients, registered
from base_fast.reference.mixed_op import mixed_op as reference
from base_fast.reference.primitives import apply, weight_shapes
from base_fast.space.primitives import check, find, numbered

MOST = 32
"""Primitives of an edge, at most."""


def _names(primitives: Sequence[int]) -> list[str]:
    return [numbered(i).name for i in primitives]


def _computed(x: Tensor, z: Tensor, weights: Sequence[Tensor], primitives: Sequence[str], stride: int) -> Tensor:
    """The reference; bfloat16 is computed in float32, whatever autocast says."""
    wide = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
    with autocast.off(x.device.type):
        y = reference(x.to(wide), z.to(wide), [w.to(wide) for w in weights], list(primitives), stride, None)
    return y.to(x.dtype)


def _value(
    x: Tensor, z: Tensor, weights: list[Tensor], primitives: list[int], stride: int, memory: int
) -> tuple[Tensor, Tensor, Tensor]:
    y = _computed(x, z, weights, _names(primitives), stride)
    # The kernel's other outputs serve its own backward.
    _, values, statistics = _like_value(x, z, weights, primitives, stride, memory)
    return y.contiguous(memory_format=torch.channels_last), values, statistics


def _like_value(
    x: Tensor, z: Tensor, weights: list[Tensor], primitives: list[int], stride: int, memory: int
) -> tuple[Tensor, Tensor, Tensor]:
    images, channels, height, width = x.shape
    height, width = (height + stride - 1) // stride, (width + stride - 1) // stride
    y = x.new_empty(images, channels, height, width).contiguous(memory_format=torch.channels_last)
    count = kept(primitives, stride, memory, x.device) * images * padded(channels) * height * width
    values = x.new_empty(count, dtype=kept_dtype(x.dtype, memory))
    return y, values, x.new_empty(stages(primitives, stride) + 2, 2, padded(channels), dtype=torch.float64)


def _again(
    grad: Tensor, x: Tensor, z: Tensor, weights: list[Tensor], primitives: list[int], stride: int, *_: Any
) -> list[Tensor]:
    """The gradients through the reference, which can be differentiated in turn."""

    def value(x: Tensor, z: Tensor, *weights: Tensor) -> Tensor:
        return _computed(x, z, list(weights), _names(primitives), stride)

    return gradients(value, grad, (x, z, *weights))


_kernel = define_kernel(
    "mixed_op(Tensor x, Tensor z, Tensor[] weights, int[] primitives, int stride, int memory) "
    "-> (Tensor y, Tensor values, Tensor statistics)",
    _value,
    _like_value,
    column="mixed_op",
)
_backward = define_kernel(
    "mixed_op_backward(Tensor grad, Tensor x, Tensor z, Tensor[] weights, int[] primitives, int stride, "
    "int memory, Tensor values, Tensor statistics) -> Tensor[]",
    _again,
    lambda grad, x, z, weights, *_: [
        torch.empty_like(x).contiguous(memory_format=torch.channels_last),
        *(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (z, *weights)),
    ],
    column="mixed_op",
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, z, weights, ctx.primitives, ctx.stride, ctx.memory = inputs
    _, values, statistics = output
    ctx.save_for_backward(x, z, values, statistics, *weights)
    # Only y has a gradient: without this, PyTorch would fill tensors with zeros for the others.
    ctx.mark_non_differentiable(values, statistics)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    x, z, values, statistics, *weights = ctx.saved_tensors
    if grad is None:
        return None, None, [None] * len(weights), None, None, None
    backward = _again if torch.is_grad_enabled() else _backward
    d_x, d_z, *d_weights = backward(grad, x, z, weights, ctx.primitives, ctx.stride, ctx.memory, values, statistics)
    return d_x, d_z, d_weights, None, None, None


define_gradient(_kernel, _save, _gradient)


def _served(device: torch.device) -> bool:
    """Whether compiled kernels serve this device."""
    if device.type == "cpu":
        return extension.CPU.present
    return device.type == "cuda" and registered("mixed_op", "CUDA")


def _fused(
    x: Tensor, z: Tensor, weights: Sequence[list[Tensor]], primitives: Sequence[str], stride: int, memory: int
) -> Tensor:
    """The primitives that the kernel knows in one op, the others beside it by PyTorch; weights by primitive."""
    own, numbers, others = [], [], []
    for l, (primitive, mine) in enumerate(zip(primitives, weights, strict=True)):
        number = find(primitive).number
        if number is not None:
            own += mine
            numbers.append(number)
        else:
            numbers.append(0)
            others.append(l)
    y: Tensor = _kernel(x, z, own, numbers, stride, memory)[0]
    if not others:
        return y
    # x has the dtype to compute with by now.
    with autocast.off(x.device.type):
        branches = [apply(primitives[l], x, [w.to(x.dtype) for w in weights[l]], stride) for l in others]
        return mixed_sum([y, *branches], torch.cat([z.new_ones(1), z[others]]).to(x.dtype))


def mixed_op(
    x: Tensor,
    z: Tensor,
    weights: Sequence[Tensor],
    primitives: Sequence[str],
    stride: int = 1,
    chosen: int | None = None,
    memory: str = "store",
) -> Tensor:
    """Σ_l z_l·φ_l(x) over an edge's primitives (Liu et al. 2019, Eq. 2).

    Every primitive ends in a batch norm with batch statistics, no affine parameters and no running averages; the
    identity and `none` have none.

    The primitives that have a number in `space.PRIMITIVES` are one kernel; PyTorch computes the others beside it, and
    `mixed_sum` adds them up. On the CPU the kernel treats denormal numbers as zeros, reads, writes and stores bfloat16
    as it is and computes it in float32; on processors with a matrix unit the products over more than 16 channels take
    their operands rounded to bfloat16. On CUDA it is a few Triton kernels (for bfloat16 the products over channels are
    of TensorFloat-32). Where neither is there, the edge is PyTorch's own operations. Second derivatives recompute the
    edge by PyTorch's own operations everywhere.

    Under `torch.autocast(dtype=torch.bfloat16)` x is rounded to bfloat16 and the weights stay as they are; under other
    autocasts the edge is computed in the wider dtype of x and z, for float16 in float32.

    Args:
        x: (B, C, H, W), float32, float64 or bfloat16. Channels-last tensors are read as they are.
        z: (L,), one weight per primitive, of x's dtype; beside bfloat16 also float32.
        weights: the primitives' weights in order, as `reference.primitives.weight_shapes` lists them; dtypes as z.
        primitives: L names of `space.PRIMITIVES`, in any order.
        stride: 1 or 2.
        chosen: execute this primitive alone (a hard sample). The gradient then reaches z through it only, as in GDAS
            (Dong & Yang 2019); the others get zero.
        memory: what the kernel keeps for backward beside x, in tensors of the output's size N; PyTorch keeps 30.
            "store": the values before batch norms, 5 N for the primitives of DARTS: all but that of the dilated 3×3
            convolution, which costs least to compute again (on CUDA all 6 N). "store_bf16": the same rounded to
            bfloat16, half as much; every statistic is that of the rounded values, so that the gradients are those of
            a function. "recompute": nothing; backward computes the values again. float64 is never rounded, bfloat16
            never stored wider. docs/kernels.md says what each costs.

    Returns:
        (B, C, ⌈H/stride⌉, ⌈W/stride⌉).

    Raises:
        InputError: for mismatched arguments, or where batch statistics do not exist (B·H·W = 1 after the stride).
    """
    x, z = autocast.widened(x), autocast.widened(z)
    checks.floating("x", x, dims=4)
    checks.floating("z", z)
    dtype = autocast.asked(x.device.type)
    if dtype == torch.bfloat16 and x.dtype != torch.float64:
        x, weights = x.to(torch.bfloat16), [autocast.widened(w) for w in weights]
    elif dtype is not None:
        wide = torch.promote_types(x.dtype, z.dtype)
        x, z, weights = x.to(wide), z.to(wide), [w.to(wide) for w in weights]
    if len(primitives) > MOST:
        raise InputError(f"primitives: got {len(primitives)}, expected at most {MOST}")
    if z.shape != (len(primitives),):
        raise InputError(f"z: got {checks.describe(z)}, expected shape ({len(primitives)},), one weight per primitive")
    fitting = (x.dtype, torch.float32 if x.dtype == torch.bfloat16 else x.dtype)
    for i, tensor in enumerate((z, *weights)):
        if tensor.dtype not in fitting or tensor.device != x.device:
            name = f"weights[{i - 1}]" if i else "z"
            raise InputError(f"{name}: got {checks.describe(tensor)}, expected {x.dtype} on {x.device}, as x")
    stride = integer("stride", stride, 1, 2)
    if memory not in MEMORY:
        raise InputError(f"memory: got {memory!r}, expected one of {', '.join(MEMORY)}")
    if chosen is not None:
        chosen = integer("chosen", chosen, 0, len(primitives) - 1)
    remaining, own, expected = iter(weights), [], []
    check(primitives)
    for primitive in primitives:
        shapes = list(weight_shapes(primitive, x.shape[1], stride).values())
        own.append(list(islice(remaining, len(shapes))))
        expected += shapes
    got = [tuple(w.shape) for w in weights]
    if got != expected:
        raise InputError(f"weights: got shapes {got}, expected {expected}")
    if x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride) == 1:
        raise InputError(f"x: got shape {tuple(x.shape)}, expected more than one value per channel for batch norm")

    if chosen is not None:
        z, own, primitives = z[chosen : chosen + 1], [own[chosen]], [primitives[chosen]]
    used = [w for mine in own for w in mine]
    known = any(find(p).number for p in primitives)
    if not _served(x.device) or not known or x.numel() == 0:
        return _computed(x, z, used, primitives, stride)
    checks.no_tangents(x, z, *used)
    return _fused(x, z, own, primitives, stride, MEMORY.index(memory))
