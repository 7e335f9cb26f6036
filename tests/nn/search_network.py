"""A small search network as published ones are written: running statistics, logits of its own, cells within cells.

Other than `benchmarks.plain_darts` it keeps what a search of DARTS has and base_fast has not, so that replacing its
edges is more than a change of names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.plain_darts import PRIMITIVES


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]).mul(0.0)


class Identity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Stack(nn.Module):
    """Layers under the name `op`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def depthwise(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    around = dilation * (kernel // 2)
    return [
        nn.ReLU(inplace=False),
        nn.Conv2d(channels, channels, kernel, stride, around, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, kernel_size=1, padding=0, bias=False),
        norm(channels),
    ]


class FactorizedReduce(nn.Module):
    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=False)
        self.conv_1 = nn.Conv2d(ins, outs // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(ins, outs // 2, 1, stride=2, bias=False)
        self.bn = norm(outs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


def primitive(name: str, channels: int, stride: int) -> nn.Module:
    kind, _, size = name.rpartition("_")
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if kind == "max_pool":
        return nn.Sequential(nn.MaxPool2d(3, stride=stride, padding=1), norm(channels))
    if kind == "avg_pool":
        return nn.Sequential(nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False), norm(channels))
    if kind == "sep_conv":
        return Stack(*depthwise(channels, int(size[0]), stride), *depthwise(channels, int(size[0]), 1))
    return Stack(*depthwise(channels, int(size[0]), stride, dilation=2))


class Mixed(nn.Module):
    def __init__(self, channels: int, stride: int, primitives: Sequence[str] = PRIMITIVES) -> None:
        super().__init__()
        self._ops = nn.ModuleList()
        for name in primitives:
            self._ops.append(primitive(name, channels, stride))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))


class Cell(nn.Module):
    """One input, two nodes."""

    def __init__(self, ins: int, channels: int, reduction: bool) -> None:
        super().__init__()
        self.preprocess = Stack(nn.ReLU(), nn.Conv2d(ins, channels, 1, bias=False), norm(channels))
        self._ops = nn.ModuleList(
            Mixed(channels, 2 if reduction and j < 1 else 1) for i in range(2) for j in range(1 + i)
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        x = self.preprocess(x)
        first = self._ops[0](x, weights[0])
        second = self._ops[1](x, weights[1]) + self._ops[2](first, weights[2])
        return torch.cat([first, second], dim=1)


class SearchNetwork(nn.Module):
    def __init__(self, channels: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.cells = nn.ModuleList([Cell(channels, channels, False), Cell(2 * channels, 2 * channels, True)])
        self.classifier = nn.Linear(4 * channels, classes)
        self.alphas = [torch.zeros(3, 8).normal_(std=1e-3).requires_grad_() for _ in self.cells]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for cell, alphas in zip(self.cells, self.alphas, strict=True):
            x = cell(x, alphas.softmax(-1))
        return self.classifier(x.mean(dim=(2, 3)))
