"""base_fast's fused edges in a search network that was written for PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import torch
from torch import Tensor, nn

from base_fast.errors import InputError
from base_fast.nn.darts_edge import DartsEdge, darts_edges
from base_fast.nn.mixed_op import MixedOp
from base_fast.nn.parity import Errors, Parity, Probe
from base_fast.ops.memory import MEMORY

# What makes two edges equally fast.
_Kind: TypeAlias = tuple[int, int, tuple[str, ...]]
_COLUMNS = (
    *("edges", "channels", "stride", "primitives"),
    *("output (PyTorch's)", "gradients (PyTorch's)", "ms before", "after", "speed-up"),
)


@dataclass(frozen=True)
class PatchedEdge:
    """One edge of the report; `seconds_before` and `seconds_after` were measured on an edge of its kind."""

    name: str
    channels: int
    stride: int
    primitives: tuple[str, ...]
    parity: Parity
    seconds_before: float
    seconds_after: float


@dataclass(frozen=True)
class PatchReport:
    """What `patch` did; its `str` is a table."""

    edges: tuple[PatchedEdge, ...]
    left: tuple[str, ...]
    """Edges of `none` and identities alone, where there is nothing to fuse: they stay as they were."""
    running: int
    """Batch norms whose running statistics were dropped."""
    setting: str

    @property
    def seconds(self) -> tuple[float, float]:
        """Forward and backward of all edges, before and after."""
        return sum(e.seconds_before for e in self.edges), sum(e.seconds_after for e in self.edges)

    @property
    def speed_up(self) -> float:
        """Seconds before, over seconds after."""
        before, after = self.seconds
        return before / after

    def __str__(self) -> str:
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


def patch(model: nn.Module, batch_size: int = 4, resolution: int = 16, memory: str = "store") -> PatchReport:
    """Replace, in place, every mixed edge of a DARTS-style model by a fused `nn.MixedOp`.

    A mixed edge is a module with one ModuleList `_ops`, one entry per primitive, called as `edge(x, weights)`. Entries
    are recognized by their layers, in any order and number, under any names: the primitives of DARTS (pools followed by
    a BatchNorm2d; separable and dilated convolutions; the factorized reduction; an identity; a zero with its `stride`)
    and the dense convolutions of NAS-Bench-201. Each edge is compared with its replacement on a random batch; the
    model changes only after all of them have agreed.

    **Kept**: the parameters, the very same objects, so that optimizers go on; their names in the state dict; training
    mode, and what the model computes in it.

    **Changed**: batch norms keep no running statistics. In `eval()` a fused edge uses those of the batch, where the
    module used its running averages: validation then depends on how images are batched, as training does. Keeping
    the old module for `eval()` would be worse: its averages would have stopped at the patch. `patch` warns if there
    were any. They vanish from the state dict; older state dicts load all the same, and an unpatched model loads a new
    one with `strict=False`.

    Args:
        model: any device; float32, float64 or bfloat16. It contains the edges, and is not one itself.
        batch_size, resolution: parity and time are those of x (batch_size, C, resolution, resolution). For the speed-up
            in a training, give its own; the factorized reductions of DARTS need even numbers.
        memory: what the fused edges keep for backward, see `ops.mixed_op`. Times are measured with it, parity with
            "store", which rounds nothing.

    Returns:
        Errors and times, edge by edge.

    Raises:
        InputError: the model has no such edge; an edge has affine batch norms, other pools, other submodules (partial
            channels, as in PC-DARTS), hooks or anything that cannot be recognized; it and its replacement disagree.
            The model is then as it was.
    """
    for name, value in (("batch_size", batch_size), ("resolution", resolution)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name}: got {value!r}, expected an integer ≥ 1")
    if memory not in MEMORY:
        raise InputError(f"memory: got {memory!r}, expected one of {', '.join(MEMORY)}")
    found = darts_edges(model)
    edges = [edge for edge in found if not edge.is_trivial]
    if not edges:
        raise InputError(
            f"model: got {type(model).__name__} without an edge to fuse, expected modules with a ModuleList "
            "`_ops`, one entry per primitive"
        )
    if any(edge.module is model for edge in edges):
        raise InputError("model: got an edge itself, expected the model that contains it")

    seconds: dict[_Kind, tuple[float, float]] = {}
    patched = []
    with torch.enable_grad():
        for edge in edges:
            probe = Probe(edge, _like(edge.module, model), batch_size, resolution)
            parity = probe.parity()
            kind = (edge.channels, edge.stride, edge.primitives)
            if kind not in seconds:
                seconds[kind] = probe.seconds(memory)
            patched.append(PatchedEdge(edge.name, *kind, parity, *seconds[kind]))

    _swap(model, edges, memory)
    report = PatchReport(
        tuple(patched),
        tuple(edge.name for edge in found if edge.is_trivial),
        sum(edge.running for edge in edges),
        _setting(_like(model), batch_size, resolution),
    )
    if report.running:
        warnings.warn(_in_eval(report.running), stacklevel=2)
    return report


def _like(*modules: nn.Module) -> Tensor:
    """A tensor of their device and dtype: an edge of pools alone has none of its own."""
    return next(chain.from_iterable(module.parameters() for module in modules), torch.empty(0, device="cpu"))


def _setting(like: Tensor, batch_size: int, resolution: int) -> str:
    threads = torch.get_num_threads()
    where = f"{threads} thread{'s' * (threads > 1)}" if like.device.type == "cpu" else str(like.device)
    return f"{batch_size} images of {resolution}×{resolution}, {str(like.dtype).removeprefix('torch.')}, {where}"


def _swap(model: nn.Module, edges: Sequence[DartsEdge], memory: str) -> None:
    fused = {
        edge.module: MixedOp.around(edge.weights, edge.channels, edge.stride, edge.primitives, memory).train(
            edge.module.training
        )
        for edge in edges
    }
    # An edge may be registered in several places.
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in fused:
                parent._modules[name] = fused[child]
