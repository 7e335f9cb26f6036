"""Gumbel-Softmax samples."""

from __future__ import annotations

from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks
from base_fast.ops.registry import define
from base_fast.reference.gumbel_softmax import gumbel_softmax as reference

_op = define("gumbel_softmax(Tensor logits, Tensor key, float tau, bool hard, float noise) -> Tensor", reference)


def gumbel_softmax(logits: Tensor, key: Tensor, tau: float = 1.0, hard: bool = False, noise: float = 1.0) -> Tensor:
    """Sample z = softmax((logits + noise·ξ)/tau), ξ ~ Gumbel(0, 1), along the last axis (Jang et al. 2017).

    Args:
        logits: (..., L), floating point; unnormalized log-probabilities.
        key: int64 (2,) on the same device; the same key gives the same sample.
        tau: temperature > 0.
        hard: return an exact one-hot z whose gradient is that of the soft sample (straight through).
        noise: scale of ξ, ≥ 0; 0 gives the tempered softmax itself.

    Returns:
        z (..., L), same dtype; each row sums to one.

    Raises:
        InputError: for a wrong dtype, shape, device, temperature or noise scale.
    """
    checks.rows("logits", logits)
    checks.key_on(key, logits.device)
    checks.positive("tau", tau)
    if not noise >= 0.0:
        raise InputError(f"noise: got {noise!r}, expected a number ≥ 0")
    z: Tensor = _op(logits, key, tau, hard, noise)
    return z
