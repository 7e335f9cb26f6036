"""z = softmax((φ + s·ξ)/τ), ξ ~ Gumbel(0, 1) (Maddison et al. 2017; Jang et al. 2017).

bfloat16 logits are computed with in float32, as ξ is, and rounded once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from base_fast.reference import philox


def gumbel_softmax(logits: Tensor, key: Tensor, tau: float, hard: bool, noise: float) -> Tensor:
    z = torch.softmax((logits + noise * _xi(logits, key)) / tau, dim=-1).to(logits.dtype)
    if not hard:
        return z
    one_hot = torch.zeros_like(z).scatter(-1, z.argmax(dim=-1, keepdim=True), 1.0)
    # The value is exactly one-hot, the gradient is that of z (straight through).
    return one_hot + (z - z.detach())


def gumbel_softmax_backward(grad: Tensor, z: Tensor, tau: float) -> Tensor:
    return (grad - (grad * z).sum(dim=-1, keepdim=True)) * z / tau


def gumbel_softmax_log_density(logits: Tensor, key: Tensor, tau: float, noise: float) -> tuple[Tensor, Tensor]:
    """z and log q(z) of the Concrete distribution it is drawn from (Maddison et al. 2017, Eq. 10).

    With τ log z_l = φ_l + s·ξ_l − τ·logsumexp((φ + s·ξ)/τ) no logarithm of z is left to underflow.
    """
    count = logits.shape[-1]
    xi = noise * _xi(logits, key)
    scores = (logits + xi) / tau
    log_density = (
        math.lgamma(count)
        + (count - 1) * math.log(tau)
        + (logits - (tau + 1.0) * scores).sum(dim=-1)
        + count * (torch.logsumexp(scores, dim=-1) - torch.logsumexp(-xi, dim=-1))
    )
    return torch.softmax(scores, dim=-1).to(logits.dtype), log_density.to(logits.dtype)


def gumbel_softmax_log_density_backward(grad_z: Tensor, grad_density: Tensor, z: Tensor, tau: float) -> Tensor:
    of_density = grad_density.unsqueeze(-1) * (z.shape[-1] * z - 1.0) / tau
    return gumbel_softmax_backward(grad_z, z, tau) + of_density


def _xi(logits: Tensor, key: Tensor) -> Tensor:
    wide = torch.promote_types(logits.dtype, torch.float32)
    return philox.gumbel(key, logits.numel()).view(logits.shape).to(wide)
