"""`base-fast doctor`: what this machine offers, and which kernel serves which op."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from base_fast.cli.command import Command
from base_fast.ops import backends, extension
from base_fast.ops.extension import REBUILD, Extension
from base_fast.runs.provenance import cpu_flags, cpu_model, memory_bytes, package_version

# Optional distribution -> the extra that brings it.
OPTIONAL = {
    "torchvision": "data",
    "scikit-learn": "data",
    "braceexpand": "data",
    "pillow": "data",
    "matplotlib": "report",
    "tensorboard": "report",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "triton": "gpu",
    "pytest-benchmark": "bench",
    "bayesian-torch": "bench",
}
# The instruction sets that decide how fast kernels run, as Linux spells them.
NOTABLE_FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")


# Variables of the environment that change what runs, and what they do.
VARIABLES = {
    "BASE_FAST_ISA": "forces the instruction set of the CPU kernels; unset, it is the best of this processor",
    "BASE_FAST_AMX": "0 keeps bfloat16 edges off the matrix unit",
    "BASE_FAST_EXTENSION": "without effect here: an option of the build",
    "BASE_FAST_CUDA": "without effect here: an option of the build",
    "ATEN_CPU_CAPABILITY": "forces the instruction set of torch's own kernels",
    "ONEDNN_MAX_CPU_ISA": "limits the instruction set of torch's convolutions",
}


def doctor(runs: Path = Path("runs")) -> int:
    """Print what base_fast finds on this machine, what is wrong, and what helps.

    Returns 1 when kernels that were built cannot be loaded or runs cannot be written to `runs`, otherwise 0.
    """
    console = Console()
    problem = write_problem(runs)
    console.print(_machine(runs, problem))
    console.print(_packages())
    console.print(_kernels())
    problems = [one.missing for one in (extension.CPU, extension.CUDA) if one.broken]
    if problem is not None:
        problems.append(f"runs cannot be written: {problem}; choose another folder with --runs")
    for found in problems:
        console.print(f"PROBLEM: {found}", markup=False, soft_wrap=True)
    return 1 if problems else 0


def write_problem(folder: Path) -> str | None:
    """Why nothing can be written to `folder`, which need not exist yet; None when it can."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder"
    try:
        # The only honest test: permissions do not know of read-only and full file systems.
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"base_fast")
    except OSError as error:
        return f"{existing}: {error.strerror or error}"
    return None


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _machine(runs: Path, problem: str | None) -> Table:
    table = _table("Machine", "what", "found")
    table.add_row("base_fast", package_version() or "a source tree that is not installed")
    table.add_row("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    table.add_row("torch", f"{torch.__version__}, {_cuda_build()}")
    table.add_row("GPU", _gpus())
    table.add_row("CPU kernels", _extension(extension.CPU, "C++"))
    table.add_row("CUDA kernels", _extension(extension.CUDA, "CUDA C++"))
    for name, value in sorted(os.environ.items()):
        if name in VARIABLES:
            table.add_row(name, f"{value}: {VARIABLES[name]}")
    table.add_row("processor", f"{cpu_model()}, {os.cpu_count()} cores{_memory()}")
    table.add_row("instruction sets", f"{_instruction_sets()}; torch uses {torch.backends.cpu.get_cpu_capability()}")
    omp = os.environ.get("OMP_NUM_THREADS", "not set")
    threads = f"{torch.get_num_threads()} within an op, {torch.get_num_interop_threads()} between ops"
    table.add_row("threads", f"{threads}; OMP_NUM_THREADS {omp}")
    table.add_row(
        "run folders", f"{runs.absolute()}: " + ("writable" if problem is None else f"NOT writable: {problem}")
    )
    return table


def _cuda_build() -> str:
    return f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"


def _gpus() -> str:
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names) or "none that torch can use"


def _extension(found: Extension, language: str) -> str:
    if found.broken:
        return f"CANNOT BE LOADED: {found.missing}"
    if found.module is None:
        helps = f", so ops run on the references, many times slower; {REBUILD}" if language == "C++" else ""
        return f"no compiled ones: {found.missing}{helps}"
    unit = f"; {found.module.isa()} in use" if hasattr(found.module, "isa") else ""
    if "matrix_unit" in found.facts:
        unit += f"; bfloat16 edges {'use' if found.facts['matrix_unit'] else 'do without'} a matrix unit (AMX)"
    return f"{language}, compiled by {found.facts['compiler']}{unit}"


def _memory() -> str:
    size = memory_bytes()
    return "" if size is None else f", {size / 2**30:.1f} GiB"


def _instruction_sets() -> str:
    flags = cpu_flags()
    return ", ".join(flag for flag in NOTABLE_FLAGS if flag in flags) or "not listed by this system"


def _packages() -> Table:
    table = _table("Optional packages", "package", "found", "brought by")
    for name, extra in OPTIONAL.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "absent"
        # Escaped: rich would take the brackets for a style.
        table.add_row(name, found, rf"base-fast\[{extra}]")
    return table


def _kernels() -> Table:
    """Ops that are served alike share a row."""
    served: dict[tuple[str, ...], list[str]] = {}
    found = backends()
    devices = sorted({device for kernels in found.values() for device in kernels})
    for op, kernels in found.items():
        served.setdefault(tuple(kernels.get(device, "none") for device in devices), []).append(op)
    table = _table("Kernels", "ops", *devices)
    for kernels_of, ops in sorted(served.items(), key=lambda item: -len(item[1])):
        table.add_row(f"{len(ops)} of {len(found)}: {', '.join(ops)}", *kernels_of)
    return table


@dataclass(frozen=True)
class Doctor(Command):
    """Exit status 1 when something is wrong: kernels that cannot be loaded, runs that cannot be written."""

    runs: Path = Path("runs")
    """Folder in which runs would be written."""

    def execute(self) -> int:
        return doctor(self.runs)
