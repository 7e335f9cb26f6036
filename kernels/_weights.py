"""The gradient of a mixture's weights from what its branches' tiles or channels contribute, in one fixed order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._launch import OPTIONS

WIDTH = 1024


@triton.jit
def _collect(contributions, positions, out, count, WIDTH: tl.constexpr):
    """out[l] = Σ_{k: positions[k] = l} Σ_n contributions[k, n], in float64."""
    l = tl.program_id(0)
    total = tl.zeros((), tl.float64)
    for k in tl.static_range(len(positions)):
        if positions[k] == l:
            sums = tl.zeros((WIDTH,), tl.float64)
            for start in range(0, count, WIDTH):
                n = start + tl.arange(0, WIDTH)
                sums += tl.load(contributions + n, mask=n < count, other=0.0).to(tl.float64)
            total += tl.sum(sums, 0)
        contributions += count
    # By way of the dtype of arithmetic: not every backend rounds float64 to bfloat16.
    if out.dtype.element_ty == tl.float64:
        tl.store(out + l, total)
    else:
        tl.store(out + l, total.to(tl.float32))


def collect(contributions: Tensor, positions: Sequence[int], weights: Tensor) -> Tensor:
    """(K, N) contributions to the gradient (L,) of `weights`; 0 where no position points."""
    out = torch.empty_like(weights)
    count = contributions.shape[1]
    _collect[(out.numel(),)](contributions, tuple(positions), out, count, WIDTH=WIDTH, **OPTIONS)
    return out
