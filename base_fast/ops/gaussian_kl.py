"""KL divergence of two diagonal Gaussians."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base_fast.ops import autocast, checks
from base_fast.ops.registry import define_gradient, define_kernel, differentiable
from base_fast.reference import gaussian_kl as reference


def gradients_like(mu: Tensor, prior: bool) -> list[Tensor]:
    """Empty gradients for μ, ρ and, where `prior`, for μ₀ and ρ₀."""
    return [torch.empty_like(mu) for _ in range(4 if prior else 2)]


_op = define_kernel(
    "gaussian_kl(Tensor mu, Tensor rho, Tensor prior_mu, Tensor prior_rho) -> Tensor",
    reference.gaussian_kl,
    lambda mu, rho, prior_mu, prior_rho: mu.new_empty(()),
    column="gaussian_kl",
)
_backward = differentiable(
    define_kernel(
        "gaussian_kl_backward(Tensor grad, Tensor mu, Tensor rho, Tensor prior_mu, Tensor prior_rho, bool prior)"
        " -> Tensor[]",
        reference.gaussian_kl_backward,
        lambda grad, mu, rho, prior_mu, prior_rho, prior: gradients_like(mu, prior),
        column="gaussian_kl",
    ),
    reference.gaussian_kl_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    prior = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
    found = _backward(grad, *ctx.saved_tensors, prior)
    return tuple(found) if prior else (*found, None, None)


define_gradient(_op, _save, _gradient)


def gaussian_kl(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) in nats, summed over all P weights; σ = softplus(ρ).

    Args:
        mu, rho: (P,) posterior: float32, float64 or bfloat16.
        prior_mu, prior_rho: (P,) prior, or one element each for a prior that all weights share; same dtype and device.

    Returns:
        Scalar ≥ 0 (up to rounding), differentiable in all four; accumulated in float64.

    Raises:
        InputError: for mismatched arguments.
    """
    mu, rho = autocast.widened(mu), autocast.widened(rho)
    check_posterior(mu, rho)
    kl: Tensor = _op(mu, rho, expanded("prior_mu", prior_mu, mu), expanded("prior_rho", prior_rho, mu))
    return kl


def check_posterior(mu: Tensor, rho: Tensor) -> None:
    """Raises InputError unless μ and ρ are vectors of one length, dtype and device."""
    checks.floating("mu", mu, dims=1)
    checks.like("rho", rho, "mu", mu)
    checks.no_tangents(mu, rho)


def expanded(name: str, prior: Tensor, mu: Tensor) -> Tensor:
    """A prior of one element as one of P equal ones, without a copy (stride 0)."""
    prior = autocast.widened(prior)
    if isinstance(prior, Tensor) and prior.shape in ((), (1,)) and prior.dtype == mu.dtype:
        prior = prior.expand(mu.shape)
    checks.like(name, prior, "mu", mu)
    checks.no_tangents(prior)
    return prior
