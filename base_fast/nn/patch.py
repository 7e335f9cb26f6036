"""base_fast's fused edges in a search network that was written for PyTorch, and out of it again."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.nn.conduct import kind_of, parts_of
from base_fast.nn.darts_edge import UNKNOWN, DartsEdge, darts_edges
from base_fast.nn.fused import Fused
from base_fast.nn.fused_edge import check_memory, fuse, unfuse
from base_fast.nn.parity import Errors, Parity, Probe
from base_fast.nn.search_cell import PatchedCells, fuse_cells, search_cells
from base_fast.runs.progress import progress

# Images and pixels a side, at most, on which gradients are compared: float64 is slow.
PARITY = (4, 16)

# What makes two edges equally fast.
_Kind: TypeAlias = tuple[int, int, tuple[str, ...]]
_COLUMNS = (
    *("edges", "channels", "stride", "primitives"),
    *("output (PyTorch's)", "gradients (PyTorch's)", "ms before", "after", "speed-up"),
)


@dataclass(frozen=True)
class PatchedEdge:
    """One edge of the report; parity and seconds were measured on an edge of its kind."""

    name: str
    channels: int
    stride: int
    primitives: tuple[str, ...]
    parity: Parity
    seconds_before: float
    seconds_after: float
    left: int = 0
    """Entries that PyTorch goes on computing."""
    parts: int = 1
    """One of so many parts of the channels passes the primitives."""


@dataclass(frozen=True)
class PatchReport:
    """What `patch` did; its `str` is a table."""

    edges: tuple[PatchedEdge, ...]
    left: tuple[str, ...]
    """Edges of `none` and identities alone, where there is nothing to fuse: they stay as they were."""
    running: int
    """Batch norms whose running statistics were dropped."""
    setting: str
    cells: PatchedCells | None = None
    """Cells of NAS-Bench-201, whose sums were fused."""

    @property
    def seconds(self) -> tuple[float, float]:
        """Forward and backward of all edges and cells, before and after."""
        every: list[PatchedEdge | PatchedCells] = [*self.edges, *([self.cells] if self.cells else [])]
        return sum(e.seconds_before for e in every), sum(e.seconds_after for e in every)

    @property
    def speed_up(self) -> float:
        """Seconds before, over seconds after."""
        before, after = self.seconds
        return before / after

    def __str__(self) -> str:
        cells = [str(self.cells)] if self.cells else []
        return "\n".join([*cells, *([self._of_edges()] if self.edges else [])])

    def _of_edges(self) -> str:
        kinds: dict[_Kind, list[PatchedEdge]] = {}
        for edge in self.edges:
            kinds.setdefault((edge.channels, edge.stride, edge.primitives), []).append(edge)
        rows: list[tuple[str, ...]] = [_COLUMNS]
        for (channels, stride, primitives), edges in kinds.items():
            rows.append((str(len(edges)), str(channels), str(stride), str(len(primitives)), *_measured(edges)))
        if len(kinds) > 1:
            rows.append((str(len(self.edges)), "", "", "", *_measured(self.edges)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        same = max(max(e.parity.fused64.output, e.parity.fused64.gradient) for e in self.edges)
        lines = [
            f"{len(self.edges)} fused edges; forward and backward of {self.setting}",
            "",
            *table,
            "",
            f"parity: yes. Largest relative errors against float64; both definitions in float64 differ by {same:.1e}.",
        ]
        if any(e.left for e in self.edges):
            count = sum(e.left for e in self.edges)
            lines.append(f"{count} entries that are no primitives are left to PyTorch, and a part of the times.")
        if self.running:
            lines.append(_in_eval(self.running))
        if self.left:
            lines.append(f"left as they were, with nothing to fuse: {', '.join(self.left)}")
        return "\n".join(lines)


def _measured(edges: Sequence[PatchedEdge]) -> tuple[str, ...]:
    def worst(errors: Sequence[Errors]) -> tuple[float, float]:
        return max(e.output for e in errors), max(e.gradient for e in errors)

    ours, theirs = worst([e.parity.fused for e in edges]), worst([e.parity.pytorch for e in edges])
    before, after = sum(e.seconds_before for e in edges), sum(e.seconds_after for e in edges)
    errors = (f"{a:.1e} ({b:.1e})" for a, b in zip(ours, theirs, strict=True))
    return *errors, f"{1e3 * before:.2f}", f"{1e3 * after:.2f}", f"{before / after:.1f}×"


def _in_eval(running: int) -> str:
    return (
        f"The running statistics of {running} batch norms were dropped: in eval() fused edges still normalize by the "
        "statistics of the batch. Validate in batches as large as those of training."
    )


def patch(
    model: nn.Module,
    batch_size: int = 4,
    resolution: int = 16,
    memory: str = "store",
    *,
    ops: str = "_ops",
    edges: str | Sequence[str] = "*",
    unknown: str = "refuse",
) -> PatchReport:
    """Fuse, in place, the forward pass of every mixed edge of a DARTS-style model; `unpatch` undoes it.

    A mixed edge is a module with one ModuleList `_ops`, one entry per primitive, called as `edge(x, weights)`. Entries
    are recognized by their layers, in any order and number, under any names: the primitives of DARTS (pools followed by
    a BatchNorm2d; separable and dilated convolutions; the factorized reduction; an identity; a zero with its `stride`)
    and the dense convolutions of NAS-Bench-201. Partial channels are those of PC-DARTS, with the pool `mp`. An edge of
    every kind is compared with its fused self on random batches; the model changes only after all have agreed. Of the
    cells that AutoDL-Projects and DrNAS search NAS-Bench-201 with, the sums are fused, and their layers stay PyTorch's.

    **Kept**: the modules, whose class gets a fused subclass; parameters, the very same objects, so that optimizers go
    on; names in the state dict; training mode, and what the model computes in it.

    **Changed**: fused batch norms keep no running statistics. In `eval()` a fused edge uses those of the batch, where
    the module used its running averages: validation then depends on how images are batched, as training does. Keeping
    them would be worse: the averages would have stopped at the patch. `patch` warns if there were any. They vanish
    from the state dict; older state dicts load all the same, and an unpatched model loads a new one with
    `strict=False`. Modules inside an edge are not called: hooks on them are silent.

    Args:
        model: any device; float32, float64 or bfloat16. It contains the edges, and is not one itself.
        batch_size, resolution: time is that of x (batch_size, C, resolution, resolution); parity that of at most 4
            images of 16×16. For the speed-up in a training, give its own; the factorized reductions of DARTS need even
            numbers.
        memory: what the fused edges keep for backward, see `ops.mixed_op`. Times are measured with it, parity with
            "store", which rounds nothing.
        ops: the attribute that holds an edge's primitives; "m_ops" in P-DARTS.
        edges: names of the edges to fuse, as `model.named_modules()` has them, or patterns ("cells.0.*").
        unknown: "refuse" a model with an entry that is no primitive, or "leave" such entries to PyTorch and fuse the
            others of the edge.

    Returns:
        Errors and times, edge by edge.

    Raises:
        InputError: the model has no such edge; an edge is called with more arguments, or has affine batch norms, other
            pools, other submodules, hooks or anything that cannot be recognized; it does something else than its
            primitives. The model is then as it was.
    """
    batch_size, resolution = integer("batch_size", batch_size, 1), integer("resolution", resolution, 1)
    check_memory(memory)
    if unknown not in UNKNOWN:
        raise InputError(f"unknown: got {unknown!r}, expected one of {', '.join(UNKNOWN)}")
    patterns = (edges,) if isinstance(edges, str) else tuple(edges)
    found = darts_edges(model, ops, patterns, unknown)
    fusible = [edge for edge in found if not edge.is_trivial]
    cells = search_cells(model, patterns)
    if not fusible and not cells:
        raise InputError(f"model: got {type(model).__name__} {_without(model, ops, patterns)}")
    if any(edge.module is model for edge in fusible):
        raise InputError("model: got an edge itself, expected the model that contains it")
    like = _like(model)
    if like.is_meta:
        raise InputError("model: got one on the meta device, expected values, which patch compares")

    kinds: dict[tuple[Any, ...], list[DartsEdge]] = {}
    for edge in fusible:
        kinds.setdefault(kind_of(edge), []).append(edge)
    measured: dict[str, tuple[int, Parity, tuple[float, float]]] = {}
    with torch.enable_grad(), progress("comparing kinds of edges", len(kinds)) as bar:
        for (first, *_), same in ((members, members) for members in kinds.values()):
            like_edge = _like(first.module, model)
            parts = parts_of(first)
            small = min(batch_size, PARITY[0]), min(resolution, PARITY[1])
            parity = Probe(first, parts, like_edge, *small).parity()
            seconds = Probe(first, parts, like_edge, batch_size, resolution, memory).seconds()
            measured |= {edge.name: (parts, parity, seconds) for edge in same}
            bar.advance(edges=sum(map(len, kinds.values())))

    fused_cells = fuse_cells(cells, like, batch_size, resolution) if cells else None
    for edge in fusible:
        fuse(edge, edge.module, measured[edge.name][0], memory)
    report = PatchReport(
        tuple(_patched(edge, *measured[edge.name]) for edge in fusible),
        tuple(edge.name for edge in found if edge.is_trivial),
        sum(edge.running for edge in fusible),
        _setting(like, batch_size, resolution),
        fused_cells,
    )
    if report.running:
        warnings.warn(_in_eval(report.running), stacklevel=2)
    return report


def unpatch(model: nn.Module) -> int:
    """Make every fused edge of a model, in place, the module that it was; returns how many there were.

    Parameters are those of now. Running statistics are those of the moment of the patch: run some batches in training
    mode before `eval()`, of which `patch`'s documentation says why.

    Raises:
        InputError: the model has no fused edge.
    """
    fused = [module for module in model.modules() if isinstance(module, Fused)]
    if not fused:
        raise InputError(f"model: got {type(model).__name__} without a fused edge, expected one that was patched")
    old = sum(unfuse(module) for module in fused)
    if old:
        warnings.warn(
            f"The running statistics of {old} batch norms are those of the time of the patch. Run batches in training "
            "mode before eval().",
            stacklevel=2,
        )
    return len(fused)


def _patched(edge: DartsEdge, parts: int, parity: Parity, seconds: tuple[float, float]) -> PatchedEdge:
    left = sum(entry is None for entry in edge.entries)
    return PatchedEdge(edge.name, edge.channels * parts, edge.stride, edge.primitives, parity, *seconds, left, parts)


def _without(model: nn.Module, ops: str, patterns: Sequence[str]) -> str:
    """Why there is nothing to fuse, in words."""
    fused = sum(isinstance(module, Fused) for module in model.modules())
    if fused:
        return f"whose {fused} edges are fused already; bf.nn.unpatch undoes it"
    own = f"without an edge to fuse, expected modules with a ModuleList `{ops}`, one entry per primitive"
    if patterns != ("*",):
        own += f", under names like {', '.join(patterns)}"
    for name, module in model.named_modules():
        for attribute, child in module._modules.items():
            if attribute != ops and isinstance(child, nn.ModuleList) and _takes_two(module):
                where = f"{name}.{attribute}" if name else attribute
                return f"{own}; if `{where}` is one, pass ops={attribute!r}"
    return own


def _takes_two(module: nn.Module) -> bool:
    return len(inspect.signature(module.forward).parameters) == 2


def _like(*modules: nn.Module) -> Tensor:
    """A tensor of their device and dtype: an edge of pools alone has none of its own."""
    return next(chain.from_iterable(module.parameters() for module in modules), torch.empty(0, device="cpu"))


def _setting(like: Tensor, batch_size: int, resolution: int) -> str:
    threads = torch.get_num_threads()
    where = f"{threads} thread{'s' * (threads > 1)}" if like.device.type == "cpu" else str(like.device)
    return f"{batch_size} images of {resolution}×{resolution}, {str(like.dtype).removeprefix('torch.')}, {where}"
