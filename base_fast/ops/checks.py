"""Argument checks that several ops share; each message names the argument, the value given and the value expected."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from base_fast.errors import InputError

# What the kernels compute with. float16 is left out: its range is too small for KLs and gradients of sums.
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def describe(x: object) -> str:
    """What came, in words: dtype, shape and device of a tensor."""
    if isinstance(x, Tensor):
        return f"{str(x.dtype).removeprefix('torch.')} tensor of shape {tuple(x.shape)} on {x.device}"
    return f"{type(x).__name__} {x!r}"


def floating(name: str, x: Tensor, *, dims: int | None = None) -> None:
    """One of DTYPES, with so many dimensions."""
    if not isinstance(x, Tensor) or x.dtype not in DTYPES:
        raise InputError(f"{name}: got {describe(x)}, expected a floating-point tensor (float32, float64 or bfloat16)")
    if dims is not None and x.dim() != dims:
        raise InputError(f"{name}: got {describe(x)}, expected {dims} dimension(s)")


def image(name: str, x: Tensor) -> None:
    """Floating point (B, C, H, W) with C, H, W ≥ 1."""
    floating(name, x, dims=4)
    if 0 in x.shape[1:]:
        raise InputError(f"{name}: got {describe(x)}, expected shape (B, C, H, W) with C, H, W ≥ 1")


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
    """int64 (2,) on this device."""
    ok = isinstance(key, Tensor) and key.dtype == torch.int64 and tuple(key.shape) == (2,) and key.device == device
    if not ok:
        raise InputError(f"key: got {describe(key)}, expected an int64 tensor [seed, offset] on {device}")


def positive(name: str, value: float) -> None:
    """> 0, and no NaN."""
    if not value > 0.0:
        raise InputError(f"{name}: got {value!r}, expected a number > 0")


def not_negative(name: str, value: float) -> None:
    """≥ 0, and no NaN."""
    if not value >= 0.0:
        raise InputError(f"{name}: got {value!r}, expected a number ≥ 0")


def constant(name: str, x: Tensor) -> None:
    """For ops without a gradient: nothing that autograd would have to follow."""
    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(f"{name}: got a tensor that requires grad, expected a detached one: this op has no gradient")
    no_tangents(x)


def no_tangents(*tensors: Tensor) -> None:
    """Kernels are differentiated in reverse mode only; in forward mode PyTorch would take their derivative for zero."""
    if forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(x).tangent is not None for x in tensors):
        raise InputError(
            "got a tensor with a forward-mode tangent, expected none: this op has no forward-mode derivative"
        )
