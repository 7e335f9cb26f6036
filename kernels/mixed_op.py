"""A whole edge in few launches: five forward and eight backward, where the primitives one by one take over a hundred.

Forward: the first stage of every branch (ReLU, depthwise and pointwise convolution in one, or a factorized reduction)
with its statistics, and the pools' statistics; the statistics combined; the same two launches for the second stages,
the first norm and its ReLU folded into their reads; the weighted sum, with norms folded in and pools computed again.

Backward: the gradient against every branch, which gives dz and what the last norms need; those sums combined; back
through norms and pointwise convolutions to the depthwise ones, which are computed again for the weights' gradients;
through the second depthwise convolutions to the first norms; their sums; through the first pointwise convolutions; and
through all that reads x at once. What tiles contribute to the weights' gradients is added up in one last launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
from torch import Tensor

from base_fast.kernels import _edge_backward, _edge_forward, _windows
from base_fast.kernels._launch import BLOCK, BOUNDED
from base_fast.kernels._partials import add_up, contributions
from base_fast.kernels._statistics import CHANNELS, TILES, statistics
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

EPS = 1e-5
# The op's numbers for memory levels.
STORE, STORE_BFLOAT16, RECOMPUTE = 0, 1, 2
# Elements of all programs' contributions to one pointwise weight, at most.
CONTRIBUTED = 1 << 21


@dataclass
class Stages:
    """Convolutions that one launch computes. K = 0 is a factorized reduction, and source −1 is x; of the two weights
    that each takes, `weights` says where the first one is."""

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


def _stages(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Kernel size and dilation of a primitive's depthwise convolutions; (0, 1) is a factorized reduction.

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
    """What an edge consists of, and what its images measure."""

    def __init__(self, x: Tensor, primitives: Sequence[int], stride: int) -> None:
        self.first, self.second = Stages(), Stages()
        layers = [numbered(p).at(stride) for p in primitives]
        # Of each primitive its position in z; of pools and skips there may be any number, which share their work.
        self.maxima, self.averages, self.skips = (
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
        self.finals = tuple(s if s >= 0 else len(self.first) - 1 - s for _, s in last)
        self.stages = len(self.first) + len(self.second)
        self.pools = bool(self.maxima or self.averages)

        self.stride = stride
        images, self.channels, height, width = x.shape
        out = tuple(-(-n // stride) for n in (height, width))
        self.shape = (images, self.channels, *out)
        self.pixels, self.width = images * out[0] * out[1], -(-self.channels // 16) * 16
        self.sizes = (self.channels, height, width, *out, self.pixels, self.width)
        # Of products over channels: more bits than bfloat16 has, on tensor cores, or all that there are.
        self.precision = "tf32" if x.dtype == torch.bfloat16 else "ieee"
        double = x.dtype == torch.float64
        self.wide = torch.float64 if double else torch.float32
        # As large as registers allow, for all channels of small edges to be in one tile.
        side = min(triton.next_power_of_2(self.width), 16 if double else 64)
        self.product_tile = {"BM": 16 if double or side > 16 else 32, "BK": min(side, 32), "BN": side}
        # Backward holds two products.
        self.pointwise_tile = {"BM": 16, "BK": 16, "BN": min(side, 32)}
        side = min(triton.next_power_of_2(self.width), 32)
        self.tile = {"BM": BLOCK // (4 if double else 2) // side, "BC": side}

    def blocks(self, name: str) -> int:
        """Of the width, by a side of the tile of products or by BC."""
        return triton.cdiv(self.width, {**self.product_tile, **self.tile, "BM": 1}[name])

    def values(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Room for the values of all stages."""
        return self.empty(x, self.stages * self.pixels * self.width, dtype=dtype)

    def empty(self, x: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or x.dtype, device=x.device)


def _last(x: Tensor) -> Tensor:
    """x where it is if channels are neighbours, else turned."""
    return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous(memory_format=torch.channels_last)


def _pairs(weights: Sequence[Tensor], stages: Stages) -> tuple[Tensor, ...]:
    return tuple(weights[i + j] for i in stages.weights for j in (0, 1))


def _values(
    edge: Edge, x: Tensor, weights: Sequence[Tensor], values: Tensor, mean: Tensor, rstd: Tensor, *, again: bool
) -> None:
    """Fill the values of all stages and, unless they are computed again, mean and rstd."""
    BM = edge.product_tile["BM"]
    tiles = triton.cdiv(edge.pixels, BM)
    number = 0
    for stages, first in ((edge.first, True), (edge.second, False)):
        pools = first and edge.pools and not again
        if not len(stages) and not pools:
            continue
        rows = len(stages) + 2 * pools
        means, squares = (None if again else edge.empty(x, rows, tiles, edge.width, dtype=edge.wide) for _ in range(2))
        _edge_forward.stages[(tiles, len(stages) + pools, edge.blocks("BN"))](
            x, _pairs(weights, stages), mean, rstd, values, means, squares, edge.sizes, x.stride(),
            FIRST=number, SOURCES=tuple(stages.sources), KS=tuple(stages.ks), DILATIONS=tuple(stages.dilations),
            POOLS=pools, STRIDE=edge.stride, PRECISION=edge.precision, **edge.product_tile, **BOUNDED,
        )  # fmt: skip
        if not again:
            row = 0 if pools else 2 + number
            statistics[(triton.cdiv(edge.width, CHANNELS), rows)](
                means, squares, mean[row:], rstd[row:], EPS, edge.width, edge.pixels, tiles,
                BX=BM, TILES=TILES, CHANNELS=CHANNELS, **BOUNDED,
            )  # fmt: skip
        number += len(stages)


def empty(
    x: Tensor, z: Tensor, weights: Sequence[Tensor], primitives: Sequence[int], stride: int, memory: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What mixed_op returns, to be filled."""
    edge = Edge(x, primitives, stride)
    y = torch.empty(edge.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    short = memory == STORE_BFLOAT16 and x.dtype == torch.float32
    values = x.new_empty(0) if memory == RECOMPUTE else edge.values(x, torch.bfloat16 if short else x.dtype)
    return y, values, edge.empty(x, edge.stages + 2, 2, edge.width, dtype=torch.float64)


def mixed_op(
    x: Tensor, z: Tensor, weights: Sequence[Tensor], primitives: Sequence[int], stride: int, memory: int
) -> tuple[Tensor, Tensor, Tensor]:
    edge = Edge(x, primitives, stride)
    x, z, weights = _last(x), z.contiguous(), [w.contiguous() for w in weights]
    y, values, found = empty(x, z, weights, primitives, stride, memory)
    if memory == RECOMPUTE:
        values = edge.values(x, x.dtype)
    mean, rstd = found.view(2, edge.stages + 2, edge.width)
    with torch.cuda.device_of(x):
        _values(edge, x, weights, values, mean, rstd, again=False)
        _edge_forward.weighted_sum[(triton.cdiv(edge.pixels, edge.tile["BM"]), edge.blocks("BC"))](
            x, z, values, mean, rstd, y, edge.sizes, (x.stride(), y.stride()),
            FINALS=edge.finals, POSITIONS=edge.positions, MAXIMA=edge.maxima, AVERAGES=edge.averages,
            SKIPS=edge.skips, STRIDE=stride, **edge.tile, **BOUNDED,
        )  # fmt: skip
    return y, values.new_empty(0) if memory == RECOMPUTE else values, found


def mixed_op_backward(
    grad: Tensor,
    x: Tensor,
    z: Tensor,
    weights: Sequence[Tensor],
    primitives: Sequence[int],
    stride: int,
    memory: int,
    values: Tensor,
    statistics: Tensor,
) -> list[Tensor]:
    edge, x, z, weights = Edge(x, primitives, stride), _last(x), z.contiguous(), [w.contiguous() for w in weights]
    grad = _last(grad)
    mean, rstd = statistics.contiguous().view(2, edge.stages + 2, edge.width)
    d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    d_z, d_weights = torch.empty_like(z), [torch.empty_like(w) for w in weights]
    with torch.cuda.device_of(x):
        if memory == RECOMPUTE:
            values = edge.values(x, x.dtype)
            _values(edge, x, weights, values, mean, rstd, again=True)
        backward = _Backward(edge, grad, x, z, weights, values, mean, rstd)
        partials = backward.run(d_x, d_z)
        if weights:
            add_up(partials, d_weights)
    return [d_x, d_z, *d_weights]


class _Backward:
    """The launches of a backward pass and what they share."""

    def __init__(
        self,
        edge: Edge,
        grad: Tensor,
        x: Tensor,
        z: Tensor,
        weights: Sequence[Tensor],
        values: Tensor,
        mean: Tensor,
        rstd: Tensor,
    ) -> None:
        self.edge, self.grad, self.x, self.z, self.weights = edge, grad, x, z, weights
        self.values, self.mean, self.rstd = values, mean, rstd
        # Rows of the projections: Σ g, then Σ g·v̂ of what there is.
        self.maximum = 1 if edge.maxima else 0
        self.average = self.maximum + 1 if edge.averages else 0
        begin = 1 + len([row for row in (self.maximum, self.average) if row])
        self.skip = begin if edge.skips else 0
        begin += bool(edge.skips)
        self.rows = tuple(range(begin, begin + len(edge.finals)))
        # A branch's gradients of depthwise outputs have a slot, a factorized reduction's have two.
        self.slots, slots = [], 0
        for k in edge.first.ks:
            self.slots.append(slots)
            slots += 1 if k else 2
        self.d_depthwise = edge.empty(x, slots, edge.pixels, edge.width)
        dtypes = (x.dtype, x.dtype, torch.int8)
        self.pools = tuple(edge.empty(x, edge.pixels, edge.width, dtype=d) for d in dtypes) if edge.pools else None
        self.partials: list[Tensor] = [x] * len(weights)

    def run(self, d_x: Tensor, d_z: Tensor) -> list[Tensor]:
        """What programs contributed to the gradient of each weight."""
        edge, x = self.edge, self.x
        projections = edge.empty(x, 1 + self._row_count(), self._tiles(edge.tile), edge.width, dtype=edge.wide)
        _edge_backward.projections[(projections.shape[1], edge.blocks("BC"))](
            self.grad, x, self.values, self.mean, self.rstd, projections, edge.sizes, (self.grad.stride(), x.stride()),
            FINALS=edge.finals, ROWS=self.rows, POOL_ROWS=(self.maximum, self.average), SKIP_ROW=self.skip,
            STRIDE=edge.stride, **edge.tile, **BOUNDED,
        )  # fmt: skip
        sums = self._collected(projections, d_z, self._targets())

        if edge.finals or edge.pools:
            self._last_pointwise(sums)
        if len(edge.second):
            self._second(d_z)
        self._first(d_x)
        return self.partials

    def _row_count(self) -> int:
        return len(self.rows) + sum(bool(row) for row in (self.maximum, self.average, self.skip))

    def _targets(self) -> tuple[int, ...]:
        """Of every weight of z its row; −1 for `none`."""
        edge = self.edge
        targets = [-1] * len(self.z)
        for row, positions in ((self.maximum, edge.maxima), (self.average, edge.averages), (self.skip, edge.skips)):
            for l in positions:
                targets[l] = row
        for row, l in zip(self.rows, edge.positions, strict=True):
            targets[l] = row
        return tuple(targets)

    def _tiles(self, tile: dict[str, int]) -> int:
        return triton.cdiv(self.edge.pixels, tile["BM"])

    def _collected(self, partials: Tensor, d_z: Tensor, targets: tuple[int, ...]) -> Tensor:
        rows, programs, width = partials.shape
        sums = self.edge.empty(partials, rows, width, dtype=torch.float64)
        _edge_backward.collect[(rows,)](
            partials, sums, d_z, programs, width, TARGETS=targets, TILES=TILES, CHANNELS=CHANNELS, **BOUNDED
        )
        return sums

    def _contributed(self, rows: int, index: int) -> Tensor:
        """Room for what `rows` programs contribute to the gradient of weight `index`."""
        self.partials[index] = contributions(rows, self.weights[index])
        return self.partials[index]

    def _pointwise(
        self,
        grad: Tensor,
        z: Tensor | None,
        sums: Tensor,
        stages: Stages,
        numbers: tuple[int, ...],
        slots: tuple[int, ...],
        rows: tuple[int, ...],
        positions: tuple[int, ...],
        grad_strides: tuple[int, ...],
        next_grad: int,
        pools: tuple[Any, ...] | None,
    ) -> None:
        edge = self.edge
        programs = min(self._tiles(edge.pointwise_tile), _windows.CONTRIBUTORS, max(1, CONTRIBUTED // edge.width**2))
        for k, weight in zip(stages.ks, stages.weights, strict=True):
            for index in (weight, weight + 1) if k == 0 else (weight + 1,):
                self._contributed(programs, index)
        inputs, outputs = (triton.cdiv(edge.channels, edge.pointwise_tile[side]) for side in ("BK", "BN"))
        _edge_backward.pointwise[(programs, len(stages) + (pools is not None), inputs * (1 + outputs))](
            grad, z, sums, self.x, self.values, self.mean, self.rstd, _pairs(self.weights, stages),
            _pairs(self.partials, stages), self.d_depthwise, self.pools, edge.sizes,
            (grad_strides, self.x.stride(), next_grad),
            STAGES=numbers, SOURCES=tuple(stages.sources), KS=tuple(stages.ks), DILATIONS=tuple(stages.dilations),
            SLOTS=slots, POSITIONS=positions, ROWS=rows, POOLS=pools, STRIDE=edge.stride, PRECISION=edge.precision,
            **edge.pointwise_tile, **BOUNDED,
        )  # fmt: skip

    def _last_pointwise(self, sums: Tensor) -> None:
        """Back from the sum to the last depthwise convolution of every branch, and to the pools."""
        edge, stages, slots = self.edge, Stages(), []
        for number in edge.finals:
            kind, k = (edge.first, number) if number < len(edge.first) else (edge.second, number - len(edge.first))
            stages.add(kind.sources[k], kind.ks[k], kind.dilations[k], kind.weights[k])
            slots.append(self.slots[number if kind is edge.first else kind.sources[k]])
        rows = tuple(row for r in self.rows for row in (0, r))
        pools = (self.maximum, edge.maxima, self.average, edge.averages) if edge.pools else None
        self._pointwise(
            self.grad, self.z, sums, stages, edge.finals, tuple(slots), rows, edge.positions, self.grad.stride(), 0,
            pools,
        )  # fmt: skip

    def _second(self, d_z: Tensor) -> None:
        """Back through second stages and the norms before them to the first depthwise convolutions."""
        edge, x, stages = self.edge, self.x, self.edge.second
        programs = min(self._tiles(edge.tile), _windows.CONTRIBUTORS)
        slots = tuple(self.slots[source] for source in stages.sources)
        grads = edge.empty(x, len(stages), edge.pixels, edge.width)
        partials = edge.empty(x, 2 * len(stages), programs, edge.width, dtype=edge.wide)
        _edge_backward.second_stages[(programs, len(stages), edge.blocks("BC"))](
            self.d_depthwise, self.values, self.mean, self.rstd, tuple(self.weights[i] for i in stages.weights),
            tuple(self._contributed(programs, i) for i in stages.weights), grads, partials, edge.sizes,
            SOURCES=tuple(stages.sources), KS=tuple(stages.ks), SLOTS=slots, **edge.tile, **BOUNDED,
        )  # fmt: skip
        sums = self._collected(partials, d_z, ())
        before = Stages()
        for k in stages.sources:
            before.add(-1, edge.first.ks[k], edge.first.dilations[k], edge.first.weights[k])
        height, width = edge.shape[2:]
        strides = (height * width * edge.width, 1, width * edge.width, edge.width)
        self._pointwise(
            grads, None, sums, before, tuple(stages.sources), slots, tuple(range(2 * len(stages))), (), strides,
            edge.pixels * edge.width, None,
        )  # fmt: skip

    def _first(self, d_x: Tensor) -> None:
        """Back to x through everything that reads it."""
        edge, stages = self.edge, self.edge.first
        tiles = triton.cdiv(self.x.numel() // edge.channels, edge.tile["BM"])
        programs = min(tiles, _windows.CONTRIBUTORS)
        for k, weight in zip(stages.ks, stages.weights, strict=True):
            if k:
                self._contributed(programs, weight)
        _edge_backward.first_stages[(programs, edge.blocks("BC"))](
            self.d_depthwise, self.grad, self.z, self.x, self.pools, tuple(self.weights[i] for i in stages.weights),
            tuple(self.partials[i] for i in stages.weights), d_x, edge.sizes,
            (self.grad.stride(), self.x.stride(), d_x.stride()),
            KS=tuple(stages.ks), DILATIONS=tuple(stages.dilations), SLOTS=tuple(self.slots), SKIPS=edge.skips,
            POOLS=edge.pools, STRIDE=edge.stride, **edge.tile, **BOUNDED,
        )  # fmt: skip
