"""One edge of a supernet: all primitives, or the sampled one, weighted by z."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks
from base_fast.ops.registry import define
from base_fast.reference.mixed_op import mixed_op as reference
from base_fast.reference.primitives import SUPPORTED, weight_shapes

_op = define(
    "mixed_op(Tensor x, Tensor z, Tensor[] weights, str[] primitives, int stride, int? chosen) -> Tensor", reference
)


def mixed_op(
    x: Tensor,
    z: Tensor,
    weights: Sequence[Tensor],
    primitives: Sequence[str],
    stride: int = 1,
    chosen: int | None = None,
) -> Tensor:
    """Σ_l z_l·φ_l(x) over an edge's primitives (Liu et al. 2019, Eq. 2).

    Every primitive ends in a batch norm with batch statistics, no affine parameters and no running averages; the
    identity and `none` have none.

    Args:
        x: (B, C, H, W), floating point.
        z: (L,), one weight per primitive.
        weights: the primitives' weights in order, as `reference.primitives.weight_shapes` lists them.
        primitives: L names, any subset and order of the DARTS and NAS-Bench-201 primitives.
        stride: 1 or 2.
        chosen: execute this primitive alone (a hard sample). The gradient then reaches z through it only, as in GDAS
            (Dong & Yang 2019); the others get zero.

    Returns:
        (B, C, ⌈H/stride⌉, ⌈W/stride⌉).

    Raises:
        InputError: for mismatched arguments, or where batch statistics do not exist (B·H·W = 1 after the stride).
    """
    checks.floating("x", x, dims=4)
    checks.floating("z", z)
    if z.shape != (len(primitives),):
        raise InputError(f"z: got {checks.describe(z)}, expected shape ({len(primitives)},), one weight per primitive")
    for name, tensor in (("z", z), *((f"weights[{i}]", w) for i, w in enumerate(weights))):
        if (tensor.dtype, tensor.device) != (x.dtype, x.device):
            raise InputError(f"{name}: got {checks.describe(tensor)}, expected {x.dtype} on {x.device}, as x")
    if stride not in (1, 2):
        raise InputError(f"stride: got {stride}, expected 1 or 2")
    if chosen is not None and not 0 <= chosen < len(primitives):
        raise InputError(f"chosen: got {chosen}, expected an index below {len(primitives)} or None")
    expected = []
    for primitive in primitives:
        if primitive not in SUPPORTED:
            raise InputError(f"primitives: got {primitive!r}, expected one of {', '.join(SUPPORTED)}")
        expected += list(weight_shapes(primitive, x.shape[1], stride).values())
    if [tuple(w.shape) for w in weights] != expected:
        got = [tuple(w.shape) for w in weights]
        raise InputError(f"weights: got shapes {got}, expected {expected}")
    if x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride) == 1:
        raise InputError(f"x: got shape {tuple(x.shape)}, expected more than one value per channel for batch norm")
    y: Tensor = _op(x, z, list(weights), list(primitives), stride, chosen)
    return y
