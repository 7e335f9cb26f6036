"""x_i − η_i·s·g_i, where s = min(1, clip/‖g‖) bounds the norm of all gradients together (Pascanu et al. 2013)."""

from __future__ import annotations

import torch
from torch import Tensor


def sgd_step(variables: list[Tensor], gradients: list[Tensor], lrs: list[float], clip: float) -> list[Tensor]:
    """The new variables, then the norm before clipping (float64); a clip of 0 is none."""
    norm = torch.sqrt(torch.stack([g.double().square().sum() for g in gradients]).sum())
    scale = torch.clamp(clip / norm, max=1.0) if clip > 0.0 else torch.ones_like(norm)
    return [*(x - (lr * scale) * g for x, g, lr in zip(variables, gradients, lrs, strict=True)), norm]
