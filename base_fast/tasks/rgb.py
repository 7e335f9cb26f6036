"""Pillow images of any mode, upright and as 8-bit RGB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from base_fast.tasks.optional import require

if TYPE_CHECKING:
    from PIL.Image import Image

# TIFF's tags, of which Pillow minds the last two for 8-bit greys only.
ORIENTATION, PHOTOMETRIC, SAMPLE_FORMAT = 274, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2
WHITE = 65535
# Greys that all lie below are of 12 bits or fewer, of which the upper 8 of 16 would keep 16 levels or fewer.
DIMMEST_WHITE = 4096


def upright_rgb(image: Image) -> Image:
    """Turn an image as its EXIF orientation says, and convert it to mode RGB.

    Grey, palette, RGBA and CMYK images become RGB; alpha is dropped. Greys of 16 bits, and integers up to 65535, keep
    their upper 8 bits; floating point greys are 0 for black to 1 for white.

    Raises:
        ValueError: a mode that Pillow cannot convert, or greys outside those ranges: which white they mean would be a
            guess. Whatever Pillow raises on damaged files.
    """
    image.load()
    image = _upright(image)
    grey = _wide_grey(image)
    if grey is not None:
        image = require("PIL.Image", "pillow", "reading images").fromarray(grey)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def is_wide(mode: str) -> bool:
    """Whether images of a Pillow mode hold greys of more than 8 bits."""
    return mode.startswith("I") or mode == "F"


def _upright(image: Image) -> Image:
    try:
        turned = image.getexif().get(ORIENTATION, 1) != 1
    except Exception:  # damaged EXIF is no damage to the pixels, and Pillow raises all sorts of errors on it
        return image
    return require("PIL.ImageOps", "pillow", "reading images").exif_transpose(image) if turned else image


def _wide_grey(image: Image) -> Any:
    """The greys of an image that has more than 8 bits of them, or signed ones, as uint8 (H, W); None for others."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if image.mode == "L" and tags.get(SAMPLE_FORMAT) == (SIGNED,):
        values = np.asarray(image).view(np.int8)
        _check(values, 255)
        return values.astype(np.uint8)
    if not is_wide(image.mode):
        return None
    values = np.asarray(image)
    white = 1 if image.mode == "F" else WHITE
    _check(values, white)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = white - values
    if image.mode == "F":
        return (values * 255).round().astype(np.uint8)
    if 0 < values.max() < DIMMEST_WHITE:
        raise ValueError(f"greys up to {values.max()} of {WHITE} would be almost black; stretch them or save 8 bits")
    return (values.astype(np.uint16) >> 8).astype(np.uint8)


def _check(values: Any, white: int) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # also where one is NaN
        raise ValueError(f"greys from {low:g} to {high:g}, expected 0 for black to {white} for white")
