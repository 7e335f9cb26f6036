"""What is in a compiled GPU kernel by either compiler: registers, memory and the widths of its global accesses."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.case import Absent

_FUNCTION = re.compile(r"^\s*Function (\w+):\n\s*(REG:.*)$", re.M)
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+)\w*'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
# LDGSTS loads to shared memory, past the registers.
_ACCESS = re.compile(r"\b(LDG|LDGSTS|STG)(\.[\w.]+)?\s")
_WIDTHS = {"256": 256, "128": 128, "64": 64, "U16": 16, "S16": 16, "U8": 8, "S8": 8}


@dataclass(frozen=True)
class Binary:
    """One kernel: registers per thread, its stack in bytes, static shared memory per block in bytes, and the bits of
    every instruction that loads from or stores to global memory."""

    registers: int
    stack: int
    shared: int
    loads: tuple[int, ...]
    stores: tuple[int, ...]


def read(cubin: Path) -> dict[str, Binary]:
    """The kernels in a file, by mangled name; `Absent` where cuobjdump is."""
    cuobjdump = tool("cuobjdump")
    used = resources(output([cuobjdump, "--dump-resource-usage", str(cubin)]))
    instructions = accesses(output([cuobjdump, "-sass", str(cubin)]))
    return {name: Binary(*used[name], *instructions.get(name, ((), ()))) for name in sorted(used)}


def resources(usage: str) -> dict[str, tuple[int, int, int]]:
    """Registers, stack and shared memory of each function of `cuobjdump --dump-resource-usage`."""
    found = {}
    for name, line in _FUNCTION.findall(usage):
        fields = dict(re.findall(r"\b(REG|STACK|SHARED):(\d+)", line))
        found[name] = (int(fields["REG"]), int(fields["STACK"]), int(fields["SHARED"]))
    return found


def spills(report: str) -> dict[str, int]:
    """Bytes that a thread stores for want of registers, and loads again: of each function of `ptxas -v`."""
    found: dict[str, int] = {}
    name = ""
    for line in report.splitlines():
        if match := _ENTRY.search(line):
            name = match[1]
        elif name and (match := _SPILLS.search(line)):
            found[name] = int(match[1]) + int(match[2])
    return found


def accesses(sass: str) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Bits of the global loads and stores of each function of `cuobjdump -sass`, the widest first."""
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for part in re.split(r"^\s*Function : ", sass, flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        loads: list[int] = []
        stores: list[int] = []
        for match in _ACCESS.finditer(body):
            modifiers = (match[2] or "").split(".")
            width = next((_WIDTHS[m] for m in modifiers if m in _WIDTHS), 32)
            (stores if match[1] == "STG" else loads).append(width)
        found[name.strip()] = (tuple(sorted(loads, reverse=True)), tuple(sorted(stores, reverse=True)))
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


def output(command: Sequence[str]) -> str:
    """What a program prints, on both streams: nvcc reports on standard error."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout + done.stderr
