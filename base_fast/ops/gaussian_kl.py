"""KL divergence of two diagonal Gaussians."""

from __future__ import annotations

from torch import Tensor

from base_fast.ops import checks
from base_fast.ops.registry import define
from base_fast.reference.gaussian_kl import gaussian_kl as reference

_op = define("gaussian_kl(Tensor mu, Tensor rho, Tensor prior_mu, Tensor prior_rho) -> Tensor", reference)


def gaussian_kl(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) in nats, summed over all P weights; σ = softplus(ρ).

    Args:
        mu, rho: (P,) posterior, floating point.
        prior_mu, prior_rho: (P,) prior, same dtype and device.

    Returns:
        Scalar ≥ 0 (up to rounding), differentiable in all four.

    Raises:
        InputError: for mismatched arguments.
    """
    checks.floating("mu", mu, dims=1)
    for name, x in (("rho", rho), ("prior_mu", prior_mu), ("prior_rho", prior_rho)):
        checks.like(name, x, "mu", mu)
    kl: Tensor = _op(mu, rho, prior_mu, prior_rho)
    return kl
