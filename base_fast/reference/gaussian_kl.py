"""KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) = Σ log(σ₀/σ) + (σ² + (μ − μ₀)²)/(2σ₀²) − ½, with σ = softplus(ρ)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def gaussian_kl(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    """Four vectors (P,) → a scalar in nats, summed in float64."""
    ratio, distance = _standardized(mu, rho, prior_mu, prior_rho)
    terms = 0.5 * (ratio.square() + distance.square() - 1.0) - torch.log(ratio)
    return terms.sum(dtype=torch.float64).to(mu.dtype)


def gaussian_kl_backward(
    grad: Tensor, mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor, prior: bool
) -> list[Tensor]:
    """The gradients for μ and ρ and, where `prior`, for μ₀ and ρ₀."""
    ratio, distance = _standardized(mu, rho, prior_mu, prior_rho)
    d_mu = grad * distance / softplus(prior_rho)
    d_rho = grad * (ratio.square() - 1.0) * _log_softplus_slope(rho)
    if not prior:
        return [d_mu, d_rho]
    d_prior_rho = grad * (1.0 - ratio.square() - distance.square()) * _log_softplus_slope(prior_rho)
    return [d_mu, d_rho, -d_mu, d_prior_rho]


def _standardized(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> tuple[Tensor, Tensor]:
    """σ/σ₀ and (μ − μ₀)/σ₀."""
    prior_sigma = softplus(prior_rho)
    return softplus(rho) / prior_sigma, (mu - prior_mu) / prior_sigma


def _log_softplus_slope(rho: Tensor) -> Tensor:
    """d log σ/dρ."""
    return torch.sigmoid(rho) / softplus(rho)
