"""Sums of what programs contributed, in one fixed order, for all of an op's gradients in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._launch import OPTIONS

# Contributions that are added at a time, and of how many elements.
ROWS, WIDTH = 32, 32


@triton.jit
def _add_up(partials, outs, sizes, rows, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    for k in tl.static_range(len(outs)):
        if tl.program_id(1) == k:
            column = tl.program_id(0).to(tl.int64) * WIDTH + tl.arange(0, WIDTH)
            total = tl.zeros((WIDTH,), tl.float64)
            for start in range(0, rows[k], ROWS):
                row = start + tl.arange(0, ROWS)
                mask = (row < rows[k])[:, None] & (column < sizes[k])[None, :]
                to = row.to(tl.int64)[:, None] * sizes[k] + column[None, :]
                total += tl.sum(tl.load(partials[k] + to, mask=mask, other=0.0).to(tl.float64), 0)
            store(outs[k] + column, total, column < sizes[k])


@triton.jit
def store(to, value, mask):
    # By way of the dtype of arithmetic: not every backend rounds float64 to bfloat16.
    if to.dtype.element_ty == tl.float64:
        tl.store(to, value, mask=mask)
    else:
        tl.store(to, value.to(tl.float32), mask=mask)


def add_up(partials: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    """outs[k] = Σ_n partials[k][n], with float64 sums; partials[k] is contiguous and (N_k, *outs[k].shape)."""
    sizes = tuple(out.numel() for out in outs)
    grid = (triton.cdiv(max(sizes), WIDTH), len(outs))
    rows = tuple(p.shape[0] for p in partials)
    _add_up[grid](tuple(partials), tuple(outs), sizes, rows, ROWS=ROWS, WIDTH=WIDTH, **OPTIONS)


def contributions(rows: int, weight: Tensor) -> Tensor:
    """Room for `rows` contributions to the gradient of `weight`, at the width of arithmetic."""
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    return torch.empty((rows, *weight.shape), dtype=dtype, device=weight.device)
