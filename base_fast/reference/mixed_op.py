"""One edge of a supernet: Σ_l z_l·φ_l(x; θ_l), `none` contributing nothing (Liu et al. 2019, Eq. 2)."""

from __future__ import annotations

from torch import Tensor

from base_fast.reference.mixed_sum import mixed_sum
from base_fast.reference.primitives import apply, weight_shapes


def mixed_op(
    x: Tensor, z: Tensor, weights: list[Tensor], primitives: list[str], stride: int, chosen: int | None
) -> Tensor:
    """x (B, C, H, W), z (L,) and the primitives' weights in order → (B, C, ⌈H/stride⌉, ⌈W/stride⌉).

    chosen: the primitive that is executed alone; None for all.
    """
    channels = x.shape[1]
    taken = 0
    branches, indices = [], []
    for l, primitive in enumerate(primitives):
        count = len(weight_shapes(primitive, channels, stride))
        own, taken = weights[taken : taken + count], taken + count
        if primitive != "none" and (chosen is None or l == chosen):
            branches.append(apply(primitive, x, own, stride))
            indices.append(l)
    if not branches:
        # Zeros that still depend on x and z, so that a fully `none` edge has gradients (of zero) like any other.
        return x[:, :, ::stride, ::stride] * 0.0 + z.sum() * 0.0
    return mixed_sum(branches, z, indices)
