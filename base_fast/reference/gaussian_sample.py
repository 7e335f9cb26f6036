"""θ = μ + softplus(ρ)·ε, ε ~ N(0, I) (Kingma & Welling 2014; Blundell et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from base_fast.reference import philox


def gaussian_sample(mu: Tensor, rho: Tensor, key: Tensor) -> Tensor:
    """μ, ρ (P,) and a key (2,) → θ (P,)."""
    return mu + softplus(rho) * philox.normal(key, mu.numel()).view(mu.shape).to(mu.dtype)


def gaussian_sample_backward(grad: Tensor, rho: Tensor, key: Tensor) -> Tensor:
    """The gradient for ρ; that for μ is `grad` itself."""
    return grad * torch.sigmoid(rho) * philox.normal(key, rho.numel()).view(rho.shape).to(rho.dtype)
