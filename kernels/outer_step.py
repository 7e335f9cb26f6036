"""W + λ·(mean_c W_c − W): reads the prior and every adapted vector once, writes the new prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from base_fast.kernels import _math
from base_fast.kernels._launch import BLOCK, OPTIONS, blocks


@triton.jit
def _step_tile(prior, adapted, out, step_size, i, inside):
    w = _math.wide(tl.load(prior + i, mask=inside))
    total = _math.wide(tl.load(adapted[0] + i, mask=inside))
    for c in tl.static_range(1, len(adapted)):
        total += _math.wide(tl.load(adapted[c] + i, mask=inside))
    mean = total / len(adapted)
    tl.store(out + i, w + _math.scalar(step_size, w.dtype) * (mean - w), mask=inside)


@triton.jit
def _step(prior, adapted, out, size, step_size: tl.float64, BLOCK: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    i = program * BLOCK + tl.arange(0, BLOCK)
    if (program + 1) * BLOCK <= size:
        _step_tile(prior, adapted, out, step_size, i, None)
    else:
        _step_tile(prior, adapted, out, step_size, i, i < size)


def outer_step(prior: Tensor, adapted: Sequence[Tensor], step_size: float) -> Tensor:
    prior = prior.contiguous()
    out = torch.empty_like(prior)
    with torch.cuda.device_of(prior):
        _step[blocks(prior)](
            prior, tuple(x.contiguous() for x in adapted), out, prior.numel(), step_size, BLOCK=BLOCK, **OPTIONS
        )
    return out
