"""Where a result came from: command line, versions, commit, machine, time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy
import torch

from base_fast.runs.artefacts import Machine, Provenance


def provenance() -> Provenance:
    """What a reader needs to repeat a run."""
    versions = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "base_fast": package_version(),
    }
    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    machine = Machine(cpu_model(), os.cpu_count(), memory_bytes(), gpus)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Provenance(shlex.join(sys.argv), versions, commit(), machine, created)


def package_version() -> str | None:
    """The installed version, or None when base_fast runs from a source tree that is not installed."""
    try:
        return importlib.metadata.version("base-fast")
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of base_fast's own source, with "-dirty" after it when files differ, or None outside a checkout."""
    here = Path(__file__).resolve()
    # An installed copy may lie inside somebody else's repository: only a tracked file vouches for the commit.
    if _git(here, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(file: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(file.parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """The instruction sets that Linux lists for the processor; empty elsewhere."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features") or "").split())


def _cpuinfo(field: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), None)


def memory_bytes() -> int | None:
    """Physical memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
