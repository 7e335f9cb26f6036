"""KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) = Σ log(σ₀/σ) + (σ² + (μ − μ₀)²)/(2σ₀²) − ½, with σ = softplus(ρ)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def gaussian_kl(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    sigma, prior_sigma = softplus(rho), softplus(prior_rho)
    ratio = sigma / prior_sigma
    return (0.5 * (ratio.square() + ((mu - prior_mu) / prior_sigma).square() - 1.0) - torch.log(ratio)).sum()
