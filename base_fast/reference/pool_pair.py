"""The maximum and the average of every 3 × 3 window, padding 1; padded pixels are neither looked at nor counted.

NaN is larger than everything. The maximum's gradient goes to the first pixel that attains it, of several NaNs to the
last, as PyTorch has it; the average's is shared by the window's pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pool_pair(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Two of (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    maximum = F.max_pool2d(x, 3, stride, padding=1)
    average = F.avg_pool2d(x.to(wide), 3, stride, padding=1, count_include_pad=False)
    return maximum, average.to(x.dtype)


def pool_pair_backward(d_max: Tensor, d_average: Tensor, x: Tensor, stride: int) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    _, highest = F.max_pool2d(x.detach(), 3, stride, padding=1, return_indices=True)
    gathered = torch.zeros_like(x, dtype=wide, memory_format=torch.contiguous_format).flatten(2)
    d_x = gathered.scatter_add(2, highest.flatten(2), d_max.to(wide).flatten(2)).view(x.shape)
    d_x = d_x + torch.ops.aten.avg_pool2d_backward(
        d_average.to(wide), x.detach().to(wide), [3, 3], [stride, stride], [1, 1], False, False, None
    )
    return d_x.to(x.dtype)
