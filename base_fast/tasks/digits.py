"""scikit-learn's handwritten digits: 1797 grey 8×8 images, part of the package."""

from __future__ import annotations

import torch

from base_fast.tasks.optional import require
from base_fast.tasks.source import ArraySource


def open_digits() -> ArraySource:
    """Open the digits 0 to 9; native resolution 8, resized otherwise.

    Raises:
        InputError: scikit-learn is not installed.
    """
    data = require("sklearn.datasets", "scikit-learn", "the source digits").load_digits()
    grey = (
        (torch.as_tensor(data.images, device="cpu") * (255 / 16)).round().to(torch.uint8)
    )  # the package counts ink from 0 to 16
    return ArraySource("digits", grey, torch.as_tensor(data.target, device="cpu"))
