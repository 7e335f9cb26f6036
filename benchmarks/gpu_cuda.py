"""Facts of the CUDA kernels: nvcc compiles csrc/cuda, ptxas reports resources, cuobjdump shows the instructions."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from base_fast.runs.progress import progress
from benchmarks.case import Absent
from benchmarks.gpu_facts import KernelFacts

ROOT = Path(__file__).resolve().parents[1]
TORCH_TARGET = "0x020a000000000000"

# Bytes of the types that kernels are compiled for.
SIZES = MappingProxyType({"double": 8, "float": 4, "bfloat16": 2})

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+)\w*'")
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
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(.*)")
_SHARED = re.compile(r"(\d+) bytes smem")
_ACCESS = re.compile(r"\b(LDG|STG)(\.[\w.]+)?\s")
_WIDTHS = {"256": 256, "128": 128, "64": 64, "U16": 16, "S16": 16, "U8": 8, "S8": 8}


@dataclass(frozen=True)
class Resources:
    """What ptxas -v says of one kernel."""

    registers: int
    spills: int
    stack: int
    shared: int


def resources(report: str) -> dict[str, Resources]:
    """From the standard error of `nvcc -Xptxas=-v`, by mangled name."""
    found: dict[str, Resources] = {}
    name, stack, spills = "", 0, 0
    for line in report.splitlines():
        if match := _ENTRY.search(line):
            name = match[1]
        elif match := _FRAME.search(line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
        elif (match := _USED.search(line)) and name:
            shared = _SHARED.search(match[2])
            found[name] = Resources(int(match[1]), spills, stack, int(shared[1]) if shared else 0)
    return found


def accesses(sass: str) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Bits of the global loads and stores of each function of `cuobjdump -sass`."""
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for part in re.split(r"^\s*Function : ", sass, flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        widths: dict[str, list[int]] = {"LDG": [], "STG": []}
        for match in _ACCESS.finditer(body):
            modifiers = (match[2] or "").split(".")
            widths[match[1]].append(next((_WIDTHS[m] for m in modifiers if m in _WIDTHS), 32))
        found[name.strip()] = (tuple(widths["LDG"]), tuple(widths["STG"]))
    return found


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
    nvcc = tool("nvcc")
    found: list[KernelFacts] = []
    with progress("compiling CUDA kernels", len(files) * len(architectures)) as bar:
        for file in files:
            for arch in architectures:
                found += _compile(nvcc, file, arch)
                bar.advance(1, file=file.name)
    return found


def tool(name: str) -> str:
    """A CUDA program: on the path, or the copy that Triton brings."""
    found = shutil.which(name)
    if found is not None:
        return found
    try:
        import triton
    except ImportError:
        raise Absent(f"{name} is not installed") from None
    bundled = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    if not bundled.exists():
        raise Absent(f"{name} is not installed")
    return str(bundled)


def _compile(nvcc: str, file: Path, arch: str) -> list[KernelFacts]:
    cuobjdump = tool("cuobjdump")
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        report = _output([nvcc, "-cubin", f"-arch={arch}", "-Xptxas=-v", *flags(), str(file), "-o", str(cubin)])
        sass = _output([cuobjdump, "-sass", str(cubin)])
        bounds = launch_bounds(_output([cuobjdump, "-elf", str(cubin)]))
    instructions = accesses(sass)
    launched = threads_per_block((ROOT / "csrc" / "cuda" / "launch.h").read_text())
    found = []
    for name, used in sorted(resources(report).items()):
        loads, stores = instructions.get(name, ((), ()))
        found.append(
            KernelFacts(
                op=file.stem,
                kernel=demangled(name),
                source="CUDA",
                arch=arch,
                threads=bounds.get(name, launched),
                registers=used.registers,
                spills=used.spills,
                stack=used.stack,
                shared=used.shared,
                loads=loads,
                stores=stores,
                moved=moved(demangled(name)),
            )
        )
    return found


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
    text = _output(["c++filt", name]).strip().removeprefix("void ")
    text = re.sub(r"\(anonymous namespace\)::|base_fast::(cuda::)?", "", text)
    return text.partition("(")[0]


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    # nvcc reports on standard error.
    return done.stdout + done.stderr
