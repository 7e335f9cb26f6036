"""Facts of the CUDA kernels, from compiling csrc/cuda with nvcc; no GPU is needed."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from base_fast.runs.progress import progress
from benchmarks import gpu_binary
from benchmarks.case import Absent
from benchmarks.gpu_facts import KernelFacts

ROOT = Path(__file__).resolve().parents[1]
TORCH_TARGET = "0x020a000000000000"

# Bytes of the types that kernels are compiled for.
SIZES = MappingProxyType({"double": 8, "float": 4, "bfloat16": 2})

# Words per element that an op's kernels read and write together, read off their loops: of seven branches, four tasks,
# with gradients for the prior, with clipping.
WORDS = {
    "gaussian_sample": 3,
    "gaussian_sample_backward": 3,
    "gaussian_kl": 4,
    "gaussian_kl_backward": 8,
    "gaussian_sample_kl": 5,
    "gaussian_sample_kl_backward": 9,
    "gumbel_softmax": 2,
    "gumbel_softmax_backward": 3,
    "mixed_sum": 7 + 1,
    "mixed_sum_backward": 2 * 7 + 1,
    "sgd_step": 4,
}


def launch_bounds(elf: str) -> dict[str, int]:
    """Threads per block that `__launch_bounds__` allows, by mangled name, from `cuobjdump -elf`."""
    found: dict[str, int] = {}
    for part in re.split(r"^\.nv\.info\.", elf, flags=re.M)[1:]:
        name = part.split(maxsplit=1)[0]
        if match := re.search(r"EIATTR_MAX_THREADS\s+Format:\s+\w+\s+Value:\s+((?:0x[\da-f]+\s*){3})", part):
            x, y, z = (int(value, 16) for value in match[1].split())
            found[name] = x * y * z
    return found


def threads_per_block(launch: str) -> int:
    """What launch.h starts every kernel with."""
    found = re.search(r"\bkThreads = (\d+);", launch)
    if found is None:
        raise ValueError("csrc/cuda/launch.h does not define kThreads")
    return int(found[1])


def facts(architectures: Sequence[str]) -> list[KernelFacts]:
    """Of every kernel in csrc/cuda; `Absent` without sources or tools."""
    files = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    if not files:
        raise Absent("csrc/cuda holds no kernels")
    nvcc = gpu_binary.tool("nvcc")
    found: list[KernelFacts] = []
    with progress("compiling CUDA kernels", len(files) * len(architectures)) as bar:
        for file in files:
            for arch in architectures:
                found += _compile(nvcc, file, arch)
                bar.advance(1, file=file.name)
    return found


def _compile(nvcc: str, file: Path, arch: str) -> list[KernelFacts]:
    cuobjdump = gpu_binary.tool("cuobjdump")
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        command = [nvcc, "-cubin", f"-arch={arch}", "-Xptxas=-v", *flags(), str(file), "-o", str(cubin)]
        spilled = gpu_binary.spills(gpu_binary.output(command))
        binaries = gpu_binary.read(cubin)
        bounds = launch_bounds(gpu_binary.output([cuobjdump, "-elf", str(cubin)]))
    launched = threads_per_block((ROOT / "csrc" / "cuda" / "launch.h").read_text())
    return [
        KernelFacts(
            op=file.stem,
            kernel=demangled(name),
            source="CUDA",
            arch=arch,
            threads=bounds.get(name, launched),
            registers=binary.registers,
            spills=spilled[name],
            stack=binary.stack,
            shared=binary.shared,
            loads=binary.loads,
            stores=binary.stores,
            moved=moved(demangled(name)),
        )
        for name, binary in binaries.items()
    ]


def moved(kernel: str) -> float | None:
    """Bytes per element that the op of this kernel moves, by the sizes that WORDS speaks of; None of small helpers."""
    name, dtype = split(kernel)
    return float(WORDS[name] * SIZES[dtype]) if name in WORDS and dtype in SIZES else None


def split(kernel: str) -> tuple[str, str]:
    """The op and the dtype of a kernel: "mixed_sum_kernel<float, Alike>" is of mixed_sum and float."""
    name, _, arguments = kernel.partition("_kernel<")
    return name, re.split(r"[,>]", arguments)[0]


def flags() -> list[str]:
    """As setup.py compiles them."""
    from torch.utils.cpp_extension import include_paths

    includes = [f"-I{path}" for path in (ROOT / "csrc", *include_paths())]
    return ["-std=c++17", "-O3", "--fmad=false", "-DUSE_CUDA", f"-DTORCH_TARGET_VERSION={TORCH_TARGET}", *includes]


def demangled(name: str) -> str:
    """Without arguments and this project's namespaces, and as it is where no demangler is found."""
    if shutil.which("c++filt") is None:
        return name
    text = gpu_binary.output(["c++filt", name]).strip().removeprefix("void ")
    text = re.sub(r"\(anonymous namespace\)::|base_fast::(cuda::)?", "", text)
    return text.partition("(")[0]
