"""x_i − η_i·s·g_i, s = min(1, clip/norm): reads every gradient for the norm, then x_i and g_i, writes the new x_i.

All vectors share one launch of either kernel; a program looks up whose block it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _math
from ._launch import BLOCK, OPTIONS


@triton.jit
def _square_sum(gradient, i, inside):
    g = _math.wide(tl.load(gradient + i, mask=inside)).to(tl.float64)
    if inside is None:
        return tl.sum(g * g, 0)
    else:
        return tl.sum(tl.where(inside, g * g, 0.0), 0)


@triton.jit
def _norm(gradients, partial, sizes, BLOCK: tl.constexpr):
    """Each block's Σ g² in float64."""
    program = tl.program_id(0).to(tl.int64)
    begin = program * 0
    for v in tl.static_range(len(gradients)):
        end = begin + tl.cdiv(sizes[v], BLOCK)
        if (program >= begin) & (program < end):
            i = (program - begin) * BLOCK + tl.arange(0, BLOCK)
            if (program - begin + 1) * BLOCK <= sizes[v]:
                total = _square_sum(gradients[v], i, None)
            else:
                total = _square_sum(gradients[v], i, i < sizes[v])
            tl.store(partial + program, total)
        begin = end


@triton.jit
def _update_tile(variable, gradient, out, factor, i, inside):
    x = _math.wide(tl.load(variable + i, mask=inside))
    g = _math.wide(tl.load(gradient + i, mask=inside))
    tl.store(out + i, x - factor.to(x.dtype) * g, mask=inside)


@triton.jit
def _update(variables, gradients, out, norm, sizes, lrs, rests, clip: tl.float64, BLOCK: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    length = tl.load(norm)
    limit = _math.scalar(clip, tl.float64)
    # A norm that is not a number fails both comparisons and so reaches every x.
    scale = tl.where((limit == 0.0) | (length <= limit), 1.0, limit / tl.where(length == 0.0, 1.0, length))
    begin = program * 0
    for v in tl.static_range(len(variables)):
        end = begin + tl.cdiv(sizes[v], BLOCK)
        if (program >= begin) & (program < end):
            lr = _math.scalar(lrs[v], tl.float64) + _math.scalar(rests[v], tl.float64)
            i = (program - begin) * BLOCK + tl.arange(0, BLOCK)
            if (program - begin + 1) * BLOCK <= sizes[v]:
                _update_tile(variables[v], gradients[v], out[v], lr * scale, i, None)
            else:
                _update_tile(variables[v], gradients[v], out[v], lr * scale, i, i < sizes[v])
        begin = end


def sgd_step(
    variables: Sequence[Tensor], gradients: Sequence[Tensor], lrs: Sequence[float], clip: float
) -> list[Tensor]:
    xs, gs = tuple(x.contiguous() for x in variables), tuple(g.contiguous() for g in gradients)
    out = tuple(torch.empty_like(x) for x in xs)
    sizes = tuple(x.numel() for x in xs)
    grid = (sum(triton.cdiv(size, BLOCK) for size in sizes),)
    partial = torch.empty(grid, dtype=torch.float64, device=xs[0].device)
    # Numbers in a tuple arrive as float32: η as the nearest one and what that leaves.
    highs = tuple(float(np.float32(lr)) for lr in lrs)
    rests = tuple(lr - high for lr, high in zip(lrs, highs, strict=True))
    with torch.cuda.device_of(xs[0]):
        _norm[grid](gs, partial, sizes, BLOCK=BLOCK, **OPTIONS)
        norm = partial.sum().sqrt()
        _update[grid](xs, gs, out, norm, sizes, highs, rests, clip, BLOCK=BLOCK, **OPTIONS)
    return [*out, norm]
