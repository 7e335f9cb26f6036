"""The weighted sum of an edge's branches, each after its batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from base_fast.errors import InputError
from base_fast.ops import checks
from base_fast.ops.branches import dense_like, format_of, in_formats, present
from base_fast.ops.registry import define_gradient, define_kernel
from base_fast.reference import mixed_norm_sum as reference

Outputs = tuple[Tensor, Tensor, Tensor]


def _empty(
    branches: list[Tensor], weights: Tensor, positions: list[int], normalized: list[bool], eps: float
) -> Outputs:
    x = branches[0]
    wide = torch.promote_types(x.dtype, torch.float32)
    mean, rstd = (x.new_empty(len(branches), x.shape[1], dtype=wide) for _ in range(2))
    return dense_like(x), mean, rstd


def _value(
    branches: list[Tensor], weights: Tensor, positions: list[int], normalized: list[bool], eps: float
) -> Outputs:
    y, mean, rstd = reference.mixed_norm_sum(branches, weights, positions, normalized, eps)
    return in_formats([y], branches[:1])[0], mean, rstd


def _gradients(grad: Tensor, branches: list[Tensor], weights: Tensor, *rest: Any) -> list[Tensor]:
    return in_formats(reference.mixed_norm_sum_backward(grad, branches, weights, *rest), [*branches, weights])


_op = define_kernel(
    "mixed_norm_sum(Tensor[] branches, Tensor weights, int[] positions, bool[] normalized, float eps)"
    " -> (Tensor, Tensor, Tensor)",
    _value,
    _empty,
    column="mixed_norm_sum",
)
_backward = define_kernel(
    "mixed_norm_sum_backward(Tensor grad, Tensor[] branches, Tensor weights, int[] positions, bool[] normalized,"
    " Tensor mean, Tensor rstd) -> Tensor[]",
    _gradients,
    lambda grad, branches, weights, positions, normalized, mean, rstd: [
        *(dense_like(x, grad.dtype) for x in branches),
        dense_like(weights),
    ],
    column="mixed_norm_sum",
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    branches, weights, ctx.positions, ctx.normalized, ctx.eps = inputs
    _, mean, rstd = output
    ctx.save_for_backward(*branches, weights, mean, rstd)
    ctx.mark_non_differentiable(mean, rstd)


def _gradient(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[list[Tensor], Tensor, None, None, None]:
    *branches, weights, mean, rstd = ctx.saved_tensors
    grad = grad.contiguous(memory_format=format_of(branches[0]))
    backward = _backward
    if torch.is_grad_enabled():
        # A backward pass that is recorded is differentiated in turn, which the formula can be; the statistics are then
        # functions of the branches.
        backward = reference.mixed_norm_sum_backward
        mean, rstd = reference.statistics(branches, ctx.normalized, ctx.eps)
    *d_branches, d_weights = backward(grad, branches, weights, ctx.positions, ctx.normalized, mean, rstd)
    return d_branches, d_weights, None, None, None


define_gradient(_op, _save, _gradient)


class _StoredInBfloat16(torch.autograd.Function):
    """The same value; backward reads the branches from copies of half the size."""

    @staticmethod
    def forward(
        ctx: Any, positions: list[int], normalized: list[bool], eps: float, weights: Tensor, *branches: Tensor
    ) -> Tensor:
        y, mean, rstd = _op(branches, weights, positions, normalized, eps)
        ctx.save_for_backward(*(x.bfloat16() for x in branches), weights, mean, rstd)
        ctx.positions, ctx.normalized = positions, normalized
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *branches, weights, mean, rstd = ctx.saved_tensors
        grad = grad.contiguous(memory_format=format_of(branches[0]))
        *d_branches, d_weights = _backward(grad, branches, weights, ctx.positions, ctx.normalized, mean, rstd)
        return None, None, None, d_weights, *d_branches


def mixed_norm_sum(
    branches: Sequence[Tensor | None],
    weights: Tensor,
    *,
    normalize: Sequence[bool] | None = None,
    eps: float = 1e-5,
    memory: Literal["store", "store_bf16"] = "store",
) -> Tensor:
    """Σ_l weights[l]·BN(branches[l]): batch norm with batch statistics and no affine parameters, then the weighted sum.

    Args:
        branches: L ≥ 1 tensors (B, C, H, W) of one shape: float32, float64 or bfloat16. None stands for zeros (the
            primitive `none`): it costs nothing, and its weight's gradient is zero. Memory formats may differ.
        weights: (L,), one per entry of `branches`; same dtype and device.
        normalize: one per entry: False takes the branch as it is (a skip connection). None normalizes all.
        eps: is added to the variances.
        memory: what is kept for backward: the branches ("store"), or, of float32 branches, bfloat16 copies of half the
            size ("store_bf16"). The value is the same; the gradients see every element of x with a relative error of
            up to 2⁻⁹, and cannot be differentiated again.

    Returns:
        y (B, C, H, W), same dtype, in the memory format of the first branch.

    Raises:
        InputError: for mismatched arguments, or where batch statistics do not exist (B·H·W = 1).
    """
    if memory not in ("store", "store_bf16"):
        raise InputError(f"memory: got {memory!r}, expected 'store' or 'store_bf16'")
    checks.positive("eps", eps)
    if normalize is not None and len(normalize) != len(branches):
        raise InputError(f"normalize: got {len(normalize)} entries, expected {len(branches)}, one per branch")
    found, weights, positions = present(branches, weights)
    shape = found[0].shape
    checks.floating(f"branches[{positions[0]}]", found[0], dims=4)
    normalized = [normalize is None or bool(normalize[l]) for l in positions]
    if any(normalized) and shape[0] * shape[2] * shape[3] == 1:
        raise InputError(f"branches: got shape {tuple(shape)}, expected more than one value per channel for batch norm")
    if memory == "store_bf16" and found[0].dtype == torch.float64:
        raise InputError("memory: got 'store_bf16' for float64 branches, expected 'store'")
    if memory == "store_bf16" and found[0].dtype == torch.float32:
        stored: Tensor = _StoredInBfloat16.apply(positions, normalized, eps, weights, *found)
        return stored
    y: Tensor = _op(found, weights, positions, normalized, eps)[0]
    return y
