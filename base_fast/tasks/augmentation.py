"""Crop, flip and cutout, drawn per image from a generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, drawn for each image on its own."""

    crop_padding: int = 4
    """Pad by this many black pixels on every side and crop back at a random place; 0 does not crop."""
    flip: bool = True
    """Mirror half of the images left to right."""
    cutout: int = 0
    """Set a square of this many pixels a side at a random place to the mean colour; 0 does not."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for field in ("crop_padding", "cutout"):
            if getattr(self, field) < 0:
                raise InputError(f"{field}: {getattr(self, field)}, expected 0 or more pixels")


def random_crop_flip(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop and flip at random: any dtype (B, 3, R, R) → same shape and dtype."""
    batch, padding = len(images), augmentation.crop_padding
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator, device="cpu")
    flipped = (
        torch.rand(batch, generator=generator, device="cpu") < 0.5
        if augmentation.flip
        else torch.zeros(batch, dtype=torch.bool, device="cpu")
    )
    return crop_flip(images, top, left, flipped, padding)


def crop_flip(images: Tensor, top: Tensor, left: Tensor, flipped: Tensor, padding: int) -> Tensor:
    """Pad with zeros, crop each image at its (top, left), then mirror the flagged ones, in a single gather.

    Args:
        images: any dtype (B, 3, R, R).
        top: int64 (B,) in [0, 2·padding].
        left: int64 (B,) in [0, 2·padding].
        flipped: bool (B,).
        padding: pixels on every side.

    Returns:
        Like `images`.
    """
    batch, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    column = torch.arange(width, device="cpu").expand(batch, width)
    column = torch.where(flipped[:, None], width - 1 - column, column) + left[:, None]
    row = torch.arange(height, device="cpu") + top[:, None]
    place = (row * (width + 2 * padding)).unsqueeze(2) + column.unsqueeze(1)
    flat = place.view(batch, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, flat).view_as(images)


def random_cutout(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Zero a square around a random pixel of each image; the part outside the image is lost.

    Args:
        x: normalized images, float32 (B, 3, R, R), in which 0 is the mean colour.
    """
    if augmentation.cutout == 0:
        return x
    batch, _, height, width = x.shape
    size = augmentation.cutout
    top = torch.randint(height, (batch, 1), generator=generator, device="cpu") - size // 2
    left = torch.randint(width, (batch, 1), generator=generator, device="cpu") - size // 2
    row, column = torch.arange(height, device="cpu") - top, torch.arange(width, device="cpu") - left
    rows, columns = (row >= 0) & (row < size), (column >= 0) & (column < size)
    return x.masked_fill((rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1), 0.0)
