"""Square uint8 images of one resolution out of tensors of any size."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.arguments import integer

SMALLEST, LARGEST = 4, 1024


def check_resolution(resolution: int) -> int:
    """Return `resolution` (pixels per side), or raise InputError when no source can give it."""
    return integer("resolution", resolution, SMALLEST, LARGEST)


def square(images: Tensor, resolution: int) -> Tensor:
    """Resize the shorter side to `resolution` and crop the centre.

    Args:
        images: uint8 (B, 3, H, W).
        resolution: R, pixels per side.

    Returns:
        uint8 (B, 3, R, R); anti-aliased bilinear, the input itself when it has that size.
    """
    check_resolution(resolution)
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[..., top : top + side, left : left + side]
    if side == resolution or len(images) == 0:
        return images if side == resolution else images.new_empty((0, 3, resolution, resolution))
    return torch.nn.functional.interpolate(
        images.contiguous(), size=(resolution, resolution), mode="bilinear", antialias=True, align_corners=False
    )
