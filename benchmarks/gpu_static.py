"""`python -m benchmarks.gpu_static`: registers, spills, memory accesses and occupancy of every GPU kernel.

Read off the compiled code for each architecture, without a GPU; where there is one, the ops are timed on it too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import tyro
from rich.console import Console

from base_fast.reports.tables import print_table, to_markdown
from base_fast.runs.progress import progress
from base_fast.runs.storage import atomic_write
from benchmarks import gpu_cuda, gpu_triton
from benchmarks.__main__ import NAMES, QUICK, cases_of
from benchmarks.case import Absent
from benchmarks.gpu_facts import KernelFacts, table
from benchmarks.measure import measure
from benchmarks.occupancy import LIMITS
from benchmarks.result import Result
from benchmarks.table import speed
from benchmarks.timing import Effort

OPS = tuple(name for name in NAMES if name not in ("bayesian_layers", "inner_step", "mixed_op", "relu_conv_norm"))


@dataclass(frozen=True)
class GpuStatic:
    """Exit status 1 when a kernel that was timed disagrees with its reference."""

    out: Path = Path("runs/bench")
    """Folder for gpu.md and gpu.json."""
    architectures: tuple[str, ...] = tuple(LIMITS)
    """What to compile for."""
    seconds: float = 5.0
    """How long a case is timed, where there is a GPU."""
    quick: bool = False
    """Tiny sizes and three rounds where there is a GPU."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = tyro.cli(GpuStatic, args=arguments, prog="python -m benchmarks.gpu_static", description=__doc__)
    console = Console() if sys.stdout.isatty() else Console(width=200)
    kernels, remarks = compiled(options.architectures)
    results = timed(options) if torch.cuda.is_available() else []
    if not results:
        remarks.append("No GPU here: nothing was timed.")
    tables = [made for made in (table(kernels), speed(results)) if made.rows]
    for made in tables:
        print_table(made, console)
    for remark in remarks:
        console.print(remark, markup=False)
    text = "\n".join(["# GPU kernels", "", *[f"{remark}\n" for remark in remarks], *map(to_markdown, tables)])
    atomic_write(options.out / "gpu.md", text.encode())
    data = {"kernels": [as_json(k) for k in kernels], "results": [r.to_json() for r in results], "remarks": remarks}
    atomic_write(options.out / "gpu.json", (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
    console.print(f"written to {options.out}", markup=False)
    return int(any(result.wrong for result in results))


def compiled(architectures: Sequence[str]) -> tuple[list[KernelFacts], list[str]]:
    """The facts of all kernels, and why some are not there."""
    kernels: list[KernelFacts] = []
    remarks: list[str] = []
    for name, source in (("Triton", gpu_triton), ("CUDA", gpu_cuda)):
        try:
            kernels += source.facts(architectures)
        except Absent as absence:
            remarks.append(f"No {name} kernels: {absence}.")
    kernels = with_minima(kernels)
    return sorted(kernels, key=lambda k: (k.op, k.source, k.kernel, list(LIMITS).index(k.arch))), remarks


def with_minima(kernels: Sequence[KernelFacts]) -> list[KernelFacts]:
    """What the Triton cases declare of an op holds for its CUDA kernel too, in the words of its dtype."""
    words = {k.op.replace(" ", "_"): k.minimum / gpu_triton.WORD for k in kernels if k.minimum is not None}
    found = []
    for kernel in kernels:
        name, dtype = gpu_cuda.split(kernel.kernel)
        if kernel.source == "CUDA" and name in words and dtype in gpu_cuda.SIZES:
            kernel = replace(kernel, minimum=words[name] * gpu_cuda.SIZES[dtype])
        found.append(kernel)
    return found


def timed(options: GpuStatic) -> list[Result]:
    effort = QUICK if options.quick else Effort(seconds=options.seconds)
    cases = cases_of(OPS)
    results = []
    with progress("benchmarks on the GPU", len(cases)) as bar:
        for case in cases:
            results.append(measure(case, effort, options.quick, "cuda"))
            bar.advance(1, case=case.title(options.quick))
    return results


def as_json(kernel: KernelFacts) -> dict[str, object]:
    return {**asdict(kernel), "occupancy": asdict(kernel.occupancy)}


if __name__ == "__main__":
    sys.exit(main())
