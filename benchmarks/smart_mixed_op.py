"""The fastest rewrite of a DARTS edge found in plain PyTorch, with the weights of the ordinary modules.

What it changes, each because it was measured to pay on channels-last images:
- one ReLU for all four first depthwise convolutions, and one mask for the sum of their gradients;
- the input gradient of a depthwise convolution is a convolution with the flipped kernel, which oneDNN runs up to ten
  times as fast as its own backward;
- its weight gradient takes windows of at most three columns, the only ones that oneDNN has fast code for; a dilated
  convolution's is taken on the four images of every other pixel, where it is an ordinary one;
- a dilated convolution of stride 2 reads every other pixel only: it is an ordinary one of those;
- the average pool is a depthwise convolution; the primitive's weight is the scale of its batch norm.

Products of several branches at once (grouped or batched) and one batch norm over concatenated branches were slower, as
were pools along one axis at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LAST = torch.channels_last
# The widest window of a weight gradient.
COLUMNS = 3


class Depthwise(torch.autograd.Function):
    """Depthwise convolution with "same" padding, (B, C, H, W) by (C, 1, k, k); dilated only at stride 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.dilation = stride, dilation
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, None, stride, padding, dilation, x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        k = weight.shape[-1]
        d_weight = None
        if ctx.needs_input_grad[1]:
            if ctx.dilation == 1:
                d_weight = weight_gradient(grad, x, k, ctx.stride)
            else:
                d_weight = weight_gradient(every_other(grad), every_other(x), k, 1)
        if ctx.stride == 1:
            padding = ctx.dilation * (k // 2)
            dx = F.conv2d(grad, weight.flip(2, 3), None, 1, padding, ctx.dilation, x.shape[1])
        else:
            dx = backward(grad, x, weight, k // 2, k // 2, ctx.stride, (True, False))[0]
        return dx, d_weight, None, None


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, rows: int, columns: int, stride: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """PyTorch's gradients of x and weight, with this number of rows and columns of padding."""
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [rows, columns], [1, 1], False, [0, 0], x.shape[1], [*wanted, False]
    )
    return found[0], found[1]


def weight_gradient(grad: Tensor, x: Tensor, k: int, stride: int) -> Tensor:
    """(C, 1, k, k), of a convolution without dilation."""
    channels, half = x.shape[1], k // 2
    if k <= COLUMNS:
        return backward(grad, x, grad.new_empty(channels, 1, k, k), half, half, stride, (False, True))[1]
    found = grad.new_empty(channels, 1, k, k)
    padded = F.pad(x, (half, half))
    for first in (*range(0, k - COLUMNS, COLUMNS - 1), k - COLUMNS):
        window = padded[..., first : first + x.shape[3] + COLUMNS - 1]
        like = grad.new_empty(channels, 1, k, COLUMNS)
        found[..., first : first + COLUMNS] = backward(grad, window, like, half, 0, stride, (False, True))[1]
    return found


def every_other(x: Tensor) -> Tensor:
    """(4·B, C, ⌈H/2⌉, ⌈W/2⌉): the pixels of even and odd rows and columns as images of their own, zeros at odd ends."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    return torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])


def averages(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The average pool of such images: a kernel of ones, and one over the number of pixels that it sees."""
    ones = x.new_ones(x.shape[1], 1, 3, 3)
    return ones, 1.0 / F.conv2d(x.new_ones(1, 1, *x.shape[2:]), ones[:1], stride=stride, padding=1)


def normalized(x: Tensor, scale: Tensor | None = None) -> Tensor:
    # A copy: PyTorch's backward misreads an expanded weight.
    weight = None if scale is None else scale.expand(x.shape[1]).contiguous()
    return F.batch_norm(x, None, None, weight, training=True)


def every_second(x: Tensor, shift: int = 0) -> Tensor:
    """(B, C, ⌈H/2⌉, ⌈W/2⌉): the even pixels, or the odd ones with zeros at odd ends."""
    return F.pad(x[:, :, shift::2, shift::2], (0, shift * (x.shape[3] % 2), 0, shift * (x.shape[2] % 2)))


def mixed_op(x: Tensor, z: Tensor, weights: Sequence[Tensor], stride: int, averages: tuple[Tensor, Tensor]) -> Tensor:
    """Σ_l z_l·φ_l(x) over the eight DARTS primitives; `weights` in the modules' order, `averages` made once."""
    *reduce, a1, a2, a3, a4, b1, b2, b3, b4, c1, c2, d1, d2 = weights
    relu = F.relu(x)
    # Taps of a dilated convolution of stride 2 lie on even pixels.
    wide, dilation = (relu, 2) if stride == 1 else (every_second(relu).contiguous(memory_format=LAST), 1)

    def separable(depthwise: Tensor, pointwise: Tensor, last_depthwise: Tensor, last_pointwise: Tensor) -> Tensor:
        h = F.conv2d(Depthwise.apply(relu, depthwise, stride, 1), pointwise)
        return F.conv2d(Depthwise.apply(F.relu(normalized(h)), last_depthwise, 1, 1), last_pointwise)

    def dilated(depthwise: Tensor, pointwise: Tensor) -> Tensor:
        return F.conv2d(Depthwise.apply(wide, depthwise, 1, dilation), pointwise)

    y = normalized(F.max_pool2d(x, 3, stride, 1), z[1])
    ones, share = averages
    y += normalized(Depthwise.apply(x, ones, stride, 1) * share, z[2])
    if stride == 1:
        y = torch.addcmul(y, x, z[3])
    else:
        halves = [F.conv2d(every_second(relu, i), w) for i, w in enumerate(reduce) if len(w)]
        y += normalized(torch.cat(halves, 1), z[3])
    y += normalized(separable(a1, a2, a3, a4), z[4])
    y += normalized(separable(b1, b2, b3, b4), z[5])
    y += normalized(dilated(c1, c2), z[6])
    y += normalized(dilated(d1, d2), z[7])
    return y
