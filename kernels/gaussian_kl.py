"""KL(N(μ, σ²) ‖ N(μ₀, σ₀²)), σ = softplus(ρ): reads μ, ρ, μ₀, ρ₀, writes one float64 per block.

Backward reads the same and writes each gradient. With δ = (σ − σ₀)/σ₀ and d = (μ − μ₀)/σ₀ an element is
½(δ(2 + δ) + d²) − log(1 + δ), which stays accurate where the posterior is close to its prior. A prior of one repeated
number is read once per program.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _math
from ._launch import BLOCK, OPTIONS, blocks, broadcastable


@triton.jit
def read(x, i, inside, STRIDE: tl.constexpr):
    """x[i], or the scalar x[0] where the stride is 0."""
    if STRIDE == 0:
        return _math.wide(tl.load(x))
    else:
        return _math.wide(tl.load(x + i, mask=inside))


@triton.jit
def element(mu, rho, prior_mu, prior_rho):
    """One element's KL."""
    prior_sigma = _math.softplus(prior_rho)
    precision = 1.0 / prior_sigma
    delta = (_math.softplus(rho) - prior_sigma) * precision
    d = (mu - prior_mu) * precision
    return 0.5 * (delta * (2.0 + delta) + d * d) - _math.log1p(delta)


@triton.jit
def gradients(mu, rho, prior_mu, prior_rho):
    """One element's dKL/dμ, dKL/dρ, dKL/dρ₀; dKL/dμ₀ is the negative of the first."""
    sigma, prior_sigma = _math.softplus(rho), _math.softplus(prior_rho)
    precision = 1.0 / prior_sigma
    delta = (sigma - prior_sigma) * precision
    d = (mu - prior_mu) * precision
    excess = delta * (2.0 + delta)
    d_rho = excess * (_math.sigmoid(rho) / sigma)
    d_prior_rho = -(excess + d * d) * (_math.sigmoid(prior_rho) * precision)
    return d * precision, d_rho, d_prior_rho


@triton.jit
def block_sum(x, inside):
    """The sum of a block in float64, of its elements inside."""
    x = x.to(tl.float64)
    if inside is None:
        return tl.sum(x, 0)
    else:
        return tl.sum(tl.where(inside, x, 0.0), 0)


@triton.jit
def _partial(mu, rho, prior_mu, prior_rho, i, inside, MU: tl.constexpr, RHO: tl.constexpr):
    m, r = read(mu, i, inside, 1), read(rho, i, inside, 1)
    return block_sum(element(m, r, read(prior_mu, i, inside, MU), read(prior_rho, i, inside, RHO)), inside)


@triton.jit
def _kl(mu, rho, prior_mu, prior_rho, partial, size, MU: tl.constexpr, RHO: tl.constexpr, BLOCK: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    i = program * BLOCK + tl.arange(0, BLOCK)
    if (program + 1) * BLOCK <= size:
        total = _partial(mu, rho, prior_mu, prior_rho, i, None, MU, RHO)
    else:
        total = _partial(mu, rho, prior_mu, prior_rho, i, i < size, MU, RHO)
    tl.store(partial + program, total)


@triton.jit
def _gradient_tile(
    grad, mu, rho, prior_mu, prior_rho, out, i, inside, MU: tl.constexpr, RHO: tl.constexpr, PRIOR: tl.constexpr
):
    m, r = read(mu, i, inside, 1), read(rho, i, inside, 1)
    g = _math.wide(tl.load(grad))
    d_mu, d_rho, d_prior_rho = gradients(m, r, read(prior_mu, i, inside, MU), read(prior_rho, i, inside, RHO))
    tl.store(out[0] + i, g * d_mu, mask=inside)
    tl.store(out[1] + i, g * d_rho, mask=inside)
    if PRIOR:
        tl.store(out[2] + i, -g * d_mu, mask=inside)
        tl.store(out[3] + i, g * d_prior_rho, mask=inside)


@triton.jit
def _gradient(
    grad,
    mu,
    rho,
    prior_mu,
    prior_rho,
    out,
    size,
    MU: tl.constexpr,
    RHO: tl.constexpr,
    PRIOR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    i = program * BLOCK + tl.arange(0, BLOCK)
    if (program + 1) * BLOCK <= size:
        _gradient_tile(grad, mu, rho, prior_mu, prior_rho, out, i, None, MU, RHO, PRIOR)
    else:
        _gradient_tile(grad, mu, rho, prior_mu, prior_rho, out, i, i < size, MU, RHO, PRIOR)


def gaussian_kl(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    mu, rho = mu.contiguous(), rho.contiguous()
    (prior_mu, mu_stride), (prior_rho, rho_stride) = broadcastable(prior_mu), broadcastable(prior_rho)
    grid = blocks(mu)
    partial = torch.empty(grid, dtype=torch.float64, device=mu.device)
    with torch.cuda.device_of(mu):
        _kl[grid](
            mu, rho, prior_mu, prior_rho, partial, mu.numel(), MU=mu_stride, RHO=rho_stride, BLOCK=BLOCK, **OPTIONS
        )
    return partial.sum().to(mu.dtype)


def gaussian_kl_backward(
    grad: Tensor, mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor, prior: bool
) -> list[Tensor]:
    mu, rho = mu.contiguous(), rho.contiguous()
    (prior_mu, mu_stride), (prior_rho, rho_stride) = broadcastable(prior_mu), broadcastable(prior_rho)
    out = [torch.empty_like(mu) for _ in range(4 if prior else 2)]
    with torch.cuda.device_of(mu):
        _gradient[blocks(mu)](
            grad, mu, rho, prior_mu, prior_rho, tuple(out), mu.numel(),
            MU=mu_stride, RHO=rho_stride, PRIOR=prior, BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
    return out
