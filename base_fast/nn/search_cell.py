"""The search cells of NAS-Bench-201 as AutoDL-Projects writes them: each node's sum in one op, without `none`.

DrNAS's have partial channels: the first 1/K of a node's meets the candidates, the rest is added up, and all are
shuffled. Convolutions and pools stay PyTorch's modules, called as before, with their running statistics; so `eval()` is
what it was.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast import ops
from base_fast.errors import InputError
from base_fast.nn.conduct import PARTS, SAME, same_draws
from base_fast.nn.darts_edge import layer_in_words
from base_fast.nn.fused import Fused, become

ROUNDS = 5


@dataclass(frozen=True)
class SearchCell:
    """A module that holds `edges`: a ModuleDict from "i<-j" to a ModuleList of candidates, one weight for each."""

    name: str
    module: nn.Module
    channels: int
    """Of the images."""
    shape: tuple[int, int]
    """Of the weights: edges, candidates."""
    parts: int = 1
    """One of so many parts of the channels meets the candidates."""


@dataclass(frozen=True)
class PatchedCells:
    """Cells of a model that were fused; seconds are those of forward and backward of all, from one of each kind."""

    names: tuple[str, ...]
    seconds_before: float
    seconds_after: float

    def __str__(self) -> str:
        before, after = 1e3 * self.seconds_before, 1e3 * self.seconds_after
        return (
            f"{len(self.names)} cells of NAS-Bench-201 with fused sums: {before:.2f} ms before, {after:.2f} after, "
            f"{before / after:.1f}×; parity: yes, in training and in eval()"
        )


class FusedCell(Fused):
    """The forward pass of a cell, ahead of the module's own class."""

    def forward(self, inputs: Tensor, weightss: Tensor) -> Tensor:
        """inputs (B, C, H, W), weightss (E, L) → (B, C, H, W)."""
        edges: Any = self._modules["edges"]
        index: dict[str, int] = self.__dict__["edge2index"]
        nodes, parts = [inputs], self._parts
        for i in range(1, self.__dict__["max_nodes"]):
            # A single part is the tensor itself, not a view of it.
            firsts = nodes if parts == 1 else [x[:, : x.shape[1] // parts] for x in nodes]
            branches: list[Tensor | None] = []
            weights = []
            for j, x in enumerate(firsts):
                key = f"{i}<-{j}"
                branches += [_branch(kind, op, x) for kind, op in zip(self._kinds[key], edges[key], strict=True)]
                weights.append(weightss[index[key]])
            if all(branch is None for branch in branches):
                branches[0] = firsts[0] * 0.0
            dtype = next(branch.dtype for branch in branches if branch is not None)
            y = ops.mixed_sum(branches, torch.cat(weights).to(dtype))
            if parts > 1:
                passed = torch.stack([x[:, y.shape[1] :] for x in nodes]).sum(dim=0)
                y = F.channel_shuffle(torch.cat([y, passed], dim=1), parts)
            nodes.append(y)
        return nodes[-1]

    _kinds: dict[str, list[str]]
    _parts: int = 1


def _branch(kind: str, op: nn.Module, x: Tensor) -> Tensor | None:
    if kind == "Zero(stride 1)":
        return None
    y: Tensor = x if kind == "Identity()" else op(x)
    return y


def search_cells(model: nn.Module, patterns: Sequence[str]) -> list[SearchCell]:
    """The cells of a model in module order, those left out that are fused already."""
    found = []
    for name, module in model.named_modules():
        edges = module._modules.get("edges")
        named = any(fnmatchcase(name, pattern) for pattern in patterns)
        if named and isinstance(edges, nn.ModuleDict) and not isinstance(module, Fused) and _is_cell(module, edges):
            lists: list[Any] = list(edges.values())
            convolutions = (m for m in edges.modules() if isinstance(m, nn.Conv2d))
            channels = next((m.in_channels for m in convolutions), 4)
            found.append(SearchCell(name, module, channels, (len(lists), len(lists[0]))))
    return found


def _is_cell(module: nn.Module, edges: nn.ModuleDict) -> bool:
    lists = all(isinstance(entry, nn.ModuleList) and re.fullmatch(r"\d+<-\d+", key) for key, entry in edges.items())
    return len(edges) > 0 and lists and hasattr(module, "edge2index") and hasattr(module, "max_nodes")


def fuse_cell(module: nn.Module, parts: int) -> None:
    """Fuse a cell's sums in place."""
    module.__dict__["_parts"] = parts
    edges: Any = module._modules["edges"]
    module.__dict__["_kinds"] = {
        key: [layer_in_words(op, alone=True) if not (op._modules or _hooked(op)) else "" for op in entry]
        for key, entry in edges.items()
    }
    become(module, FusedCell)


def fuse_cells(cells: Sequence[SearchCell], like: Tensor, batch_size: int, resolution: int) -> PatchedCells:
    """Check and time a cell of every kind, then fuse all in place.

    Raises:
        InputError: a cell does something else; none is changed then.
    """
    kinds: dict[tuple[Any, ...], list[SearchCell]] = {}
    for cell in cells:
        kinds.setdefault((type(cell.module), cell.channels, repr(cell.module)), []).append(cell)
    before = after = 0.0
    fusible = []
    for members in kinds.values():
        parts = _parts_of(members[0])
        fusible += [(cell.module, parts) for cell in members]
        first = replace(members[0], parts=parts, channels=members[0].channels * parts)
        plain, fused = _seconds(first, like, batch_size, resolution)
        before, after = before + plain * len(members), after + fused * len(members)
    for module, parts in fusible:
        fuse_cell(module, parts)
    return PatchedCells(tuple(cell.name for cell in cells), before, after)


def _parts_of(cell: SearchCell) -> int:
    """One of how many parts of the channels meets the candidates.

    Raises:
        InputError: the cell is none of them; what is said is why it has not one part.
    """
    refused = None
    for parts in PARTS:
        try:
            _check(replace(cell, parts=parts, channels=cell.channels * parts))
        except InputError as error:
            refused = refused or error
        else:
            return parts
    assert refused is not None
    raise refused


def _check(cell: SearchCell) -> None:
    plain = copy.deepcopy(cell.module).to("cpu", torch.float64).requires_grad_()
    fused = copy.deepcopy(plain)
    fuse_cell(fused, cell.parts)
    draws = torch.Generator().manual_seed(0)
    for size, scale, mode in (((6, 6), 1.0, True), ((5, 7), 1e3, True), ((6, 5), 1.0, False), ((6, 6), 1e3, False)):
        results = []
        x = scale * torch.randn(2, cell.channels, *size, generator=draws, dtype=torch.float64, device="cpu")
        z = torch.randn(cell.shape, generator=draws, dtype=torch.float64, device="cpu")
        for module in (plain, fused):
            try:
                results.append(_pass(module.train(mode), x, z))
            except Exception as error:
                shapes = f"inputs {tuple(x.shape)} and weights {tuple(z.shape)}"
                raise InputError(f"{cell.name}: called with {shapes}: {type(error).__name__}: {error}") from error
        for expected, found in zip(*results, strict=True):
            if found.shape != expected.shape or not (found - expected).norm() <= SAME * expected.norm() + 1e-300:
                raise InputError(
                    f"{cell.name}: got a cell that is not the sum of its edges' candidates, on images of "
                    f"{size[0]}×{size[1]}{' in eval()' * (not mode)}"
                )


def _pass(module: nn.Module, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    x, z = x.detach().requires_grad_(), z.detach().requires_grad_()
    with same_draws(x.device):
        y = module(x, z)
    upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view(y.shape)
    return y.detach(), *torch.autograd.grad(y, [x, z], upstream)


def _seconds(cell: SearchCell, like: Tensor, batch_size: int, resolution: int) -> tuple[float, float]:
    plain = copy.deepcopy(cell.module).train()
    fused = copy.deepcopy(plain)
    fuse_cell(fused, cell.parts)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(batch_size, cell.channels, resolution, resolution, generator=draws, device="cpu").to(like)
    z = torch.randn(cell.shape, generator=draws, device="cpu").softmax(-1).to(like)
    times: list[list[float]] = []
    for _ in range(ROUNDS + 1):
        times.append([])
        for module in (plain, fused):
            began = time.perf_counter()
            _pass(module, x, z)
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
            times[-1].append(time.perf_counter() - began)
    before, after = (median(column) for column in zip(*times[1:], strict=True))
    return before, after


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
