"""The blocks of a supernet as pure functions: their weights come from outside, in the order of `shapes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast import ops
from base_fast.reference.primitives import (
    Shape,
    batch_norm,
    factorized_reduce,
    factorized_reduce_shapes,
    relu_conv_bn,
    weight_shapes,
)
from base_fast.space import Space


@dataclass(frozen=True)
class EdgeSample:
    """z of one cell type, cut into edges once per forward pass."""

    weights: Sequence[Tensor]
    """E tensors (L,)."""
    chosen: Sequence[int | None]
    """The primitive that a hard sample executes on each edge; None for soft samples."""


@dataclass(frozen=True)
class Cell:
    """A searched cell: preprocessing of its inputs, mixed edges, node sums, concatenation (Liu et al. 2019)."""

    space: Space
    prefix: str
    channels_in: tuple[int, ...]
    channels: int
    reduction: bool
    reduction_before: bool

    @property
    def cell_type(self) -> int:
        """Index into the space's cell types."""
        return int(self.reduction and len(self.space.cell_types) > 1)

    @property
    def channels_out(self) -> int:
        return self.channels * len(self.space.concat)

    def stride(self, predecessor: int) -> int:
        return 2 if self.reduction and predecessor < self.space.inputs else 1

    def _preprocesses(self, i: int) -> bool:
        return self.space.inputs > 1 or self.channels_in[i] != self.channels

    def shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for i, channels_in in enumerate(self.channels_in):
            if not self._preprocesses(i):
                continue
            if i == 0 and self.reduction_before and self.space.inputs > 1:
                own = factorized_reduce_shapes(channels_in, self.channels)
            else:
                own = {"op.1.weight": (self.channels, channels_in, 1, 1)}
            shapes |= {f"{self.prefix}.preprocess{i}.{name}": shape for name, shape in own.items()}
        for e, (predecessor, _) in enumerate(self.space.edges):
            for l, primitive in enumerate(self.space.primitives):
                own = weight_shapes(primitive, self.channels, self.stride(predecessor))
                shapes |= {f"{self.prefix}._ops.{e}._ops.{l}.{name}": shape for name, shape in own.items()}
        return shapes

    def apply(self, inputs: Sequence[Tensor], weights: Iterator[Tensor], sample: EdgeSample) -> Tensor:
        """`inputs`: outputs of the previous blocks, oldest first; draws its weights from `weights`."""
        space = self.space
        states = list(inputs)
        for i in range(space.inputs):
            if not self._preprocesses(i):
                continue
            if i == 0 and self.reduction_before and space.inputs > 1:
                states[i] = factorized_reduce(states[i], [next(weights), next(weights)])
            else:
                states[i] = relu_conv_bn(states[i], next(weights))
        edges = iter(range(space.num_edges))
        for node in range(space.inputs, space.inputs + space.nodes):
            total: Tensor | None = None
            for e in islice(edges, node):
                predecessor, stride = space.edges[e][0], self.stride(space.edges[e][0])
                own = [
                    next(weights)
                    for primitive in space.primitives
                    for _ in weight_shapes(primitive, self.channels, stride)
                ]
                y = ops.mixed_op(
                    states[predecessor], sample.weights[e], own, space.primitives, stride, sample.chosen[e]
                )
                total = y if total is None else total + y
            assert total is not None
            states.append(total)
        return torch.cat([states[node] for node in space.concat], dim=1)


@dataclass(frozen=True)
class ResidualReduction:
    """The fixed block between the stages of NAS-Bench-201: a basic residual block of stride 2 (Dong & Yang 2020)."""

    prefix: str
    channels_in: int
    channels: int

    @property
    def channels_out(self) -> int:
        return self.channels

    def shapes(self) -> dict[str, Shape]:
        return {
            f"{self.prefix}.conv_a.op.1.weight": (self.channels, self.channels_in, 3, 3),
            f"{self.prefix}.conv_b.op.1.weight": (self.channels, self.channels, 3, 3),
            f"{self.prefix}.downsample.1.weight": (self.channels, self.channels_in, 1, 1),
        }

    def apply(self, x: Tensor, weights: Iterator[Tensor]) -> Tensor:
        conv_a, conv_b, downsample = next(weights), next(weights), next(weights)
        y = F.conv2d(F.relu(x), conv_a, stride=2, padding=1)
        y = relu_conv_bn(batch_norm(y), conv_b)
        shortcut = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        return y + F.conv2d(shortcut, downsample)
