"""log p(z) of the Concrete distribution (Maddison et al. 2017, Eq. 10), per edge."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def concrete_log_density(z: Tensor, logits: Tensor, tau: float) -> Tensor:
    """log Γ(L) + (L−1) log τ + Σ_l (log π_l − (τ+1) log z_l) − L·logsumexp_l(log π_l − τ log z_l)."""
    count = z.shape[-1]
    log_z = torch.log(z.clamp_min(torch.finfo(z.dtype).tiny))
    log_pi = torch.log_softmax(logits, dim=-1)
    return (
        math.lgamma(count)
        + (count - 1) * math.log(tau)
        + (log_pi - (tau + 1.0) * log_z).sum(dim=-1)
        - count * torch.logsumexp(log_pi - tau * log_z, dim=-1)
    )
