"""θ = μ + softplus(ρ)·ε, ε ~ N(0, I): reads μ and ρ, writes θ; backward reads the gradient and ρ, writes ρ's."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _math, _philox
from ._launch import BLOCK, OPTIONS, blocks


@triton.jit
def _sample_tile(mu, rho, theta, eps, i, inside):
    m = _math.wide(tl.load(mu + i, mask=inside))
    r = _math.wide(tl.load(rho + i, mask=inside))
    tl.store(theta + i, m + _math.softplus(r) * eps, mask=inside)


@triton.jit
def _sample(mu, rho, key, theta, size, BLOCK: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    eps = _philox.normal(key, program * (BLOCK // 4) + tl.arange(0, BLOCK // 4))
    i = program * BLOCK + tl.arange(0, BLOCK)
    # Only the last block is masked: a mask that may end anywhere forbids wide accesses.
    if (program + 1) * BLOCK <= size:
        _sample_tile(mu, rho, theta, eps, i, None)
    else:
        _sample_tile(mu, rho, theta, eps, i, i < size)


@triton.jit
def _gradient_tile(grad, rho, grad_rho, eps, i, inside):
    g = _math.wide(tl.load(grad + i, mask=inside))
    r = _math.wide(tl.load(rho + i, mask=inside))
    tl.store(grad_rho + i, g * _math.sigmoid(r) * eps, mask=inside)


@triton.jit
def _gradient(grad, rho, key, grad_rho, size, BLOCK: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    eps = _philox.normal(key, program * (BLOCK // 4) + tl.arange(0, BLOCK // 4))
    i = program * BLOCK + tl.arange(0, BLOCK)
    if (program + 1) * BLOCK <= size:
        _gradient_tile(grad, rho, grad_rho, eps, i, None)
    else:
        _gradient_tile(grad, rho, grad_rho, eps, i, i < size)


def gaussian_sample(mu: Tensor, rho: Tensor, key: Tensor) -> Tensor:
    mu, rho = mu.contiguous(), rho.contiguous()
    theta = torch.empty_like(mu)
    with torch.cuda.device_of(mu):
        _sample[blocks(mu)](mu, rho, key.contiguous(), theta, mu.numel(), BLOCK=BLOCK, **OPTIONS)
    return theta


def gaussian_sample_backward(grad: Tensor, rho: Tensor, key: Tensor) -> Tensor:
    grad, rho = grad.contiguous(), rho.contiguous()
    grad_rho = torch.empty_like(rho)
    with torch.cuda.device_of(rho):
        _gradient[blocks(rho)](grad, rho, key.contiguous(), grad_rho, rho.numel(), BLOCK=BLOCK, **OPTIONS)
    return grad_rho
