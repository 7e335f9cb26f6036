"""The prior's step towards the tasks' adapted posteriors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks
from base_fast.ops.registry import define_kernel
from base_fast.reference.outer_step import outer_step as reference

_op = define_kernel(
    "outer_step(Tensor prior, Tensor[] adapted, float step_size) -> Tensor",
    reference,
    lambda prior, adapted, step_size: torch.empty_like(prior),
    column="outer_step",
)


def outer_step(prior: Tensor, adapted: Sequence[Tensor], step_size: float) -> Tensor:
    """W + step_size·(mean_c ψ_c − W) in one pass (Nichol et al. 2018; Algorithm 1 of Shaw et al. 2019).

    Args:
        prior: (P,), W: float32, float64 or bfloat16.
        adapted: C ≥ 1 tensors (P,), ψ_c; same dtype and device.
        step_size: λ; 1 gives the mean.

    Returns:
        The new prior (P,), same dtype. It has no gradient.

    Raises:
        InputError: for mismatched arguments, or where a gradient would be lost: an argument requires one.
    """
    checks.floating("prior", prior, dims=1)
    checks.constant("prior", prior)
    if not adapted:
        raise InputError("adapted: got an empty list, expected at least one tensor")
    for c, x in enumerate(adapted):
        checks.like(f"adapted[{c}]", x, "prior", prior)
        checks.constant(f"adapted[{c}]", x)
    after: Tensor = _op(prior, list(adapted), step_size)
    return after
