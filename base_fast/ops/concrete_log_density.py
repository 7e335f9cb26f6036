"""Log-density of the Concrete distribution."""

from __future__ import annotations

from torch import Tensor

from base_fast.ops import checks
from base_fast.ops.registry import define
from base_fast.reference.concrete_log_density import concrete_log_density as reference

_op = define("concrete_log_density(Tensor z, Tensor logits, float tau) -> Tensor", reference)


def concrete_log_density(z: Tensor, logits: Tensor, tau: float = 1.0) -> Tensor:
    """log p(z) of the Concrete distribution with `logits` at temperature `tau` (Maddison et al. 2017, Eq. 10).

    Args:
        z: (..., L), a soft sample: rows in the open simplex.
        logits: (..., L), same dtype and device.
        tau: temperature > 0.

    Returns:
        (...): one log-density per row.

    Raises:
        InputError: for mismatched arguments.
    """
    checks.rows("z", z)
    checks.like("logits", logits, "z", z)
    checks.positive("tau", tau)
    density: Tensor = _op(z, logits, tau)
    return density
