"""The modules that a derived network is built from, as DARTS (Liu et al. 2019) and NAS-Bench-201 (Dong & Yang 2020) do.

Unlike a supernet's, these carry affine batch norms with running statistics, pools have no batch norm, and average
pools don't count the padding. Every module maps (B, C_in, H, W) to (B, C_out, ceil(H / stride), ceil(W / stride)), so
states of odd size still add up. ReLUs are modules and never in place: the counts see them, and no state is changed
under a reader. Parameter names are those of the DARTS code (`op.1.weight`, `conv_1.weight`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Chain(nn.Module):
    """Modules in order, under the name `op` as in the DARTS code."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.op = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class ReLUConvBN(Chain):
    """ReLU, convolution, batch norm; `kernel` is odd and the padding keeps the size at stride 1."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
        )


class DilConv(Chain):
    """ReLU, depthwise convolution with dilation, pointwise convolution, batch norm."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, dilation: int = 2) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_in, kernel, stride, padding, dilation, groups=channels_in, bias=False),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )


class SepConv(Chain):
    """Two separable convolutions (ReLU, depthwise, pointwise, batch norm); the first one carries the stride."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int) -> None:
        super().__init__(
            *DilConv(channels_in, channels_in, kernel, stride, dilation=1).op,
            *DilConv(channels_in, channels_out, kernel, stride=1, dilation=1).op,
        )


class Conv7x1(nn.Sequential):  # the one primitive without `op` in the DARTS code
    """ReLU, a 1×7 then a 7×1 convolution, batch norm (AmoebaNet, Real et al. 2019); each takes half of the stride."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
            nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
            nn.BatchNorm2d(channels),
        )


class FactorizedReduce(nn.Module):
    """Halves the map: ReLU, two 1×1 stride-2 convolutions joined, batch norm.

    The second convolution sees the input shifted by one pixel. An odd size is padded with one row or column of zeros,
    so that both halves have ceil(H / 2) rows; of an odd `channels_out` the second half gets the larger part. Even cases
    are as published (DARTS).

    The convolutions have stride 1 and see every other pixel, which is the same and safe: `reference.primitives` says
    why stride 2 is not.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(channels_in, channels_out // 2, 1, bias=False)
        self.conv_2 = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        shifted = F.pad(x[:, :, 1::2, 1::2], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        out: Tensor = self.bn(torch.cat([self.conv_1(x[:, :, ::2, ::2]), self.conv_2(shifted)], dim=1))
        return out


class Identity(nn.Identity):
    """The stride-1 skip connection; drop path never drops it."""


class Zero(nn.Module):
    """'none': zeros. A product with 0 rather than new zeros keeps every parameter in the graph, as published."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


def _skip(channels: int, stride: int) -> nn.Module:
    return Identity() if stride == 1 else FactorizedReduce(channels, channels)


PRIMITIVES: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda c, s: Zero(s),
    "max_pool_3x3": lambda c, s: nn.MaxPool2d(3, stride=s, padding=1),
    "avg_pool_3x3": lambda c, s: nn.AvgPool2d(3, stride=s, padding=1, count_include_pad=False),
    "skip_connect": _skip,
    "sep_conv_3x3": lambda c, s: SepConv(c, c, 3, s),
    "sep_conv_5x5": lambda c, s: SepConv(c, c, 5, s),
    "sep_conv_7x7": lambda c, s: SepConv(c, c, 7, s),
    "dil_conv_3x3": lambda c, s: DilConv(c, c, 3, s),
    "dil_conv_5x5": lambda c, s: DilConv(c, c, 5, s),
    "conv_7x1_1x7": lambda c, s: Conv7x1(c, s),
    "nor_conv_1x1": lambda c, s: ReLUConvBN(c, c, 1, s),
    "nor_conv_3x3": lambda c, s: ReLUConvBN(c, c, 3, s),
}
"""Every primitive that a valid genotype can name: (channels, stride) → module."""
