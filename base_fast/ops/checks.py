"""Argument checks that several ops share; each message names the argument, what came and what was expected."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.errors import InputError


def describe(x: object) -> str:
    if isinstance(x, Tensor):
        return f"{str(x.dtype).removeprefix('torch.')} tensor of shape {tuple(x.shape)} on {x.device}"
    return f"{type(x).__name__} {x!r}"


def floating(name: str, x: Tensor, *, dims: int | None = None) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InputError(f"{name}: got {describe(x)}, expected a floating-point tensor")
    if dims is not None and x.dim() != dims:
        raise InputError(f"{name}: got {describe(x)}, expected {dims} dimension(s)")


def rows(name: str, x: Tensor) -> None:
    """Floating point (..., L) with L ≥ 1."""
    floating(name, x)
    if x.dim() == 0 or x.shape[-1] == 0:
        raise InputError(f"{name}: got {describe(x)}, expected shape (..., L) with L ≥ 1")


def like(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Same shape, dtype and device as another argument."""
    if not isinstance(x, Tensor) or (x.shape, x.dtype, x.device) != (other.shape, other.dtype, other.device):
        raise InputError(f"{name}: got {describe(x)}, expected the same as {other_name}: {describe(other)}")


def key_on(key: Tensor, device: torch.device) -> None:
    ok = isinstance(key, Tensor) and key.dtype == torch.int64 and tuple(key.shape) == (2,) and key.device == device
    if not ok:
        raise InputError(f"key: got {describe(key)}, expected an int64 tensor [seed, offset] on {device}")


def positive(name: str, value: float) -> None:
    if not value > 0.0:
        raise InputError(f"{name}: got {value!r}, expected a number > 0")
