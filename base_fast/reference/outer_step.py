"""W + λ·(mean_c ψ_c − W): the prior moves towards the tasks' adapted posteriors (Nichol et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor


def outer_step(prior: Tensor, adapted: list[Tensor], step_size: float) -> Tensor:
    return prior + step_size * (torch.stack(adapted).mean(dim=0) - prior)
