"""Image files and bytes to square RGB arrays."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import warn

import numpy as np
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.optional import require

if TYPE_CHECKING:
    from PIL.Image import Image

# What Pillow raises on files that are not images, are cut off or are damaged inside.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError)


def square_rgb(image: Image, resolution: int) -> Tensor:
    """Resize the shorter side of a Pillow image to `resolution` and crop the centre: uint8 (3, R, R).

    Grey, palette, RGBA and CMYK images become RGB; alpha is dropped. 16-bit grey keeps its upper 8 bits.
    """
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        image = require("PIL.Image", "pillow", "reading images").fromarray(grey)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != "RGB":
        image = image.convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    if image.size != (resolution, resolution):
        bilinear = require("PIL.Image", "pillow", "reading images").Resampling.BILINEAR
        image = image.resize((resolution, resolution), bilinear, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def decode(file: Path | bytes, resolution: int) -> Tensor:
    """Decode an image file or its bytes: uint8 (3, R, R). Raises one of BROKEN_IMAGE when it is damaged."""
    pillow = require("PIL.Image", "pillow", "reading images")
    try:
        with pillow.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; twice the wanted one leaves the rest to the better
            # filter, as Pillow's thumbnails do. Other formats ignore this.
            image.draft("RGB", (2 * resolution, 2 * resolution))
            return square_rgb(image, resolution)
    except pillow.DecompressionBombError as error:
        raise ValueError(str(error)) from error


def report_corrupt(name: str, corrupt: Sequence[str], total: int, max_corrupt: float) -> None:
    """Warn about the corrupt images that are left out, or refuse the source.

    Args:
        name: the source's name.
        corrupt: the corrupt files, every one of which is named.
        total: number of images, the corrupt ones included.
        max_corrupt: largest share of corrupt images that is put up with.

    Raises:
        InputError: more than `max_corrupt` of the images are corrupt.
    """
    if not corrupt:
        return
    found = f"{name}: {len(corrupt)} of {total} images are corrupt: {', '.join(corrupt)}"
    if len(corrupt) > max_corrupt * total:
        raise InputError(f"{found}; more than max_corrupt = {max_corrupt:g} allows: repair or delete them, or raise it")
    warn(f"{found}; left out", stacklevel=3)
