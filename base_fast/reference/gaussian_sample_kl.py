"""θ = μ + softplus(ρ)·ε together with KL(N(μ, σ²) ‖ N(μ₀, σ₀²)): what an ELBO needs of its weights."""

from __future__ import annotations

from torch import Tensor

from base_fast.reference.gaussian_kl import gaussian_kl, gaussian_kl_backward
from base_fast.reference.gaussian_sample import gaussian_sample, gaussian_sample_backward


def gaussian_sample_kl(
    mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor, key: Tensor
) -> tuple[Tensor, Tensor]:
    """θ (P,), and the divergence in nats."""
    return gaussian_sample(mu, rho, key), gaussian_kl(mu, rho, prior_mu, prior_rho)


def gaussian_sample_kl_backward(
    grad_theta: Tensor,
    grad_kl: Tensor,
    mu: Tensor,
    rho: Tensor,
    prior_mu: Tensor,
    prior_rho: Tensor,
    key: Tensor,
    prior: bool,
) -> list[Tensor]:
    """The gradients for μ and ρ and, where `prior`, for μ₀ and ρ₀."""
    d_mu, d_rho, *d_prior = gaussian_kl_backward(grad_kl, mu, rho, prior_mu, prior_rho, prior)
    return [d_mu + grad_theta, d_rho + gaussian_sample_backward(grad_theta, rho, key), *d_prior]
