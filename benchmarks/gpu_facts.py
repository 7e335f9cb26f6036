"""What a compiled GPU kernel is made of, whoever compiled it, and the table of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from base_fast.reports.tables import ResultTable, Value
from benchmarks.occupancy import Occupancy, occupancy


@dataclass(frozen=True)
class KernelFacts:
    """One kernel for one architecture.

    Attributes:
        op: the column it belongs to.
        source: "Triton" or "CUDA".
        arch: sm_80, ...
        threads: per block.
        registers: per thread.
        spills, stack: bytes per thread.
        shared: bytes per block.
        loads, stores: bits of every instruction that accesses global memory.
        moved, minimum: bytes per element that cross memory, as the op's kernels do it and if everything were read and
            written once; None where the source does not declare them.
    """

    op: str
    kernel: str
    source: str
    arch: str
    threads: int
    registers: int
    spills: int
    stack: int
    shared: int
    loads: tuple[int, ...]
    stores: tuple[int, ...]
    moved: float | None = None
    minimum: float | None = None

    @property
    def occupancy(self) -> Occupancy:
        return occupancy(self.arch, self.threads, self.registers, self.shared)


def widths(bits: Sequence[int]) -> str:
    """3×128 1×32: how many accesses of each width, the widest first."""
    counts = Counter(bits)
    return " ".join(f"{counts[width]}×{width}" for width in sorted(counts, reverse=True)) or "none"


def table(kernels: Sequence[KernelFacts]) -> ResultTable:
    columns = (
        *("kernel", "source", "arch", "threads", "registers", "spills", "stack", "shared"),
        *("loads (bits)", "stores (bits)", "bytes per element", "at least", "occupancy", "limited by"),
    )
    rows: list[tuple[Value, ...]] = []
    for k in kernels:
        o = k.occupancy
        resources = (k.threads, k.registers, k.spills, k.stack, k.shared)
        accesses = (widths(k.loads), widths(k.stores), k.moved, k.minimum)
        rows.append((f"{k.op}: {k.kernel}", k.source, k.arch, *resources, *accesses, f"{o.fraction:.0%}", o.limit))
    notes = (
        "From the compiled code, not from a run. Spills and stack: bytes per thread; shared: bytes per block. Bytes "
        "per element: of float32, by all kernels of the op together. Occupancy: resident warps over the most that a "
        "multiprocessor holds.",
    )
    return ResultTable("GPU kernels", columns, tuple(rows), notes)
