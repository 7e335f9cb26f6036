"""Digests of images and labels: whether two data sets are the same, wherever they lie and whatever they are called."""

from __future__ import annotations

import json
from hashlib import sha256

from torch import Tensor


def digest(*parts: object) -> str:
    """SHA-256, in hexadecimal, of tensors (their type, shape and numbers) and of anything that JSON holds."""
    hashed = sha256()
    for part in parts:
        if isinstance(part, Tensor):
            hashed.update(f"{part.dtype} {tuple(part.shape)}\n".encode())
            for row in part if part.ndim > 1 else [part]:  # by rows: no second copy where a part is not contiguous
                hashed.update(row.detach().cpu().contiguous().numpy().data)
        else:
            hashed.update(f"{json.dumps(part)}\n".encode())
    return hashed.hexdigest()
