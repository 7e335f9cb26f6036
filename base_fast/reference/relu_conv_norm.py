"""ReLU → 1×1 convolution → batch norm with batch statistics and no affine parameters: what precedes a cell's edges.

At stride 2 it is the factorized reduction: the first ⌊C_out/2⌋ filters convolve the even pixels, the others the pixels
shifted by (1, 1), zeros beyond the edge of odd sizes. rstd = 1/√(variance + 1e-5), the variance biased; computed in
float32 or wider.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.reference.primitives import batch_norm, factorized_convolution

_PER_CHANNEL = (0, 2, 3)


def relu_conv_norm(x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """y (B, C_out, ⌈H/stride⌉, ⌈W/stride⌉), rstd (C_out,)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    filters = weight.to(wide)[:, :, None, None]
    if stride == 1:
        v = F.conv2d(F.relu(x.to(wide)), filters)
    else:
        v = factorized_convolution(x.to(wide), [filters[rows] for _, rows in _halves(weight, stride)])
    mean = v.mean(dim=_PER_CHANNEL, keepdim=True)
    rstd = torch.rsqrt((v - mean).square().mean(dim=_PER_CHANNEL) + 1e-5)
    return batch_norm(v).to(x.dtype), rstd


def relu_conv_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, y: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients for x and the weight."""
    g, y, w = grad.to(rstd.dtype), y.to(rstd.dtype), weight.to(rstd.dtype)
    along = (g * y).mean(dim=_PER_CHANNEL, keepdim=True)
    dv = (g - g.mean(dim=_PER_CHANNEL, keepdim=True) - y * along) * rstd.view(1, -1, 1, 1)
    d_x = torch.zeros_like(x, dtype=rstd.dtype)
    d_filters = []
    for shift, rows in _halves(weight, stride):
        pixels = (slice(None), slice(None), slice(shift, None, stride), slice(shift, None, stride))
        rectified = F.relu(x[pixels].to(rstd.dtype))
        part = dv[:, rows, : rectified.shape[2], : rectified.shape[3]]
        d_filters.append(torch.einsum("bohw,bchw->oc", part, rectified))
        d = torch.einsum("bohw,oc->bchw", part, w[rows])
        # Where x is not a number the gradient passes, as in PyTorch's ReLU.
        d_x[pixels] = torch.where(rectified <= 0.0, 0.0, d)
    return d_x.to(x.dtype), torch.cat(d_filters).to(weight.dtype)


def _halves(weight: Tensor, stride: int) -> list[tuple[int, slice]]:
    """Which pixels, by their shift, which filters convolve."""
    half = len(weight) // 2
    return [(0, slice(None))] if stride == 1 else [(0, slice(half)), (1, slice(half, None))]
