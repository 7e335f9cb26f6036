"""Every kernel as its launcher would launch it, compiled for an architecture without a device, and what came out.

`python -m base_fast.kernels.compiled [80 90 100]` prints registers, spills, shared memory and the widths of global
accesses. Launchers run on meta tensors with a driver that only says which GPU to compile for, so signatures, alignment
and constants are those of a real launch. Not possible in a process with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from . import gaussian_kl as kl
from . import gaussian_sample as sample
from . import gaussian_sample_kl as sample_kl
from . import gumbel_softmax as gumbel
from . import mixed_op, mixed_sum, sgd_step

ARCHITECTURES = (80, 90, 100)


@dataclass(frozen=True)
class Case:
    """One call of a launcher on meta tensors of a dtype."""

    name: str
    call: Callable[[torch.dtype], object]
    # Words of the tensors' dtype that cross memory per element: if everything were read and written once, and as the
    # kernels do it.
    minimal: float
    actual: float


@dataclass(frozen=True)
class CompiledKernel:
    name: str
    registers: int
    spills: int  # bytes stored and loaded again
    stack: int  # bytes per thread
    shared: int  # bytes per program, besides what the driver reserves
    load_widths: dict[int, int]  # bits of a global load: how many instructions
    store_widths: dict[int, int]
    ttir: str
    ptx: str
    cubin: bytes

    def __str__(self) -> str:
        loads, stores = (
            " ".join(f"{bits}×{count}" for bits, count in sorted(widths.items(), reverse=True)) or "none"
            for widths in (self.load_widths, self.store_widths)
        )
        return (
            f"{self.name:<50} {self.registers:>4} registers {self.spills:>3} spilled {self.stack:>3} stack "
            f"{self.shared:>6} shared   loads {loads:<24} stores {stores}"
        )


class _Offline:
    """What Triton asks its driver while it compiles; each architecture is a device of its own, so caches stay apart."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0


@contextmanager
def _recorded(capability: int) -> Iterator[list[Any]]:
    """While open, launches compile for `capability` and do nothing else; yields what they compiled."""
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


def _tool(path: str, *arguments: str) -> str:
    done = subprocess.run([path, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{path} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout + done.stderr


def _widths(sass: str, instruction: str) -> dict[int, int]:
    """LDG.E.128 and so on: a global access without a width is one of 32 bits, .U16 one of 16."""
    found: Counter[int] = Counter()
    for modifiers in re.findall(rf"\b{instruction}((?:\.\w+)*) ", sass):
        bits = re.findall(r"\.[US]?(8|16|64|128|256)\b", modifiers)
        found[int(bits[-1]) if bits else 32] += 1
    return dict(found)


def _read_off(name: str, capability: int, kernel: Any) -> CompiledKernel:
    asm = kernel.asm
    nvidia = triton.knobs.nvidia
    # The newer of the two that Triton brings: it reads the PTX of every architecture, which the older one may not.
    ptxas = nvidia.ptxas_blackwell.path
    with tempfile.TemporaryDirectory() as folder:
        cubin, ptx = Path(folder, "kernel.cubin"), Path(folder, "kernel.ptx")
        cubin.write_bytes(asm["cubin"])
        ptx.write_text(asm["ptx"])
        usage = _tool(nvidia.cuobjdump.path, "--dump-resource-usage", str(cubin))
        target = re.search(r"\.target (\w+)", asm["ptx"])
        assert target is not None
        report = _tool(ptxas, "-v", f"--gpu-name={target[1]}", str(ptx), "-o", str(Path(folder, "again.cubin")))
        sass = _tool(nvidia.nvdisasm.path, "-c", str(cubin))
    resources = {field: int(value) for field, value in re.findall(r"\b(REG|STACK):(\d+)", usage)}
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", report)
    return CompiledKernel(
        name=name,
        registers=resources["REG"],
        spills=sum(map(int, spills)),
        stack=resources["STACK"],
        shared=kernel.metadata.shared,
        load_widths=_widths(sass, "LDG"),
        store_widths=_widths(sass, "STG"),
        ttir=asm["ttir"],
        ptx=asm["ptx"],
        cubin=asm["cubin"],
    )


def compile_kernels(name: str, launch: Callable[[], object], capability: int) -> list[CompiledKernel]:
    """What `launch` launches, in that order, compiled for sm_`capability`.

    Raises:
        RuntimeError: where a tool fails, or in a process that interprets Triton.
    """
    if triton.knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET=1: this process interprets kernels and cannot compile them")
    with _recorded(capability) as launched:
        launch()
    return [_read_off(f"{name}: {kernel.name.strip('_')}", capability, kernel) for kernel in launched]


def compile_case(case: Case, capability: int, dtype: torch.dtype = torch.float32) -> list[CompiledKernel]:
    return compile_kernels(case.name, lambda: case.call(dtype), capability)


# Vectors of whole blocks; branches (B, C, H, W).
P, L, K, SHAPE = 8192, 8, 7, (4, 64, 32, 32)


def _empty(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _key() -> Tensor:
    return _empty(torch.int64, 2)


def _vectors(count: int, dtype: torch.dtype) -> list[Tensor]:
    return [_empty(dtype, P) for _ in range(count)]


def _branches(dtype: torch.dtype, mixed: bool) -> tuple[Tensor, list[Tensor], Tensor, list[int]]:
    """A gradient, the branches of one layout or of two, weights and positions."""
    xs = [_empty(dtype, *SHAPE) for _ in range(K)]
    if mixed:
        xs[1::2] = [x.to(memory_format=torch.channels_last) for x in xs[1::2]]
    return _empty(dtype, *SHAPE), xs, _empty(dtype, K + 1), list(range(1, K + 1))


def _sum(dtype: torch.dtype, mixed: bool) -> None:
    _, xs, weights, positions = _branches(dtype, mixed)
    mixed_sum.mixed_sum(xs, weights, positions)


def _sum_backward(dtype: torch.dtype, mixed: bool) -> None:
    mixed_sum.mixed_sum_backward(*_branches(dtype, mixed))


def _rows(dtype: torch.dtype) -> Tensor:
    return _empty(dtype, 1024, L)


def _scalar_prior(dtype: torch.dtype) -> list[Tensor]:
    return [*_vectors(2, dtype), *(_empty(dtype, 1).expand(P) for _ in range(2))]


def _one(dtype: torch.dtype) -> Tensor:
    return _empty(dtype)


# none, the pools, the identity or factorized reduction, separable and dilated convolutions: those of DARTS.
PRIMITIVES = [0, 1, 2, 3, 4, 5, 7, 8]


def _edge(dtype: torch.dtype, stride: int, channels: int) -> tuple[Tensor, Tensor, list[Tensor], list[int], int, int]:
    x = _empty(dtype, SHAPE[0], channels, *SHAPE[2:]).to(memory_format=torch.channels_last)
    reduction = [(channels // 2, channels, 1, 1)] * 2 if stride == 2 else []
    kernels = (3, 3, 5, 5, 3, 5)
    filters = [s for k in kernels for s in ((channels, 1, k, k), (channels, channels, 1, 1))]
    weights = [_empty(dtype, *shape) for shape in (*reduction, *filters)]
    return x, _empty(dtype, len(PRIMITIVES)), weights, PRIMITIVES, stride, 0


def _edge_backward(dtype: torch.dtype, stride: int, channels: int) -> None:
    arguments = _edge(dtype, stride, channels)
    y, values, statistics = (torch.empty_like(t) for t in mixed_op.empty(*arguments))
    mixed_op.mixed_op_backward(y, *arguments, values, statistics)


CASES = (
    Case("gumbel_softmax", lambda d: gumbel.gumbel_softmax(_rows(d), _key(), 0.5, False, 1.0), 2, 2),
    Case("gumbel_softmax hard", lambda d: gumbel.gumbel_softmax(_rows(d), _key(), 0.5, True, 1.0), 2, 2),
    Case("gumbel_softmax L=5", lambda d: gumbel.gumbel_softmax(_rows(d)[:, :5], _key(), 0.5, False, 1.0), 2, 2),
    Case("gumbel_softmax backward", lambda d: gumbel.gumbel_softmax_backward(_rows(d), _rows(d), 0.5), 3, 3),
    Case("gaussian_sample", lambda d: sample.gaussian_sample(*_vectors(2, d), _key()), 3, 3),
    Case("gaussian_sample backward", lambda d: sample.gaussian_sample_backward(*_vectors(2, d), _key()), 3, 3),
    Case("gaussian_kl", lambda d: kl.gaussian_kl(*_vectors(4, d)), 4, 4),
    Case("gaussian_kl scalar prior", lambda d: kl.gaussian_kl(*_scalar_prior(d)), 2, 2),
    Case("gaussian_kl backward", lambda d: kl.gaussian_kl_backward(_one(d), *_vectors(4, d), True), 8, 8),
    Case("gaussian_sample_kl", lambda d: sample_kl.gaussian_sample_kl(*_vectors(4, d), _key()), 5, 5),
    Case(
        "gaussian_sample_kl backward",
        lambda d: sample_kl.gaussian_sample_kl_backward(_vectors(1, d)[0], _one(d), *_vectors(4, d), _key(), True),
        9,
        9,
    ),
    Case("mixed_sum", lambda d: _sum(d, mixed=False), K + 1, K + 1),
    Case("mixed_sum two layouts", lambda d: _sum(d, mixed=True), K + 1, K + 1),
    Case("mixed_sum backward", lambda d: _sum_backward(d, mixed=False), 2 * K + 1, 2 * K + 1),
    Case("mixed_sum backward two layouts", lambda d: _sum_backward(d, mixed=True), 2 * K + 1, 2 * K + 1),
    # In words per element of y: x, four first stages, two second ones read and written, four of the six summed up.
    Case("mixed_op", lambda d: mixed_op.mixed_op(*_edge(d, 1, 64)), 2, 15),
    Case("mixed_op 16 channels stride 2", lambda d: mixed_op.mixed_op(*_edge(d, 2, 16)), 5, 22),
    # Projections read 6; pointwise convolutions 16 and 8, with what they write; pools 4¼; second stages 6; the last 9¼.
    Case("mixed_op backward", lambda d: _edge_backward(d, 1, 64), 9, 49.5),
    Case("mixed_op 16 channels stride 2 backward", lambda d: _edge_backward(d, 2, 16), 16, 71),
    Case("sgd_step", lambda d: sgd_step.sgd_step(_vectors(3, d), _vectors(3, d), [0.1, 0.2, 0.3], 1.0), 3, 4),
)


def main(capabilities: list[int]) -> None:
    for capability in capabilities or ARCHITECTURES:
        print(f"sm_{capability}")
        for case in CASES:
            for kernel in compile_case(case, capability):
                print(f"  {kernel}")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
