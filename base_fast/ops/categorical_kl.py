"""KL divergence of two categorical distributions."""

from __future__ import annotations

from torch import Tensor

from base_fast.ops import autocast, checks
from base_fast.ops.registry import define
from base_fast.reference.categorical_kl import categorical_kl as reference

_op = define("categorical_kl(Tensor logits, Tensor prior_logits) -> Tensor", reference)


def categorical_kl(logits: Tensor, prior_logits: Tensor) -> Tensor:
    """KL(softmax(logits) ‖ softmax(prior_logits)) in nats, summed over all rows.

    Args:
        logits: (..., L), floating point.
        prior_logits: (..., L), same dtype and device.

    Returns:
        Scalar ≥ 0 (up to rounding).

    Raises:
        InputError: for mismatched arguments.
    """
    logits, prior_logits = autocast.widened(logits), autocast.widened(prior_logits)
    checks.rows("logits", logits)
    checks.like("prior_logits", prior_logits, "logits", logits)
    kl: Tensor = _op(logits, prior_logits)
    return kl
