"""What `torch.autocast` asks of the ops: bfloat16 is computed with, float16 is computed in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from base_fast.errors import InputError

Precision = Literal["float32", "bfloat16"]
"""Of activations: that of the weights, or float32 rounded to bfloat16; weights, statistics and sums stay float32."""
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def asked(device: str) -> torch.dtype | None:
    """The dtype of `torch.autocast` on a type of device; None where it is off, or unknown, as on "meta"."""
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def off(device: str) -> AbstractContextManager[object]:
    """Inside, PyTorch's own operations compute in the dtypes that they are given."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def activations(precision: Precision, device: str) -> AbstractContextManager[object]:
    """Inside, networks compute with activations of this precision; float32 leaves it to the caller."""
    if precision == "float32" or not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, torch.bfloat16)


def check_precision(precision: str) -> None:
    """Raise InputError unless there is such a precision."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")


def widened(x: Tensor) -> Tensor:
    """float32 for what an autocast made float16: no kernel knows it, and its range is too small for sums of gradients.

    Without autocast a float16 tensor comes back as it is, for the checks to refuse.
    """
    if isinstance(x, Tensor) and x.dtype == torch.float16 and asked(x.device.type) is not None:
        return x.float()
    return x
