"""The weighted sum of an edge's branches."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks
from base_fast.ops.registry import define
from base_fast.reference.mixed_sum import mixed_sum as reference

_op = define("mixed_sum(Tensor[] branches, Tensor weights) -> Tensor", reference)


def mixed_sum(branches: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Σ_l weights[l]·branches[l].

    Args:
        branches: L ≥ 1 tensors of one shape, usually (B, C, H, W), floating point.
        weights: (L,), same dtype and device.

    Returns:
        A tensor of the branches' shape.

    Raises:
        InputError: for an empty list or mismatched arguments.
    """
    if not branches:
        raise InputError("branches: got an empty list, expected at least one tensor")
    checks.floating("branches[0]", branches[0])
    for l, branch in enumerate(branches[1:], start=1):
        checks.like(f"branches[{l}]", branch, "branches[0]", branches[0])
    checks.floating("weights", weights)
    first = branches[0]
    if (weights.shape, weights.dtype, weights.device) != ((len(branches),), first.dtype, first.device):
        raise InputError(
            f"weights: got {checks.describe(weights)}, expected shape ({len(branches)},), one per branch, "
            f"and the branches' dtype and device: {checks.describe(first)}"
        )
    total: Tensor = _op(list(branches), weights)
    return total
