"""A depthwise convolution, one k × k filter for each channel, with the ReLU before it if there is one:

y[b, c, i, j] = Σ_tu weight[c, 0, t, u]·φ(x)[b, c, s·i + d·t − p, s·j + d·u − p],  p = d·⌊k/2⌋

φ is max(·, 0) or nothing; outside the image are zeros. bfloat16 is computed in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def depthwise_conv(x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool) -> Tensor:
    """(B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
    settings = _settings(weight, stride, dilation)
    wide = torch.promote_types(x.dtype, torch.float32)
    return F.conv2d(_rectified(x.to(wide), relu), weight.to(wide), **settings).to(x.dtype)


def depthwise_conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool
) -> tuple[Tensor, Tensor]:
    """The gradients for x and for the weight. A ReLU is closed where x ≤ 0."""
    wide = torch.promote_types(x.dtype, torch.float32)
    g, v, w = grad.to(wide), _rectified(x.to(wide), relu), weight.to(wide)
    d_x = _input_gradient(g, v, w, stride, dilation)
    if relu:
        d_x = d_x.masked_fill(x <= 0, 0.0)
    return d_x.to(x.dtype), _weight_gradient(g, v, w, stride, dilation).to(weight.dtype)


def _input_gradient(g: Tensor, v: Tensor, w: Tensor, stride: int, dilation: int) -> Tensor:
    # With stride 2, an even size is one more than the last window's middle.
    rest = [n - stride * (m - 1) - 1 for n, m in zip(v.shape[2:], g.shape[2:], strict=True)]
    return F.conv_transpose2d(g, w, output_padding=rest, **_settings(w, stride, dilation))


def _weight_gradient(g: Tensor, v: Tensor, w: Tensor, stride: int, dilation: int) -> Tensor:
    """d[c, 0, t, u] = Σ_bij g[b, c, i, j]·v[b, c, s·i + d·t − p, s·j + d·u − p]: a depthwise convolution of every image
    with its gradient as the filter, in which stride and dilation change places."""
    if not len(v):
        return torch.zeros_like(w)
    k, planes = w.shape[-1], v.shape[0] * v.shape[1]
    images, filters = v.reshape(1, planes, *v.shape[2:]), g.reshape(planes, 1, *g.shape[2:])
    padding = dilation * (k // 2)
    every = F.conv2d(images, filters, stride=dilation, padding=padding, dilation=stride, groups=planes)
    return every[:, :, :k, :k].reshape(v.shape[0], *w.shape).sum(0)


def _settings(weight: Tensor, stride: int, dilation: int) -> dict[str, Any]:
    padding = dilation * (weight.shape[-1] // 2)
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": weight.shape[0]}


def _rectified(x: Tensor, relu: bool) -> Tensor:
    return F.relu(x) if relu else x
