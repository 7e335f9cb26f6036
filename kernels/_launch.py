"""What all launches share."""

from __future__ import annotations

from typing import Any

import triton
from torch import Tensor

# Elements of a vector that one program takes: eight per thread, two 128-bit accesses of float32.
BLOCK = 1024

# Fusing a·b + c rounds once instead of twice, and Triton's own default is not to be relied on.
OPTIONS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": True}

# Three programs of 128 threads fit in a multiprocessor. Without a bound the assembler aims at more of them, and spills
# for it.
BOUNDED: dict[str, Any] = {**OPTIONS, "maxnreg": 168}


def blocks(x: Tensor) -> tuple[int]:
    """The grid over a vector."""
    return (triton.cdiv(x.numel(), BLOCK),)


def broadcastable(x: Tensor) -> tuple[Tensor, int]:
    """A vector that a kernel can read, and its stride: 0 for one repeated number, else 1."""
    return (x, 0) if x.numel() > 1 and x.stride(0) == 0 else (x.contiguous(), 1)
