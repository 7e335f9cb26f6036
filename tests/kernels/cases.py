"""Inputs that the tests of several kernels share, and how their outputs are compared."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from tests.tolerances import error

DEVICE = "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"
KEY = torch.tensor([-(2**40) - 3, 2**33 + 5], device=DEVICE)
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
# None, less than a Philox block, one and a bit, whole blocks, more than one program with a last one partly full.
SIZES = (0, 1, 5, 1024, 2051)


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu").to(DEVICE, dtype)


def vectors(count: int, size: int, dtype: torch.dtype) -> list[Tensor]:
    return [normal(size, dtype=dtype, seed=seed) for seed in range(count)]


def wide(x: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The same numbers in float64."""
    return [y.double() for y in ([x] if isinstance(x, Tensor) else x)]


def assert_all_close(
    actual: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float, dtype: torch.dtype | None = None
) -> None:
    """Each within the tolerance, and of the dtype if one is given."""
    assert len(actual) == len(expected)
    errors = [error(a, e) for a, e in zip(actual, expected, strict=True)]
    assert max(errors) <= tolerance, f"errors {errors}, tolerance {tolerance:.3g}"
    assert dtype is None or {a.dtype for a in actual} == {dtype}
