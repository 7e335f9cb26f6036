"""Facts of the Triton kernels, from compiling them ahead of time as their launchers would; no GPU is needed.

Launchers run on meta tensors with a driver that only says which GPU to compile for, so signatures, alignment and
constants are those of a real launch. Not possible in a process with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from base_fast.runs.progress import progress
from benchmarks import gpu_binary
from benchmarks.case import Absent
from benchmarks.gpu_binary import Binary
from benchmarks.gpu_facts import KernelFacts

# The dtype of the tensors, for which words become bytes.
WORD = 4


@dataclass(frozen=True)
class TritonKernel:
    """A compiled kernel: its binary, spilled bytes per thread, shared memory per program as Triton asks for it at the
    launch, and two of the languages that it went through."""

    name: str
    binary: Binary
    spills: int
    shared: int
    ttir: str
    ptx: str


def facts(architectures: Sequence[str]) -> list[KernelFacts]:
    """Of every kernel of base_fast.kernels; `Absent` where they cannot be compiled."""
    try:
        from benchmarks.triton_cases import CASES
    except ImportError as missing:
        raise Absent(str(missing)) from None
    found: list[KernelFacts] = []
    with progress("compiling Triton kernels", len(CASES) * len(architectures)) as bar:
        for case in CASES:
            for arch in architectures:
                kernels = compile_case(case, int(arch.removeprefix("sm_")))
                found += [of_kernel(case, kernel, arch) for kernel in kernels]
                bar.advance(1, case=case.name)
    return found


def of_kernel(case: Any, kernel: TritonKernel, arch: str) -> KernelFacts:
    """From a case of `triton_cases` and one of its compiled kernels."""
    return KernelFacts(
        op=case.name,
        kernel=kernel.name,
        source="Triton",
        arch=arch,
        threads=threads(kernel.ptx),
        registers=kernel.binary.registers,
        spills=kernel.spills,
        stack=kernel.binary.stack,
        shared=kernel.shared,
        loads=kernel.binary.loads,
        stores=kernel.binary.stores,
        moved=case.actual * WORD,
        minimum=case.minimal * WORD,
    )


def threads(ptx: str) -> int:
    """Per block, which Triton fixes when it compiles."""
    found = re.search(r"\.(?:reqntid|maxntid) (\d+)", ptx)
    if found is None:
        raise ValueError("the PTX does not say how many threads a block has")
    return int(found[1])


def compile_case(case: Any, capability: int, dtype: torch.dtype = torch.float32) -> list[TritonKernel]:
    """The kernels of a case of `triton_cases`, on tensors of a dtype."""
    return compile_kernels(lambda: case.call(dtype), capability)


def compile_kernels(launch: Callable[[], object], capability: int) -> list[TritonKernel]:
    """What `launch` launches, in that order, compiled for sm_`capability`.

    Raises:
        RuntimeError: where a tool fails, or in a process that interprets Triton.
    """
    import triton

    if triton.knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET=1: this process interprets kernels and cannot compile them")
    with _recorded(capability) as launched:
        launch()
    return [_read_off(kernel) for kernel in launched]


class _Offline:
    """What Triton asks its driver while it compiles; each architecture is a device of its own, so caches stay apart."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0


@contextmanager
def _recorded(capability: int) -> Iterator[list[Any]]:
    """While open, launches compile for `capability` and do nothing else; yields what they compiled."""
    import triton
    from triton.runtime.jit import JITFunction

    compiled: list[Any] = []
    driver = triton.runtime.driver
    run, before = JITFunction.run, dict(vars(driver))

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        compiled.append(run(self, *args, grid=grid, warmup=True, **options))

    driver.set_active(_Offline(capability))
    JITFunction.run = compile_only
    try:
        yield compiled
    finally:
        JITFunction.run = run
        vars(driver).update(before)


def _read_off(kernel: Any) -> TritonKernel:
    import triton

    ptx = kernel.asm["ptx"]
    # The newer of the two that Triton brings: it reads the PTX of every architecture, which the older one may not.
    ptxas = triton.knobs.nvidia.ptxas_blackwell.path
    target = re.search(r"\.target (\w+)", ptx)
    assert target is not None
    with tempfile.TemporaryDirectory() as folder:
        cubin, source = Path(folder, "kernel.cubin"), Path(folder, "kernel.ptx")
        cubin.write_bytes(kernel.asm["cubin"])
        source.write_text(ptx)
        again = Path(folder, "again.cubin")
        report = gpu_binary.output([ptxas, "-v", f"--gpu-name={target[1]}", str(source), "-o", str(again)])
        (binary,) = gpu_binary.read(cubin).values()
    (spilled,) = gpu_binary.spills(report).values()
    return TritonKernel(kernel.name.strip("_"), binary, spilled, kernel.metadata.shared, kernel.asm["ttir"], ptx)
