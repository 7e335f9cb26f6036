"""A whole edge in few launches: five forward and eleven backward, where the primitives one by one take over a hundred.

Forward: the first stage of every branch (ReLU, depthwise and pointwise convolution in one, or a factorized reduction)
with its statistics, and the pools' statistics; the statistics combined; the same two launches for the second stages,
the first norm and its ReLU folded into their reads; the weighted sum, with norms folded in and pools computed again.

Backward: the gradient against every branch, which gives dz and what the last norms need; those sums combined; back
through norms and pointwise convolutions to the depthwise ones, which are computed again for the weights' gradients, and
to the pools; through the second depthwise convolutions to the first norms; their sums; through the first pointwise
convolutions; and through all that reads x at once. What tiles contribute to the weights' gradients is added up in one
last launch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from . import _edge_backward, _edge_forward, _windows
from ._edge_plan import Edge
from ._launch import BOUNDED
from ._partials import add_up, contributions
from ._statistics import CHANNELS, TILES, statistics

EPS = 1e-5
# The op's numbers for memory levels.
STORE, STORE_BFLOAT16, RECOMPUTE = 0, 1, 2
# Elements of all programs' contributions to one pointwise weight, at most.
CONTRIBUTED = 1 << 21

Saved = tuple[Tensor, Tensor, Tensor]


def _last(x: Tensor) -> Tensor:
    """x where it is if channels are neighbours, else turned."""
    return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous(memory_format=torch.channels_last)


def _run_stages(edge: Edge, x: Tensor, weights: Sequence[Tensor], saved: Saved, *, again: bool) -> None:
    """Fill the values of all stages and, unless they are computed again, mean and rstd."""
    _, mean, rstd = saved
    BM = edge.product_tile["BM"]
    tiles = edge.tiles(edge.product_tile)
    number = 0
    for stages, first in ((edge.first, True), (edge.second, False)):
        pools = first and edge.pools and not again
        if not len(stages) and not pools:
            continue
        rows = len(stages) + 2 * pools
        shape = (rows, tiles, edge.padded)
        moments = None if again else (edge.empty(x, *shape, dtype=edge.wide), edge.empty(x, *shape, dtype=edge.wide))
        _edge_forward.stages[(tiles, len(stages) + pools, triton.cdiv(edge.padded, edge.product_tile["BN"]))](
            x, stages.pairs(weights), saved, moments, edge.sizes, x.stride(),
            FIRST=number, SOURCES=tuple(stages.sources), KS=tuple(stages.ks), DILATIONS=tuple(stages.dilations),
            POOLS=pools, STRIDE=edge.stride, PRECISION=edge.precision, **edge.product_tile, **BOUNDED,
        )  # fmt: skip
        if moments is not None:
            row = 0 if pools else 2 + number
            statistics[(triton.cdiv(edge.padded, CHANNELS), rows)](
                *moments, mean[row:], rstd[row:], EPS, edge.padded, edge.pixels, tiles,
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
    return y, values, edge.empty(x, edge.stages + 2, 2, edge.padded, dtype=torch.float64)


def mixed_op(
    x: Tensor, z: Tensor, weights: Sequence[Tensor], primitives: Sequence[int], stride: int, memory: int
) -> tuple[Tensor, Tensor, Tensor]:
    edge = Edge(x, primitives, stride)
    x, z, weights = _last(x), z.contiguous(), [w.contiguous() for w in weights]
    y, values, found = empty(x, z, weights, primitives, stride, memory)
    if memory == RECOMPUTE:
        values = edge.values(x, x.dtype)
    mean, rstd = found.view(2, edge.stages + 2, edge.padded)
    saved = values, mean, rstd
    with torch.cuda.device_of(x):
        _run_stages(edge, x, weights, saved, again=False)
        _edge_forward.weighted_sum[(edge.tiles(edge.tile), triton.cdiv(edge.padded, edge.tile["BC"]))](
            x, z, saved, y, edge.sizes, (x.stride(), y.stride()),
            STAGES=edge.last_stages, POSITIONS=edge.positions, MAX_POOLS=edge.max_pools,
            AVERAGE_POOLS=edge.average_pools, SKIPS=edge.skips, STRIDE=stride, **edge.tile, **BOUNDED,
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
    mean, rstd = statistics.contiguous().view(2, edge.stages + 2, edge.padded)
    d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    d_z, d_weights = torch.empty_like(z), [torch.empty_like(w) for w in weights]
    with torch.cuda.device_of(x):
        if memory == RECOMPUTE:
            values = edge.values(x, x.dtype)
            _run_stages(edge, x, weights, (values, mean, rstd), again=True)
        backward = _Backward(edge, _last(grad), x, z, weights, (values, mean, rstd))
        partials = backward.run(d_x, d_z)
        if weights:
            add_up(partials, d_weights)
    return [d_x, d_z, *d_weights]


class _Backward:
    """The launches of a backward pass and what they share."""

    def __init__(self, edge: Edge, grad: Tensor, x: Tensor, z: Tensor, weights: Sequence[Tensor], saved: Saved) -> None:
        self.edge, self.grad, self.x, self.z, self.weights, self.saved = edge, grad, x, z, weights, saved
        # Rows of the sums: Σ g, then Σ g·v̂ of what there is.
        self.max_row = 1 if edge.max_pools else 0
        self.average_row = self.max_row + 1 if edge.average_pools else 0
        begin = 1 + len([row for row in (self.max_row, self.average_row) if row])
        self.skip_row = begin if edge.skips else 0
        begin += bool(edge.skips)
        self.rows = tuple(range(begin, begin + len(edge.last_stages)))
        # The output gradients of depthwise convolutions have a slot each, a factorized reduction's have two.
        self.slots, slots = [], 0
        for k in edge.first.ks:
            self.slots.append(slots)
            slots += 1 if k else 2
        self.d_depthwise = edge.empty(x, slots, edge.pixels, edge.padded)
        dtypes = (x.dtype, x.dtype, torch.int8)
        self.pools = tuple(edge.empty(x, edge.pixels, edge.padded, dtype=d) for d in dtypes) if edge.pools else None
        self.partials: list[Tensor] = [x] * len(weights)

    def run(self, d_x: Tensor, d_z: Tensor) -> list[Tensor]:
        """What programs contributed to the gradient of each weight."""
        edge, x = self.edge, self.x
        rows = 1 + len(self.rows) + sum(bool(row) for row in (self.max_row, self.average_row, self.skip_row))
        partials = edge.empty(x, rows, edge.tiles(edge.tile), edge.padded, dtype=edge.wide)
        _edge_backward.projections[(partials.shape[1], self._channel_blocks())](
            self.grad, x, self.saved, partials, edge.sizes, (self.grad.stride(), x.stride()),
            STAGES=edge.last_stages, ROWS=self.rows, POOL_ROWS=(self.max_row, self.average_row),
            SKIP_ROW=self.skip_row, STRIDE=edge.stride, **edge.tile, **BOUNDED,
        )  # fmt: skip
        sums = self._collect(partials, d_z, self._row_of_z())
        if edge.last_stages:
            slots = [self.slots[n if n < len(edge.first) else edge.second.sources[n - len(edge.first)]]
                     for n in edge.last_stages]  # fmt: skip
            rows_of_stages = tuple(row for r in self.rows for row in (0, r))
            self._pointwise(self.grad, self.grad.stride(), 0, sums, edge.last_stages, slots, rows_of_stages, self.z)
        if self.pools is not None:
            self._pool_output_gradient(sums)
        if len(edge.second):
            self._second(d_z)
        self._first(d_x)
        return self.partials

    def _row_of_z(self) -> tuple[int, ...]:
        """Of every weight in z its row; −1 for `none`."""
        edge = self.edge
        found = [-1] * len(self.z)
        for row, positions in (
            (self.max_row, edge.max_pools), (self.average_row, edge.average_pools), (self.skip_row, edge.skips)
        ):  # fmt: skip
            for l in positions:
                found[l] = row
        for row, l in zip(self.rows, edge.positions, strict=True):
            found[l] = row
        return tuple(found)

    def _channel_blocks(self) -> int:
        return triton.cdiv(self.edge.padded, self.edge.tile["BC"])

    def _programs(self, tile: dict[str, int]) -> int:
        """That contribute to weights' gradients; each takes several tiles."""
        return min(self.edge.tiles(tile), _windows.CONTRIBUTORS)

    def _collect(self, partials: Tensor, d_z: Tensor, row_of_z: tuple[int, ...]) -> Tensor:
        rows, programs, padded = partials.shape
        sums = self.edge.empty(partials, rows, padded, dtype=torch.float64)
        _edge_backward.collect[(rows,)](
            partials, sums, d_z, programs, padded, ROW_OF_Z=row_of_z, TILES=TILES, CHANNELS=CHANNELS, **BOUNDED
        )
        return sums

    def _contributed(self, rows: int, index: int) -> Tensor:
        """Room for what `rows` programs contribute to the gradient of weight `index`."""
        self.partials[index] = contributions(rows, self.weights[index])
        return self.partials[index]

    def _pointwise(
        self,
        grad: Tensor,
        grad_strides: tuple[int, ...],
        next_grad: int,
        sums: Tensor,
        numbers: Sequence[int],
        slots: Sequence[int],
        rows: tuple[int, ...],
        z: Tensor | None,
    ) -> None:
        """Back through the norms and pointwise convolutions of the stages `numbers`, whose gradients are z·grad, or lie
        in grad one after the other, `next_grad` elements apart."""
        edge, tile = self.edge, self.edge.input_gradient_tile
        stages = edge.of_stages(numbers)
        positions = edge.positions if z is not None else ()
        inputs = triton.cdiv(edge.channels, tile["BK"])
        _edge_backward.pointwise_input_gradient[(self._programs(tile), len(stages), inputs)](
            grad, z, sums, self.saved, stages.pairs(self.weights), self.d_depthwise, edge.sizes,
            (grad_strides, next_grad),
            STAGES=tuple(numbers), KS=tuple(stages.ks), SLOTS=tuple(slots), POSITIONS=positions, ROWS=rows,
            PRECISION=edge.precision, **tile, **BOUNDED,
        )  # fmt: skip
        tile = edge.weight_gradient_tile
        blocks = math.prod(triton.cdiv(edge.channels, tile[side]) for side in ("BK", "BN"))
        programs = min(self._programs(tile), max(1, CONTRIBUTED // edge.padded**2))
        for k, weight in zip(stages.ks, stages.weights, strict=True):
            for index in (weight, weight + 1) if k == 0 else (weight + 1,):
                self._contributed(programs, index)
        _edge_backward.pointwise_weight_gradient[(programs, len(stages), blocks)](
            grad, z, sums, self.x, self.saved, stages.pairs(self.weights), stages.pairs(self.partials), edge.sizes,
            (grad_strides, next_grad, self.x.stride()),
            STAGES=tuple(numbers), SOURCES=tuple(stages.sources), KS=tuple(stages.ks),
            DILATIONS=tuple(stages.dilations), POSITIONS=positions, ROWS=rows, STRIDE=edge.stride,
            PRECISION=edge.precision, **tile, **BOUNDED,
        )  # fmt: skip

    def _pool_output_gradient(self, sums: Tensor) -> None:
        edge = self.edge
        _edge_backward.pool_output_gradient[(edge.tiles(edge.tile), self._channel_blocks())](
            self.grad, self.z, sums, self.x, self.saved, self.pools, edge.sizes, (self.grad.stride(), self.x.stride()),
            POOL_ROWS=(self.max_row, self.average_row), MAX_POOLS=edge.max_pools, AVERAGE_POOLS=edge.average_pools,
            STRIDE=edge.stride, **edge.tile, **BOUNDED,
        )  # fmt: skip

    def _second(self, d_z: Tensor) -> None:
        """Back through second stages and the norms before them to the first depthwise convolutions."""
        edge, x, stages = self.edge, self.x, self.edge.second
        programs = self._programs(edge.tile)
        slots = tuple(self.slots[source] for source in stages.sources)
        grads = edge.empty(x, len(stages), edge.pixels, edge.padded)
        partials = edge.empty(x, 2 * len(stages), programs, edge.padded, dtype=edge.wide)
        for index in stages.weights:
            self._contributed(programs, index)
        _edge_backward.second_stages_backward[(programs, len(stages), self._channel_blocks())](
            self.d_depthwise, self.saved, stages.depthwise(self.weights), stages.depthwise(self.partials), grads,
            partials, edge.sizes, SOURCES=tuple(stages.sources), KS=tuple(stages.ks), SLOTS=slots,
            **edge.tile, **BOUNDED,
        )  # fmt: skip
        sums = self._collect(partials, d_z, ())
        rows = tuple(range(2 * len(stages)))
        next_grad = edge.pixels * edge.padded
        self._pointwise(grads, edge.stage_strides, next_grad, sums, stages.sources, slots, rows, None)

    def _first(self, d_x: Tensor) -> None:
        """Back to x through everything that reads it."""
        edge, stages = self.edge, self.edge.first
        tiles = triton.cdiv(self.x.numel() // edge.channels, edge.tile["BM"])
        programs = min(tiles, _windows.CONTRIBUTORS)
        for k, weight in zip(stages.ks, stages.weights, strict=True):
            if k:
                self._contributed(programs, weight)
        _edge_backward.first_stages_backward[(programs, self._channel_blocks())](
            self.d_depthwise, self.grad, self.z, self.x, self.pools, stages.depthwise(self.weights),
            stages.depthwise(self.partials), d_x, edge.sizes, (self.grad.stride(), self.x.stride(), d_x.stride()),
            KS=tuple(stages.ks), DILATIONS=tuple(stages.dilations), SLOTS=tuple(self.slots), SKIPS=edge.skips,
            STRIDE=edge.stride, **edge.tile, **BOUNDED,
        )  # fmt: skip
