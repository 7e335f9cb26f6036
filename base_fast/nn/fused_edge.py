"""A mixed edge of somebody's own module, with its forward pass fused: what `patch` makes of it, in place.

The module stays: its parameters, names, attributes and methods, and its class, of which the fused one is a subclass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast import ops
from base_fast.errors import InputError
from base_fast.nn.darts_edge import DartsEdge
from base_fast.nn.fused import Fused, become
from base_fast.ops.memory import MEMORY

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass
class Fusion:
    """How a module is to be computed."""

    ops: str
    arguments: tuple[str, str]
    stride: int
    primitives: tuple[str, ...]
    known: list[int] | None
    """Which entries they are; None for all."""
    left: list[int]
    """The entries that PyTorch computes."""
    places: list[tuple[list[str], str]]
    """Where the weights are: modules on the way, and the name."""
    parts: int
    """One of so many parts of the channels passes the primitives (Xu et al. 2020)."""
    memory: str
    dropped: dict[str, dict[str, Tensor | None]] = field(default_factory=dict)
    """Running statistics by norm, for `unfuse`."""

    def weights(self, module: nn.Module) -> list[Tensor]:
        # Not `parameters`: it walks through all modules at every call, and misses the plain attributes of the replicas
        # that nn.DataParallel makes, and the second place of a shared weight.
        found = []
        for parents, leaf in self.places:
            holder: Any = module
            for name in parents:
                holder = holder._modules[name]
            found.append(getattr(holder, leaf))
        return found

    def __call__(self, module: nn.Module, x: Tensor, z: Tensor) -> Tensor:
        part = x if self.parts == 1 else x[:, : x.shape[1] // self.parts]
        known = z if self.known is None else z[self.known]
        y = ops.mixed_op(part, known, self.weights(module), self.primitives, self.stride, memory=self.memory)
        if self.left:
            entries: Any = module._modules[self.ops]
            others = [entries[i](part) for i in self.left]
            y = ops.mixed_sum([y, *others], torch.cat([z.new_ones(1), z[self.left]]).to(y.dtype))
        if self.parts == 1:
            return y
        rest = x[:, part.shape[1] :]
        return F.channel_shuffle(torch.cat([y, rest if self.stride == 1 else F.max_pool2d(rest, 2, 2)], 1), self.parts)


class FusedEdge(Fused):
    """The fused forward pass of an edge. Its batch norms have no running statistics."""

    _fusion: Fusion

    def forward(self, *args: Any, **named: Any) -> Tensor:
        """x (B, C, H, W), weights (L,) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉), under the names that the module gave them."""
        if named:
            names = self._fusion.arguments[len(args) :]
            if set(named) == set(names):
                args = (*args, *(named[name] for name in names))
                named = {}
        if named or len(args) != 2:
            given = ", ".join([*(type(a).__name__ for a in args), *named])
            raise InputError(f"edge: got a call with ({given}), expected ({', '.join(self._fusion.arguments)})")
        return self._fusion(self, *args)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The dictionary is load_state_dict's own.
        for norm in self._fusion.dropped:
            for name in _STATISTICS:
                state_dict.pop(f"{prefix}{norm}.{name}", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def fuse(edge: DartsEdge, module: nn.Module, parts: int, memory: str) -> None:
    """Fuse the forward pass of `module`, which is that of `edge` or a copy, in place."""
    left = [i for i, entry in enumerate(edge.entries) if entry is None]
    known = [i for i, entry in enumerate(edge.entries) if entry is not None]
    places = [(parents, leaf) for *parents, leaf in (path.split(".") for path in edge.weights)]
    fusion = Fusion(
        edge.ops, edge.arguments, edge.stride, edge.primitives, known if left else None, left, places, parts, memory
    )
    for name in edge.norms:
        norm = module.get_submodule(name)
        fusion.dropped[name] = {statistic: norm._buffers[statistic] for statistic in _STATISTICS}
        norm._buffers.update(dict.fromkeys(_STATISTICS))
        norm.track_running_stats = False  # type: ignore[assignment]
    module.__dict__["_fusion"] = fusion
    become(module, FusedEdge)


def unfuse(module: nn.Module) -> int:
    """Make of a fused module what it was; its running statistics are those of then. Returns how many norms have any."""
    module.__class__ = type(module).__bases__[1]
    fusion: Fusion | None = module.__dict__.pop("_fusion", None)
    if fusion is None:
        return 0
    like = next(module.parameters(), None)
    for name, statistics in fusion.dropped.items():
        norm = module.get_submodule(name)
        for statistic, value in statistics.items():
            if value is not None and like is not None:
                value = value.to(like.device, like.dtype if value.is_floating_point() else None)
            norm._buffers[statistic] = value
        norm.track_running_stats = True  # type: ignore[assignment]
    return len(fusion.dropped)


def check_memory(memory: str) -> None:
    """Raises InputError unless it is a level of `ops.mixed_op`."""
    if memory not in MEMORY:
        raise InputError(f"memory: got {memory!r}, expected one of {', '.join(MEMORY)}")
