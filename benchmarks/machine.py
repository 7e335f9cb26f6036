"""The machine that a benchmark ran on, and how fast it copies memory: the floor of everything that moves bytes."""

from __future__ import annotations

import os
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch

import base_fast as bf
from base_fast.runs import to_dict
from base_fast.runs.provenance import provenance
from benchmarks.arithmetic import multiply_add_rate, source
from benchmarks.timing import Timer, wall

COPY_BYTES = 256 * 2**20
ROUNDS = 9


@cache
def copy_bandwidth(device: str = "cpu", timer: Timer = wall, size: int = COPY_BYTES) -> float:
    """Bytes per second of `Tensor.copy_` with all threads, between buffers far larger than the caches.

    A copied byte counts twice, as one read and one written. Both buffers have been written before, so that no page
    has to be mapped: an op that returns a new tensor pays for that on top, and cannot reach a ratio of one. An op that
    mostly reads can go below one, since a copy's writes cost more than its reads. The fastest round counts.
    """
    source, target = (fill((size // 4,), dtype=torch.float32, device=device) for fill in (torch.ones, torch.zeros))
    return 2 * size / min(timer(lambda: target.copy_(source), 1) for _ in range(ROUNDS))


def machine() -> dict[str, Any]:
    """Provenance, threads, rates of copies and arithmetic, and which kernel serves which op: JSON values."""
    return {
        **to_dict(provenance()),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "transparent_hugepages": _hugepages(),
        "copy_bytes_per_second": copy_bandwidth(),
        "multiply_adds_per_second": multiply_add_rate(),
        "multiply_adds_by": source(),
        "backends": bf.backends(),
    }


def _hugepages() -> str | None:
    try:
        return Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().strip()
    except OSError:
        return None
