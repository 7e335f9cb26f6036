"""θ = μ + softplus(ρ)·ε and KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) in one pass.

Reads μ, ρ, μ₀, ρ₀, writes θ and one float64 per block; backward reads θ's gradient too and writes each gradient.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _math, _philox
from ._launch import BLOCK, OPTIONS, blocks, broadcastable
from .gaussian_kl import block_sum, element, gradients, read


@triton.jit
def _sample_tile(mu, rho, prior_mu, prior_rho, theta, eps, i, inside, MU: tl.constexpr, RHO: tl.constexpr):
    m, r = read(mu, i, inside, 1), read(rho, i, inside, 1)
    tl.store(theta + i, m + _math.softplus(r) * eps, mask=inside)
    return block_sum(element(m, r, read(prior_mu, i, inside, MU), read(prior_rho, i, inside, RHO)), inside)


@triton.jit
def _sample(
    mu,
    rho,
    prior_mu,
    prior_rho,
    key,
    theta,
    partial,
    size,
    MU: tl.constexpr,
    RHO: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    eps = _philox.normal(key, program * (BLOCK // 4) + tl.arange(0, BLOCK // 4))
    i = program * BLOCK + tl.arange(0, BLOCK)
    if (program + 1) * BLOCK <= size:
        total = _sample_tile(mu, rho, prior_mu, prior_rho, theta, eps, i, None, MU, RHO)
    else:
        total = _sample_tile(mu, rho, prior_mu, prior_rho, theta, eps, i, i < size, MU, RHO)
    tl.store(partial + program, total)


@triton.jit
def _gradient_tile(
    grad_theta,
    grad_kl,
    mu,
    rho,
    prior_mu,
    prior_rho,
    out,
    eps,
    i,
    inside,
    MU: tl.constexpr,
    RHO: tl.constexpr,
    PRIOR: tl.constexpr,
):
    m, r = read(mu, i, inside, 1), read(rho, i, inside, 1)
    t = read(grad_theta, i, inside, 1)
    g = _math.wide(tl.load(grad_kl))
    d_mu, d_rho, d_prior_rho = gradients(m, r, read(prior_mu, i, inside, MU), read(prior_rho, i, inside, RHO))
    tl.store(out[0] + i, t + g * d_mu, mask=inside)
    tl.store(out[1] + i, t * _math.sigmoid(r) * eps + g * d_rho, mask=inside)
    if PRIOR:
        tl.store(out[2] + i, -g * d_mu, mask=inside)
        tl.store(out[3] + i, g * d_prior_rho, mask=inside)


@triton.jit
def _gradient(
    grad_theta,
    grad_kl,
    mu,
    rho,
    prior_mu,
    prior_rho,
    key,
    out,
    size,
    MU: tl.constexpr,
    RHO: tl.constexpr,
    PRIOR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    eps = _philox.normal(key, program * (BLOCK // 4) + tl.arange(0, BLOCK // 4))
    i = program * BLOCK + tl.arange(0, BLOCK)
    if (program + 1) * BLOCK <= size:
        _gradient_tile(grad_theta, grad_kl, mu, rho, prior_mu, prior_rho, out, eps, i, None, MU, RHO, PRIOR)
    else:
        _gradient_tile(grad_theta, grad_kl, mu, rho, prior_mu, prior_rho, out, eps, i, i < size, MU, RHO, PRIOR)


def gaussian_sample_kl(
    mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor, key: Tensor
) -> tuple[Tensor, Tensor]:
    mu, rho = mu.contiguous(), rho.contiguous()
    (prior_mu, mu_stride), (prior_rho, rho_stride) = broadcastable(prior_mu), broadcastable(prior_rho)
    grid = blocks(mu)
    theta = torch.empty_like(mu)
    partial = torch.empty(grid, dtype=torch.float64, device=mu.device)
    with torch.cuda.device_of(mu):
        _sample[grid](
            mu, rho, prior_mu, prior_rho, key.contiguous(), theta, partial, mu.numel(),
            MU=mu_stride, RHO=rho_stride, BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
    return theta, partial.sum().to(mu.dtype)


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
    grad_theta, mu, rho = grad_theta.contiguous(), mu.contiguous(), rho.contiguous()
    (prior_mu, mu_stride), (prior_rho, rho_stride) = broadcastable(prior_mu), broadcastable(prior_rho)
    out = [torch.empty_like(mu) for _ in range(4 if prior else 2)]
    with torch.cuda.device_of(mu):
        _gradient[blocks(mu)](
            grad_theta, grad_kl, mu, rho, prior_mu, prior_rho, key.contiguous(), tuple(out), mu.numel(),
            MU=mu_stride, RHO=rho_stride, PRIOR=prior, BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
    return out
