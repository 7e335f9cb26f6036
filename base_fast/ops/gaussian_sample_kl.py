"""Reparameterized Gaussian weights together with their KL divergence from a prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base_fast.ops import autocast, checks
from base_fast.ops.gaussian_kl import check_posterior, expanded, gradients_like
from base_fast.ops.gaussian_sample import backward as gaussian_sample_backward
from base_fast.ops.registry import define_gradient, define_kernel
from base_fast.reference import gaussian_sample_kl as reference
from base_fast.reference.gaussian_kl import gaussian_kl_backward

_op = define_kernel(
    "gaussian_sample_kl(Tensor mu, Tensor rho, Tensor prior_mu, Tensor prior_rho, Tensor key) -> (Tensor, Tensor)",
    reference.gaussian_sample_kl,
    lambda mu, rho, prior_mu, prior_rho, key: (torch.empty_like(mu), mu.new_empty(())),
    column="gaussian_sample_kl",
)
_kernel = define_kernel(
    "gaussian_sample_kl_backward(Tensor grad_theta, Tensor grad_kl, Tensor mu, Tensor rho, Tensor prior_mu,"
    " Tensor prior_rho, Tensor key, bool prior) -> Tensor[]",
    reference.gaussian_sample_kl_backward,
    lambda grad_theta, grad_kl, mu, rho, prior_mu, prior_rho, key, prior: gradients_like(mu, prior),
    column="gaussian_sample_kl",
)


def _backward(grad_theta: Tensor, grad_kl: Tensor, saved: tuple[Tensor, ...], prior: bool) -> list[Tensor]:
    if not torch.is_grad_enabled():
        found: list[Tensor] = _kernel(grad_theta, grad_kl, *saved, prior)
        return found
    mu, rho, prior_mu, prior_rho, key = saved
    d_mu, d_rho, *d_prior = gaussian_kl_backward(grad_kl, mu, rho, prior_mu, prior_rho, prior)
    return [d_mu + grad_theta, d_rho + gaussian_sample_backward(grad_theta, rho, key), *d_prior]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad_theta: Tensor, grad_kl: Tensor) -> tuple[Tensor | None, ...]:
    prior = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
    found = _backward(grad_theta, grad_kl, ctx.saved_tensors, prior)
    return (*found, None) if prior else (*found, None, None, None)


define_gradient(_op, _save, _gradient)


def gaussian_sample_kl(
    mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor, key: Tensor
) -> tuple[Tensor, Tensor]:
    """`gaussian_sample` and `gaussian_kl` in one pass over the weights (Blundell et al. 2015).

    Nothing is saved for backward but the inputs; ε is drawn again from the key.

    Args:
        mu, rho: (P,) posterior: float32, float64 or bfloat16; σ = softplus(ρ).
        prior_mu, prior_rho: (P,) prior, or one element each for a prior that all weights share; same dtype and device.
        key: int64 (2,) on the same device.

    Returns:
        θ (P,), and KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) in nats, a scalar.

    Raises:
        InputError: for mismatched arguments.
    """
    mu, rho = autocast.widened(mu), autocast.widened(rho)
    check_posterior(mu, rho)
    prior_mu, prior_rho = expanded("prior_mu", prior_mu, mu), expanded("prior_rho", prior_rho, mu)
    checks.key_on(key, mu.device)
    theta, kl = _op(mu, rho, prior_mu, prior_rho, key)
    return theta, kl
