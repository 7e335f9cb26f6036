"""Facts of the Triton kernels, from compiling them ahead of time as their launchers would; no GPU is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from base_fast.runs.progress import progress
from benchmarks.case import Absent
from benchmarks.gpu_facts import KernelFacts

# The dtype of the tensors, for which words become bytes.
WORD = 4


def facts(architectures: Sequence[str]) -> list[KernelFacts]:
    """Of every kernel of base_fast.kernels; `Absent` where they cannot be compiled."""
    try:
        from base_fast.kernels import compiled
    except ImportError as missing:
        raise Absent(str(missing)) from None
    found: list[KernelFacts] = []
    with progress("compiling Triton kernels", len(compiled.CASES) * len(architectures)) as bar:
        for case in compiled.CASES:
            for arch in architectures:
                kernels = compiled.compile_case(case, int(arch.removeprefix("sm_")))
                found += [of_kernel(case, kernel, arch) for kernel in kernels]
                bar.advance(1, case=case.name)
    return found


def of_kernel(case: Any, kernel: Any, arch: str) -> KernelFacts:
    """From a case of `kernels.compiled` and one of its compiled kernels."""
    return KernelFacts(
        op=case.name,
        kernel=kernel.name.rpartition(": ")[2],
        source="Triton",
        arch=arch,
        threads=threads(kernel.ptx),
        registers=kernel.registers,
        spills=kernel.spills,
        stack=kernel.stack,
        shared=kernel.shared,
        loads=spread(kernel.load_widths),
        stores=spread(kernel.store_widths),
        moved=case.actual * WORD,
        minimum=case.minimal * WORD,
    )


def threads(ptx: str) -> int:
    """Per block, which Triton fixes when it compiles."""
    found = re.search(r"\.(?:reqntid|maxntid) (\d+)", ptx)
    if found is None:
        raise ValueError("the PTX does not say how many threads a block has")
    return int(found[1])


def spread(counts: dict[int, int]) -> tuple[int, ...]:
    """{bits: how many} as one entry per access, the widest first."""
    return tuple(bits for bits in sorted(counts, reverse=True) for _ in range(counts[bits]))
