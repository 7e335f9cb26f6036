"""z = softmax((φ + s·ξ)/τ), ξ ~ Gumbel(0, 1) (Maddison et al. 2017; Jang et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.reference import philox


def gumbel_softmax(logits: Tensor, key: Tensor, tau: float, hard: bool, noise: float) -> Tensor:
    xi = philox.gumbel(key, logits.numel()).view(logits.shape).to(logits.dtype)
    z = torch.softmax((logits + noise * xi) / tau, dim=-1)
    if not hard:
        return z
    one_hot = torch.zeros_like(z).scatter(-1, z.argmax(dim=-1, keepdim=True), 1.0)
    # The value is exactly one-hot, the gradient is that of z (straight through).
    return one_hot + (z - z.detach())
