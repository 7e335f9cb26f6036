"""A clipped gradient step on several vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks
from base_fast.ops.registry import define_kernel
from base_fast.reference.sgd_step import sgd_step as reference

_op = define_kernel(
    "sgd_step(Tensor[] variables, Tensor[] gradients, float[] lrs, float clip) -> Tensor[]",
    reference,
    lambda variables, gradients, lrs, clip: [
        *(torch.empty_like(x) for x in variables),
        variables[0].new_empty((), dtype=torch.float64),
    ],
    column="sgd_step",
)


def sgd_step(
    variables: Sequence[Tensor], gradients: Sequence[Tensor], lrs: Sequence[float], clip: float = 0.0
) -> tuple[list[Tensor], Tensor]:
    """x_i − lrs[i]·s·g_i, where s = min(1, clip/‖g‖) bounds the norm of all gradients together (Pascanu et al. 2013).

    Args:
        variables: N ≥ 1 tensors of any lengths (P_i,): float32, float64 or bfloat16, the same for all.
        gradients: g_i (P_i,), same dtype and device.
        lrs: N step sizes.
        clip: the largest norm, ≥ 0; 0 turns clipping off.

    Returns:
        The new variables, and ‖g‖ before clipping: a float64 scalar, NaN or infinite if a gradient is, for the caller
        to report. Nothing has a gradient.

    Raises:
        InputError: for mismatched arguments, or where a gradient would be lost: an argument requires one.
    """
    count = len(variables)
    if not count or len(gradients) != count or len(lrs) != count:
        raise InputError(
            f"variables, gradients, lrs: got {count}, {len(gradients)} and {len(lrs)}, expected as many of each, ≥ 1"
        )
    checks.not_negative("clip", clip)
    first = variables[0]
    for i, (x, g) in enumerate(zip(variables, gradients, strict=True)):
        checks.floating(f"variables[{i}]", x, dims=1)
        if (x.dtype, x.device) != (first.dtype, first.device):
            got = checks.describe(x)
            raise InputError(f"variables[{i}]: got {got}, expected {first.dtype} on {first.device}, as variables[0]")
        checks.like(f"gradients[{i}]", g, f"variables[{i}]", x)
        checks.constant(f"variables[{i}]", x)
        checks.constant(f"gradients[{i}]", g)
    *after, norm = _op(list(variables), list(gradients), list(lrs), clip)
    return after, norm
