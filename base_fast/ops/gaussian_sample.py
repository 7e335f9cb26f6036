"""Reparameterized Gaussian weights."""

from __future__ import annotations

from torch import Tensor

from base_fast.ops import checks
from base_fast.ops.registry import define
from base_fast.reference.gaussian_sample import gaussian_sample as reference

_op = define("gaussian_sample(Tensor mu, Tensor rho, Tensor key) -> Tensor", reference)


def gaussian_sample(mu: Tensor, rho: Tensor, key: Tensor) -> Tensor:
    """Sample θ = μ + softplus(ρ)·ε, ε ~ N(0, I) (Blundell et al. 2015).

    Args:
        mu: (P,) means, floating point.
        rho: (P,) same dtype and device; σ = softplus(ρ).
        key: int64 (2,) on the same device; the same key gives the same ε.

    Returns:
        θ (P,), same dtype.

    Raises:
        InputError: for mismatched arguments.
    """
    checks.floating("mu", mu, dims=1)
    checks.like("rho", rho, "mu", mu)
    checks.key_on(key, mu.device)
    theta: Tensor = _op(mu, rho, key)
    return theta
