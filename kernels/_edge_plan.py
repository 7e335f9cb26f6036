"""What a mixed edge consists of for the kernels: its stages in two rounds, pools and skips, sizes and tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import triton
from torch import Tensor

from base_fast.space.primitives import (
    BatchNorm,
    Convolution,
    FactorizedReduction,
    Identity,
    Layer,
    Pool,
    ReLU,
    Zero,
    numbered,
)

from ._launch import BLOCK


@dataclass
class Stages:
    """Stages that one launch computes: kernel sizes, 0 for a factorized reduction; dilations; the stages that they
    read, −1 for x; and where in the edge's weights the first of each stage's two is."""

    sources: list[int] = field(default_factory=list)
    ks: list[int] = field(default_factory=list)
    dilations: list[int] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)

    def add(self, source: int, k: int, dilation: int, weight: int) -> None:
        self.sources.append(source)
        self.ks.append(k)
        self.dilations.append(dilation)
        self.weights.append(weight)

    def __len__(self) -> int:
        return len(self.ks)

    def pairs(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Two of `tensors` per stage, which are one per weight of the edge."""
        return tuple(tensors[i + j] for i in self.weights for j in (0, 1))

    def depthwise(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One of `tensors` per stage, that of its depthwise weight."""
        return tuple(tensors[i] for i in self.weights)


def _stages(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Kernel size and dilation of a primitive's stages.

    Raises:
        TypeError: for a layer that no kernel here computes.
    """
    stages = []
    for layer in layers:
        match layer:
            case Convolution(kernel, depthwise=True):
                stages.append((kernel[0], layer.dilation))
            case FactorizedReduction():
                stages.append((0, 1))
            case Zero() | Identity() | ReLU() | BatchNorm() | Pool() | Convolution((1, 1)):
                pass
            case _:
                raise TypeError(f"layer: got {layer!r}, which no kernel computes")
    return stages


class Edge:
    """An edge of `primitives`, by their numbers, on images like x.

    Attributes:
        first, second: the stages that read x, and those that read one of these; numbered one after the other.
        last_stages, positions: of every branch that ends in a stage, its number and its position in z.
        max_pools, average_pools, skips: their positions in z. There may be any number, which share their work.
        shape: of the output, (B, C, h, w).
        sizes: as the kernels take them, see kernels/_edge.py.
    """

    def __init__(self, x: Tensor, primitives: Sequence[int], stride: int) -> None:
        self.first, self.second = Stages(), Stages()
        layers = [numbered(p).at(stride) for p in primitives]
        self.max_pools, self.average_pools, self.skips = (
            tuple(l for l, own in enumerate(layers) if own[0] == kind)
            for kind in (Pool("max", stride), Pool("average", stride), Identity())
        )
        weight = 0
        last: list[tuple[int, int]] = []
        for l, own in enumerate(layers):
            stages = _stages(own)
            if not stages:
                continue
            number = len(self.first)
            self.first.add(-1, *stages[0], weight)
            if len(stages) == 2:
                self.second.add(number, *stages[1], weight + 2)
                number = -len(self.second)
            weight += 2 * len(stages)
            last.append((l, number))
        # Second stages are numbered after the first ones.
        self.positions = tuple(l for l, _ in last)
        self.last_stages = tuple(s if s >= 0 else len(self.first) - 1 - s for _, s in last)
        self.stages = len(self.first) + len(self.second)
        self.pools = bool(self.max_pools or self.average_pools)

        self.stride = stride
        images, self.channels, height, width = x.shape
        out = tuple(-(-n // stride) for n in (height, width))
        self.shape = (images, self.channels, *out)
        self.pixels, self.padded = images * out[0] * out[1], -(-self.channels // 16) * 16
        self.sizes = (self.channels, height, width, *out, self.pixels, self.padded)
        # Of products over channels: more bits than bfloat16 has, on tensor cores, or all that there are.
        self.precision = "tf32" if x.dtype == torch.bfloat16 else "ieee"
        double = x.dtype == torch.float64
        self.wide = torch.float64 if double else torch.float32
        # As large as registers allow, for all channels of small edges to be in one tile.
        side = min(triton.next_power_of_2(self.padded), 16 if double else 64)
        self.product_tile = {"BM": 16 if double or side > 16 else 32, "BK": min(side, 32), "BN": side}
        # Of the pointwise convolutions' gradients. That of a weight computes a depthwise convolution besides.
        self.input_gradient_tile = {"BM": 16 if double or side > 16 else 32, "BK": min(side, 32), "BN": min(side, 32)}
        self.weight_gradient_tile = {"BM": 16, "BK": 16, "BN": min(side, 32)}
        side = min(triton.next_power_of_2(self.padded), 32)
        self.tile = {"BM": BLOCK // (4 if double else 2) // side, "BC": side}

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Of the values of a stage, as those of images (B, C, h, w)."""
        height, width = self.shape[2:]
        return height * width * self.padded, 1, width * self.padded, self.padded

    def of_stages(self, numbers: Sequence[int]) -> Stages:
        """The stages of these numbers."""
        found = Stages()
        for number in numbers:
            kind, k = (self.first, number) if number < len(self.first) else (self.second, number - len(self.first))
            found.add(kind.sources[k], kind.ks[k], kind.dilations[k], kind.weights[k])
        return found

    def tiles(self, tile: dict[str, int]) -> int:
        """Tiles over the output's pixels."""
        return triton.cdiv(self.pixels, tile["BM"])

    def values(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Room for the values of all stages."""
        return self.empty(x, self.stages * self.pixels * self.padded, dtype=dtype)

    def empty(self, x: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or x.dtype, device=x.device)
