"""Stems: what lies between the image and the shared cell stack.

Every stem ends in the same number of channels, so one cell stack and one weight prior serve all resolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.reference.primitives import batch_norm
from base_fast.space.primitives import Shape

STEMS: dict[str, tuple[int, ...]] = {"32": (1,), "64": (2,), "224": (2, 2, 2)}
"""Strides of each stem's 3×3 convolutions."""

LARGEST = {"32": 48, "64": 128}
"""The largest image side for which a stem is chosen; beyond, it is the next one."""


def stem_shapes(stem: str, in_channels: int, out_channels: int) -> dict[str, Shape]:
    """Per convolution its weight and an affine batch norm; the first of several has half the channels."""
    shapes: dict[str, Shape] = {}
    count = len(STEMS[stem])
    for i in range(count):
        width = max(out_channels // 2, 1) if count > 1 and i == 0 else out_channels
        shapes[f"stems.{stem}.{i}.conv.weight"] = (width, in_channels, 3, 3)
        shapes[f"stems.{stem}.{i}.bn.weight"] = (width,)
        shapes[f"stems.{stem}.{i}.bn.bias"] = (width,)
        in_channels = width
    return shapes


def apply_stem(stem: str, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Images (B, 3, H, W) → what the first cell reads; weights as `stem_shapes` lists them."""
    for i, stride in enumerate(STEMS[stem]):
        conv, scale, shift = weights[3 * i : 3 * i + 3]
        x = F.conv2d(F.relu(x) if i else x, conv, stride=stride, padding=1)
        x = batch_norm(x, scale, shift)
    return x


def choose_stem(stems: tuple[str, ...], resolution: int) -> str:
    """The stem for images of this side; a supernet with a single stem uses it for all."""
    if len(stems) == 1:
        return stems[0]
    wanted = next((stem for stem in STEMS if resolution <= LARGEST.get(stem, resolution)), "224")
    if wanted not in stems:
        raise InputError(
            f"resolution: got images of {resolution} pixels, which want stem {wanted!r}, "
            f"but the supernet has {', '.join(stems)}; add it to `stems`"
        )
    return wanted
