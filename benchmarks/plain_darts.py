"""The DARTS search network in ordinary modules, as its paper and its published code describe it.

Independent of base_fast: weights live in torch.nn modules, and the supernet's are loaded by name. It differs from what
is published in two things: the factorized reduction also takes odd sizes, by a shift that moves zeros in at the bottom
and right; and 1×1 convolutions of stride 2 go around PyTorch's, whose backward may write outside its memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from base_fast.reference.convolution import conv2d

PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NAS_BENCH_201_PRIMITIVES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class ReLUConvBN(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
            batch_norm(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        relu, convolution, norm = self.op
        return norm(convolve(convolution, relu(x)))


class FactorizedReduce(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, stride=2, bias=False)
        self.bn = batch_norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        shifted = torch.zeros_like(x)
        shifted[:, :, :-1, :-1] = x[:, :, 1:, 1:]
        # PyTorch cannot convolve with no filter at all, the first half of a single channel.
        first = [convolve(self.conv_1, x)] if self.conv_1.out_channels else []
        return self.bn(torch.cat([*first, convolve(self.conv_2, shifted)], dim=1))


class SepConv(nn.Module):
    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            batch_norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            batch_norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class DilConv(nn.Module):
    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, kernel - 1, dilation=2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            batch_norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class RowsAndColumns(nn.Sequential):
    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, kernel // 2), bias=False),
            nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (kernel // 2, 0), bias=False),
            batch_norm(channels),
        )


def primitive(name: str, channels: int, stride: int) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if name == "max_pool_3x3":
        return nn.Sequential(nn.MaxPool2d(3, stride, 1), batch_norm(channels))
    if name == "avg_pool_3x3":
        return nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), batch_norm(channels))
    if name in (two := {"conv_1x3_3x1": 3, "conv_7x1_1x7": 7}):
        return RowsAndColumns(channels, two[name], stride)
    kind, size = name.rsplit("_", 1)
    kernel = int(size[0])
    if kind == "nor_conv":
        return ReLUConvBN(channels, channels, kernel, stride)
    return {"sep_conv": SepConv, "dil_conv": DilConv}[kind](channels, kernel, stride)


class PlainMixedOp(nn.Module):
    def __init__(self, channels: int, stride: int, primitives: Sequence[str] = PRIMITIVES) -> None:
        super().__init__()
        self._ops = nn.ModuleList(primitive(name, channels, stride) for name in primitives)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))


class PlainCell(nn.Module):
    def __init__(
        self, ins: tuple[int, int], channels: int, reduction: bool, reduction_before: bool, nodes: int = 4
    ) -> None:
        super().__init__()
        self.preprocess0 = FactorizedReduce(ins[0], channels) if reduction_before else ReLUConvBN(ins[0], channels, 1)
        self.preprocess1 = ReLUConvBN(ins[1], channels, 1)
        self.nodes = nodes
        self._ops = nn.ModuleList(
            PlainMixedOp(channels, 2 if reduction and j < 2 else 1) for i in range(nodes) for j in range(2 + i)
        )

    def forward(self, before: Tensor, last: Tensor, z: Tensor) -> Tensor:
        states = [self.preprocess0(before), self.preprocess1(last)]
        offset = 0
        for _ in range(self.nodes):
            states.append(sum(self._ops[offset + j](state, z[offset + j]) for j, state in enumerate(states)))
            offset += len(states) - 1
        return torch.cat(states[2:], dim=1)


class PlainDarts(nn.Module):
    """z (2, 14, 8): weights of the primitives on the edges of the normal and of the reduction cells (of four nodes)."""

    def __init__(self, channels: int, layers: int, num_classes: int, nodes: int = 4) -> None:
        super().__init__()
        stem_channels = 3 * channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem_channels, track_running_stats=False),
        )
        self.cells = nn.ModuleList()
        self.reductions: list[bool] = []
        before, last = stem_channels, stem_channels
        for i in range(layers):
            reduction = i in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.cells.append(PlainCell((before, last), channels, reduction, bool(i) and self.reductions[-1], nodes))
            self.reductions.append(reduction)
            before, last = last, nodes * channels
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        before = last = self.stem(x)
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            before, last = last, cell(before, last, z[int(reduction)])
        return self.classifier(last.mean(dim=(2, 3)))


def name_in_supernet(name: str) -> str:
    """The supernet's name of a parameter: only the stem is called differently."""
    return name.replace("stem.0.", "stems.32.0.conv.").replace("stem.1.", "stems.32.0.bn.")
