"""The blocks of a supernet as pure functions: their weights come from outside, in the order of `shapes`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from base_fast import ops
from base_fast.reference.primitives import batch_norm, relu_conv_bn, vector_values, weight_shapes
from base_fast.space import Space
from base_fast.space.primitives import FactorizedReduction, Shape
from base_fast.supernet.partial_cell import partial_cell


@dataclass(frozen=True)
class Cell:
    """A searched cell: preprocessing of its inputs, mixed edges, node sums, concatenation (Liu et al. 2019)."""

    space: Space
    prefix: str
    channels_in: tuple[int, ...]
    channels: int
    reduction: bool
    reduction_before: bool
    parts: int = 1
    """One of so many parts of the channels meets the primitives, see `partial_cell`."""

    @property
    def cell_type(self) -> int:
        """Index into the space's cell types."""
        return int(self.reduction and len(self.space.cell_types) > 1)

    @property
    def channels_out(self) -> int:
        return self.channels * len(self.space.concat)

    def stride(self, predecessor: int) -> int:
        """Of the edges that leave this node."""
        return 2 if self.reduction and predecessor < self.space.inputs else 1

    @property
    def preprocessing(self) -> dict[int, int]:
        """The inputs that a ReLU, a 1×1 convolution and a batch norm bring to the cell's size, and their strides."""
        several = self.space.inputs > 1
        return {
            i: 2 if i == 0 and several and self.reduction_before else 1
            for i, channels in enumerate(self.channels_in)
            if several or channels != self.channels
        }

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of all weights, in the order of the flat vector."""
        shapes: dict[str, Shape] = {}
        for i, stride in self.preprocessing.items():
            own: dict[str, Shape] = {"op.1.weight": (self.channels, self.channels_in[i], 1, 1)}
            if stride == 2:
                own = FactorizedReduction().shapes(self.channels, self.channels_in[i])
            shapes |= {f"{self.prefix}.preprocess{i}.{name}": shape for name, shape in own.items()}
        for prefix, primitive, stride in self._choices():
            own = weight_shapes(primitive, self.channels // self.parts, stride)
            shapes |= {prefix + name: shape for name, shape in own.items()}
        return shapes

    def vectors(self) -> dict[str, Tensor]:
        """Initial values of edges' weights that are vectors, which primitives of one's own may have."""
        return {
            prefix + name: value
            for prefix, primitive, stride in self._choices()
            for name, value in vector_values(primitive, self.channels // self.parts, stride).items()
        }

    def _choices(self) -> Iterator[tuple[str, str, int]]:
        """Prefix of the weights' names, primitive and stride of everything that an edge can be, in order."""
        for e, (predecessor, _) in enumerate(self.space.edges):
            for l, primitive in enumerate(self.space.primitives):
                yield f"{self.prefix}._ops.{e}._ops.{l}.", primitive, self.stride(predecessor)

    def pieces(self) -> dict[str, Shape]:
        """The same weights as `apply` takes them: a matrix per input to preprocess, and the edges' as one vector."""
        matrices: dict[str, Shape] = {
            f"{self.prefix}.preprocess{i}": (self.channels, self.channels_in[i]) for i in self.preprocessing
        }
        of_edges = sum(math.prod(shape) for name, shape in self.shapes().items() if "._ops." in name)
        return matrices | {f"{self.prefix}._ops": (of_edges,)}

    def apply(
        self, inputs: Sequence[Tensor], weights: Sequence[Tensor], z: Tensor, chosen: list[int] | None, memory: str
    ) -> Tensor:
        """The cell on the outputs of the previous blocks, oldest first.

        Args:
            weights: as `pieces` lists them.
            z: (E, L).
            chosen, memory: as for `ops.mixed_cell`.
        """
        states, (*matrices, own) = list(inputs), weights
        for (i, stride), matrix in zip(self.preprocessing.items(), matrices, strict=True):
            states[i] = ops.relu_conv_norm(states[i], matrix, stride)
        if self.parts == 1:
            return ops.mixed_cell(states, z, own, self.space, self.reduction, chosen, memory)
        return partial_cell(states, z, own, self.space, self.parts, self.reduction, chosen, memory)


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

    def pieces(self) -> dict[str, Shape]:
        return self.shapes()

    def vectors(self) -> dict[str, Tensor]:
        return {}

    def apply(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """(B, C_in, H, W) → (B, C, ⌈H/2⌉, ⌈W/2⌉)."""
        conv_a, conv_b, downsample = weights
        y = F.conv2d(F.relu(x), conv_a, stride=2, padding=1)
        y = relu_conv_bn(batch_norm(y), conv_b)
        shortcut = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        return y + F.conv2d(shortcut, downsample)
