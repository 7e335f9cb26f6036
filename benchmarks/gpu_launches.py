"""`python -m benchmarks.gpu_launches`: how many kernels an edge launches on a GPU, ours and PyTorch's own.

Counted without one, on tensors that hold no numbers: of ours every Triton launch, of either side every operation of
ATen that computes. Views and allocations count nothing. An operation counts one, of a convolution's backward each
gradient, which is kind to PyTorch: cuDNN may transpose and reduce besides. Batch norm without affine parameters is
ATen's own: three kernels forward (mean and variance, 1/σ, the norm) and, channels-last, two backward (sums, gradient).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from base_fast.reports.tables import ResultTable, print_table
from base_fast.space import DARTS, PRIMITIVES
from benchmarks.plain_darts import PlainMixedOp

SHAPE = (64, 16, 32, 32)


class Operations(TorchDispatchMode):
    """Counts what ATen computes while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.name()] += kernels(func, args)
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return self.counts.total()


def kernels(func: Any, args: Sequence[Any]) -> int:
    """How many kernels an operation launches at least."""
    name = func.name().partition("::")[2]
    if name.startswith(("empty", "new_empty")):
        return 0
    if any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns):
        return 0  # a view
    if name.startswith("convolution_backward"):
        return sum(args[-1])
    if "batch_norm" in name:
        return 2 if "backward" in name else 3
    return 1


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """While open, Triton launches are counted by kernel and do nothing, and so are operations of ATen."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    operations = Operations()

    def count(self: Any, *args: Any, **kwargs: Any) -> None:
        operations.counts[self.__name__.strip("_")] += 1

    before = {kind: kind.run for kind in (JITFunction, InterpretedFunction)}
    for kind in before:
        kind.run = count
    try:
        with operations:
            yield operations.counts
    finally:
        for kind, run in before.items():
            kind.run = run


@dataclass(frozen=True)
class Launches:
    """Of one edge, forward and backward."""

    name: str
    eager: tuple[int, int]
    ours: tuple[int, int]

    @property
    def ratio(self) -> float:
        return sum(self.eager) / sum(self.ours)


def edge(name: str, stride: int, memory: int) -> Launches:
    """An edge of the eight DARTS primitives, in the published modules and in mixed_op."""
    from base_fast.kernels import mixed_op

    modules = PlainMixedOp(SHAPE[1], stride).to("meta", memory_format=torch.channels_last)
    x = torch.empty(SHAPE, device="meta").to(memory_format=torch.channels_last).requires_grad_()
    z = torch.empty(len(DARTS.primitives), device="meta", requires_grad=True)
    with Operations() as forward:
        y = modules(x, z)
    grad = torch.empty_like(y)
    weights: list[Tensor] = list(modules.parameters())
    with Operations() as backward:
        torch.autograd.grad(y, [x, z, *weights], grad)

    numbers = [PRIMITIVES[p].number for p in DARTS.primitives]
    with torch.no_grad():
        with counted() as ours:
            y, values, statistics = mixed_op.mixed_op(x, z, weights, numbers, stride, memory)
        with counted() as ours_backward:
            mixed_op.mixed_op_backward(grad, x, z, weights, numbers, stride, memory, values, statistics)
    return Launches(name, (forward.total, backward.total), (ours.total(), ours_backward.total()))


def edges() -> list[Launches]:
    return [
        edge("stride 1", 1, 0),
        edge("stride 2", 2, 0),
        edge("stride 1, recomputed for backward", 1, 2),
    ]


def table(found: Sequence[Launches]) -> ResultTable:
    columns = ("edge", "PyTorch forward", "backward", "ours forward", "backward", "fewer by")
    rows = tuple((e.name, *e.eager, *e.ours, f"{e.ratio:.1f}×") for e in found)
    notes = ("PyTorch's: one for each operation, each gradient of a convolution; three and two for batch norms.",)
    return ResultTable("Kernels launched by an edge of eight primitives", columns, rows, notes)


def main() -> int:
    print_table(table(edges()), Console() if sys.stdout.isatty() else Console(width=160))
    return 0


if __name__ == "__main__":
    sys.exit(main())
