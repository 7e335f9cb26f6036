"""KL(q_φ ‖ p_α) = Σ_e Σ_l softmax(φ)_l (log softmax(φ)_l − log softmax(α)_l)."""

from __future__ import annotations

import torch
from torch import Tensor


def categorical_kl(logits: Tensor, prior_logits: Tensor) -> Tensor:
    """φ, α (..., L) → a scalar in nats."""
    log_q, log_p = torch.log_softmax(logits, dim=-1), torch.log_softmax(prior_logits, dim=-1)
    return (log_q.exp() * (log_q - log_p)).sum()
