"""Reparameterized Gaussian weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base_fast.ops import autocast, checks
from base_fast.ops.registry import define_gradient, define_kernel
from base_fast.reference import gaussian_sample as reference

_op = define_kernel(
    "gaussian_sample(Tensor mu, Tensor rho, Tensor key) -> Tensor",
    reference.gaussian_sample,
    lambda mu, rho, key: torch.empty_like(mu),
    column="gaussian_sample",
)
_kernel = define_kernel(
    "gaussian_sample_backward(Tensor grad, Tensor rho, Tensor key) -> Tensor",
    reference.gaussian_sample_backward,
    lambda grad, rho, key: torch.empty_like(rho),
    column="gaussian_sample",
)


def backward(grad: Tensor, rho: Tensor, key: Tensor) -> Tensor:
    """The gradient for ρ; where it is recorded itself, as a formula that can be differentiated in turn."""
    if not torch.is_grad_enabled():
        d_rho: Tensor = _kernel(grad, rho, key)
        return d_rho
    # ε is the kernel's own, whose last bits are not the reference's: at ρ = 0 the gradient is ε/2.
    epsilon = 2.0 * _kernel(torch.ones_like(rho), torch.zeros_like(rho), key)
    return grad * torch.sigmoid(rho) * epsilon


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, rho, key = inputs
    ctx.save_for_backward(rho, key)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
    rho, key = ctx.saved_tensors
    return grad, backward(grad, rho, key) if ctx.needs_input_grad[1] else None, None


define_gradient(_op, _save, _gradient)


def gaussian_sample(mu: Tensor, rho: Tensor, key: Tensor) -> Tensor:
    """Sample θ = μ + softplus(ρ)·ε, ε ~ N(0, I) (Blundell et al. 2015).

    Nothing is saved for backward but ρ and the key, from which ε is drawn again.

    Args:
        mu: (P,) means: float32, float64 or bfloat16.
        rho: (P,) same dtype and device; σ = softplus(ρ).
        key: int64 (2,) on the same device; the same key gives the same ε.

    Returns:
        θ (P,), same dtype.

    Raises:
        InputError: for mismatched arguments.
    """
    mu, rho = autocast.widened(mu), autocast.widened(rho)
    checks.floating("mu", mu, dims=1)
    checks.like("rho", rho, "mu", mu)
    checks.key_on(key, mu.device)
    checks.no_tangents(mu, rho)
    theta: Tensor = _op(mu, rho, key)
    return theta
