"""Image files and bytes to square RGB arrays."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import warn

import numpy as np
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.optional import require
from base_fast.tasks.rgb import upright_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

# Formats that Pillow opens, but that hold films, drawings or any data.
NO_PICTURES = {"MPEG", "FLI", "EPS", "WMF", "HDF5", "GRIB", "BUFR", "IPTC"}
NAMED = 20


class BrokenImage(ValueError):
    """An image cannot be decoded; the message is the reason."""


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of the image files that Pillow reads here, in lower case and with their dot."""
    pillow = require("PIL.Image", "pillow", "reading images")
    known = pillow.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in pillow.OPEN and kind not in NO_PICTURES)


def square_rgb(image: Image, resolution: int) -> Tensor:
    """Resize the shorter side of a Pillow image to `resolution` and crop the centre: uint8 (3, R, R).

    Modes and orientations are made alike by `upright_rgb`, whose errors it raises.
    """
    image = upright_rgb(image)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    if image.size != (resolution, resolution):
        bilinear = require("PIL.Image", "pillow", "reading images").Resampling.BILINEAR
        image = image.resize((resolution, resolution), bilinear, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def decode(file: Path | bytes, resolution: int) -> Tensor:
    """Decode an image file or its bytes: uint8 (3, R, R). Raises BrokenImage when it is damaged."""
    pillow = require("PIL.Image", "pillow", "reading images")
    try:
        with pillow.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; twice the wanted one leaves the rest to the better
            # filter, as Pillow's thumbnails do. Other formats ignore this.
            image.draft("RGB", (2 * resolution, 2 * resolution))
            return square_rgb(image, resolution)
    except Exception as error:
        raise BrokenImage(damage(error)) from error


def damage(error: Exception) -> str:
    """What an error of Pillow says of a file, in one line.

    Its decoders raise errors of many types on damaged files, and what opens none of them names an address in memory.
    """
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def report_corrupt(name: str, corrupt: Mapping[str, str], total: int, max_corrupt: float) -> None:
    """Warn about the corrupt images that are left out, or refuse the source.

    Args:
        name: the source's name.
        corrupt: the corrupt files and what is wrong with each; the first 20 are named.
        total: number of images, the corrupt ones included.
        max_corrupt: largest share of corrupt images that is put up with.

    Raises:
        InputError: more than `max_corrupt` of the images are corrupt.
    """
    if not corrupt:
        return
    more = f" and {len(corrupt) - NAMED} more" if len(corrupt) > NAMED else ""
    found = f"{name}: {len(corrupt)} of {total} images are corrupt: {', '.join(list(corrupt)[:NAMED])}{more}"
    first = f"(the first: {next(iter(corrupt.values()))})"
    if len(corrupt) > max_corrupt * total:
        raise InputError(
            f"{found}; more than max_corrupt = {max_corrupt:g} allows: repair or delete them, or raise it {first}"
        )
    warn(f"{found}; left out {first}", stacklevel=3)
