"""Where tensors live, from a name in a configuration."""

from __future__ import annotations

import torch

from base_fast.errors import InputError


def resolve(name: str) -> torch.device:
    """The device called `name`: "auto" is the GPU if PyTorch has one, else the CPU.

    Raises:
        InputError: there is no such device here.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")  # the current one: each of several processes has its own
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device: got {name!r}, expected auto, cpu, cuda or cuda:<number>") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device: got {name!r}, expected auto, cpu, cuda or cuda:<number>")
    count = torch.cuda.device_count() if available else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"device: got {name!r}, but PyTorch finds {count} GPUs here; use cpu or auto")
    return device
