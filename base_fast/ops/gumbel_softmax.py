"""Gumbel-Softmax samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base_fast.ops import autocast, checks
from base_fast.ops.registry import define_gradient, define_kernel, differentiable
from base_fast.reference import gumbel_softmax as reference


def _dense(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


_op = define_kernel(
    "gumbel_softmax(Tensor logits, Tensor key, float tau, bool hard, float noise) -> Tensor",
    reference.gumbel_softmax,
    lambda logits, key, tau, hard, noise: _dense(logits),
    column="gumbel_softmax",
)
_backward = differentiable(
    define_kernel(
        "gumbel_softmax_backward(Tensor grad, Tensor z, float tau) -> Tensor",
        reference.gumbel_softmax_backward,
        lambda grad, z, tau: _dense(z),
        column="gumbel_softmax",
    ),
    reference.gumbel_softmax_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    logits, key, ctx.tau, ctx.hard, ctx.noise = inputs
    # Of a hard sample the soft one is drawn again in backward.
    ctx.save_for_backward(*((logits, key) if ctx.hard else (output,)))


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    saved = ctx.saved_tensors
    z = _op(*saved, ctx.tau, False, ctx.noise) if ctx.hard else saved[0]
    return _backward(grad.contiguous(), z, ctx.tau), None, None, None, None


define_gradient(_op, _save, _gradient)


def gumbel_softmax(logits: Tensor, key: Tensor, tau: float = 1.0, hard: bool = False, noise: float = 1.0) -> Tensor:
    """Sample z = softmax((logits + noise·ξ)/tau), ξ ~ Gumbel(0, 1), along the last axis (Jang et al. 2017).

    Nothing is saved for backward but z itself, or of a hard sample the logits and the key.

    Args:
        logits: (..., L), unnormalized log-probabilities: float32, float64 or bfloat16.
        key: int64 (2,) on the same device; the same key gives the same sample.
        tau: temperature > 0.
        hard: return an exact one-hot z whose gradient is that of the soft sample (straight through).
        noise: scale of ξ, ≥ 0; 0 gives the tempered softmax itself.

    Returns:
        z (..., L), same dtype; each row sums to one.

    Raises:
        InputError: for a wrong dtype, shape, device, temperature or noise scale.
    """
    logits = autocast.widened(logits)
    checks.rows("logits", logits)
    checks.key_on(key, logits.device)
    checks.positive("tau", tau)
    checks.not_negative("noise", noise)
    checks.no_tangents(logits)
    z: Tensor = _op(logits.contiguous(), key, tau, hard, noise)
    return z
