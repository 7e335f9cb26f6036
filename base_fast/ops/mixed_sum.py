"""The weighted sum of an edge's branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from base_fast.ops.branches import dense, dense_like, in_formats, present
from base_fast.ops.registry import define_gradient, define_kernel
from base_fast.reference import mixed_sum as reference


def _value(branches: list[Tensor], weights: Tensor, positions: list[int]) -> Tensor:
    return in_formats([reference.mixed_sum(branches, weights, positions)], branches[:1])[0]


def _gradients(grad: Tensor, branches: list[Tensor], weights: Tensor, positions: list[int]) -> list[Tensor]:
    return in_formats(reference.mixed_sum_backward(grad, branches, weights, positions), [*branches, weights])


_op = define_kernel(
    "mixed_sum(Tensor[] branches, Tensor weights, int[] positions) -> Tensor",
    _value,
    lambda branches, weights, positions: dense_like(branches[0]),
    column="mixed_sum",
)
_backward = define_kernel(
    "mixed_sum_backward(Tensor grad, Tensor[] branches, Tensor weights, int[] positions) -> Tensor[]",
    _gradients,
    lambda grad, branches, weights, positions: [dense_like(x) for x in (*branches, weights)],
    column="mixed_sum",
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    branches, weights, ctx.positions = inputs
    ctx.save_for_backward(*branches, weights)


def _gradient(ctx: Any, grad: Tensor) -> tuple[list[Tensor], Tensor, None]:
    *branches, weights = ctx.saved_tensors
    grad = dense(grad, branches[0])
    # A backward pass that is recorded is differentiated in turn, which the formula can be.
    backward = reference.mixed_sum_backward if torch.is_grad_enabled() else _backward
    *d_branches, d_weights = backward(grad, branches, weights, ctx.positions)
    return d_branches, d_weights, None


define_gradient(_op, _save, _gradient)


def mixed_sum(branches: Sequence[Tensor | None], weights: Tensor) -> Tensor:
    """Σ_l weights[l]·branches[l].

    Args:
        branches: L ≥ 1 tensors of one shape, usually (B, C, H, W): float32, float64 or bfloat16. None stands for zeros
            (the primitive `none`): it costs nothing, and its weight's gradient is zero. Memory formats may differ.
        weights: (L,), one per entry of `branches`; same dtype and device.

    Returns:
        A tensor of the branches' shape and dtype, in the memory format of the first.

    Raises:
        InputError: for a list without a tensor, or mismatched arguments.
    """
    found, weights, positions = present(branches, weights)
    total: Tensor = _op(found, weights, positions)
    return total
