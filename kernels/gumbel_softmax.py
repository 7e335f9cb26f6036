"""z = softmax((φ + s·ξ)/τ) over rows of L, ξ ~ Gumbel(0, 1): reads φ, writes z.

A row stays in registers. Its columns are laid out from the Philox block that its first element lies in, so that blocks
are whole whatever L is; up to three columns at either end belong to the neighbouring rows and are left out.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _math, _philox
from ._launch import BLOCK, OPTIONS


@triton.jit
def _columns(row, L: tl.constexpr, BLOCKS: tl.constexpr):
    """Philox blocks (ROWS, BLOCKS), element numbers (ROWS, 4·BLOCKS), and which of those belong to the row."""
    start = row * L
    first = start // 4
    blocks = first[:, None] + tl.arange(0, BLOCKS)[None, :]
    column = tl.arange(0, 4 * BLOCKS)
    if L % 4 == 0:
        index = start[:, None] + column[None, :]
        inside = (column < L)[None, :]
    else:
        index = (first * 4)[:, None] + column[None, :]
        inside = (index >= start[:, None]) & (index < (start + L)[:, None])
    return blocks, index, inside


@triton.jit
def _sample(
    logits,
    key,
    z,
    rows,
    tau: tl.float64,
    noise: tl.float64,
    L: tl.constexpr,
    HARD: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    blocks, index, inside = _columns(row, L, BLOCKS)
    there = inside & (row < rows)[:, None]
    phi = _math.wide(tl.load(logits + index, mask=there, other=0.0))
    xi = _philox.gumbel(key, blocks).to(phi.dtype)
    tau = _math.scalar(tau, phi.dtype)
    noise = _math.scalar(noise, phi.dtype)
    x = tl.where(inside, (phi + noise * xi) / tau, float("-inf"))
    terms = tl.exp(x - tl.max(x, 1, keep_dims=True))
    y = terms / tl.sum(terms, 1, keep_dims=True)
    if HARD:
        # The first of the largest of what z would be once rounded; y − y lets a row that is not a number show.
        rounded = y.to(z.dtype.element_ty).to(y.dtype)
        column = tl.arange(0, 4 * BLOCKS)[None, :]
        first = tl.min(tl.where(rounded == tl.max(rounded, 1, keep_dims=True), column, 4 * BLOCKS), 1, keep_dims=True)
        y = tl.where(column == first, 1.0, 0.0) + (y - y)
    tl.store(z + index, y, mask=there)


@triton.jit
def _gradient(
    grad_z,
    z,
    grad,
    rows,
    tau: tl.float64,
    L: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    index = row[:, None] * L + column[None, :]
    there = (column < L)[None, :] & (row < rows)[:, None]
    y = _math.wide(tl.load(z + index, mask=there, other=0.0))
    g = _math.wide(tl.load(grad_z + index, mask=there, other=0.0))
    tau = _math.scalar(tau, y.dtype)
    out = (g - tl.sum(g * y, 1, keep_dims=True)) * y
    tl.store(grad + index, out / tau, mask=there)


def _rows(columns: int) -> int:
    """Rows of so many columns that one program takes."""
    return max(1, BLOCK // columns)


def gumbel_softmax(logits: Tensor, key: Tensor, tau: float, hard: bool, noise: float) -> Tensor:
    logits = logits.contiguous()
    L = logits.shape[-1]
    z = torch.empty_like(logits)
    rows = logits.numel() // L
    # A row may begin anywhere in its first block, except where every row begins at a block.
    blocks = triton.next_power_of_2(triton.cdiv(L + (0 if L % 4 == 0 else 2 if L % 2 == 0 else 3), 4))
    tile = _rows(4 * blocks)
    with torch.cuda.device_of(logits):
        _sample[(triton.cdiv(rows, tile),)](
            logits, key.contiguous(), z, rows, tau, noise,
            L=L, HARD=hard, ROWS=tile, BLOCKS=blocks, **OPTIONS,
        )  # fmt: skip
    return z


def gumbel_softmax_backward(grad: Tensor, z: Tensor, tau: float) -> Tensor:
    grad, z = grad.contiguous(), z.contiguous()
    L = z.shape[-1]
    d_logits = torch.empty_like(z)
    rows = z.numel() // L
    columns = triton.next_power_of_2(L)
    tile = _rows(columns)
    with torch.cuda.device_of(z):
        _gradient[(triton.cdiv(rows, tile),)](
            grad, z, d_logits, rows, tau, L=L, ROWS=tile, COLUMNS=columns, **OPTIONS
        )  # fmt: skip
    return d_logits
