"""The modules that a derived network is built from, as DARTS (Liu et al. 2019) and NAS-Bench-201 (Dong & Yang 2020) do.

Unlike a supernet's, these carry affine batch norms with running statistics, pools have no batch norm, and average
pools don't count the padding. Every module maps (B, C_in, H, W) to (B, C_out, ceil(H / stride), ceil(W / stride)), so
states of odd size still add up. ReLUs are modules and never in place: the counts see them, and no state is changed
under a reader. Parameter names are those of the DARTS code (`op.1.weight`, `conv_1.weight`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.nn.layers import module_of
from base_fast.reference import own_module
from base_fast.space.own_module import OwnModule
from base_fast.space.primitives import BatchNorm, FactorizedReduction, Identity, Zero, find


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


class FactorizedReduce(nn.Module):
    """Halves the map: ReLU, two 1×1 stride-2 convolutions joined, batch norm.

    The second convolution sees the input shifted by one pixel. An odd size is padded with one row or column of zeros,
    so that both halves have ceil(H / 2) rows; of an odd `channels_out` the second half gets the larger part. Even cases
    are as published (DARTS).

    The convolutions have stride 1 and see every other pixel, as in `reference.convolution`.
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


class Skip(nn.Identity):
    """The stride-1 skip connection; drop path never drops it."""


class Zeros(nn.Module):
    """'none': zeros. A product with 0 rather than new zeros keeps every parameter in the graph, as published."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


def build(primitive: str, channels: int, stride: int) -> nn.Module:
    """A primitive of a valid genotype as a module; raises InputError for a name that the table does not have."""
    entry = find(primitive)
    modules: list[nn.Module] = []
    for layer, width in entry.widths(channels, stride):
        match layer:
            case Zero():
                modules.append(Zeros(stride))
            case Identity():
                modules.append(Skip())
            case FactorizedReduction():
                modules.append(FactorizedReduce(channels, channels))
            case OwnModule():
                modules.append(own_module.derived(layer, channels))
            case BatchNorm() if modules and isinstance(modules[-1], nn.MaxPool2d | nn.AvgPool2d):
                pass
            case _:
                modules.append(module_of(layer, channels, width, affine=True))
    if len(modules) == 1:
        return modules[0]
    return Chain(*modules) if entry.prefix else nn.Sequential(*modules)
