"""`python -m benchmarks`: every op against the best that plain PyTorch can do; values first, then speed and memory."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

import torch
import tyro
from rich.console import Console

from base_fast.errors import InputError
from base_fast.reports.render import png
from base_fast.reports.tables import print_table
from base_fast.runs.progress import progress
from base_fast.runs.storage import atomic_write
from benchmarks.aims import Aim
from benchmarks.allocator import keep_freed_memory
from benchmarks.case import Case
from benchmarks.machine import machine
from benchmarks.measure import measure
from benchmarks.plot import speed_ups, time_and_memory
from benchmarks.result import Result
from benchmarks.table import aims, document, speed
from benchmarks.timing import Effort

NAMES = (
    "gaussian_sample",
    "gaussian_kl",
    "gaussian_sample_kl",
    "gumbel_softmax",
    "mixed_sum",
    "mixed_op",
    "relu_conv_norm",
    "supernet_step",
    "path_step",
    "sgd_step",
    "bayesian_layers",
    "inner_step",
)
QUICK = Effort(seconds=0.0, least=3, most=3)


@dataclass(frozen=True)
class Bench:
    """Exit status 1 when values differ from what is expected, or a call fails; a missed target alone is none."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Benchmarks to run (the files of this folder); all of them when none is named."""
    only: str = ""
    """Of those, the cases with this text in their title: "stride 2", "P = 10"."""
    out: Path = Path("runs/bench")
    """Folder for benchmarks.md, benchmarks.json and benchmarks.png."""
    threads: int | None = None
    """Threads of every contender; as many as torch takes by itself when not given."""
    seconds: float = 6.0
    """How long the rounds of one case go on; at least five rounds are run, three of the slowest."""
    system_allocator: bool = False
    """Leave malloc as it is, which makes the times of large tensors depend on what was freed before them."""
    quick: bool = False
    """Tiny sizes and three rounds: checks the values and the harness, times nothing worth reading."""


def main(arguments: Sequence[str] | None = None) -> int:
    bench = tyro.cli(Bench, args=arguments, prog="python -m benchmarks", description=__doc__)
    try:
        return run(bench)
    except InputError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def run(bench: Bench) -> int:
    cases = [case for case in cases_of(bench.names) if bench.only in case.title(bench.quick)]
    if not cases:
        raise InputError(f"only: got {bench.only!r}, which no case has in its title")
    if bench.threads is not None:
        torch.set_num_threads(bench.threads)
    kept = not bench.system_allocator and keep_freed_memory()
    effort = QUICK if bench.quick else Effort(seconds=bench.seconds)
    results: list[Result] = []
    goals = [aim for name in chosen(bench.names) for aim in getattr(module(name), "AIMS", ())]
    with progress("benchmarks", len(cases)) as bar:
        for case in cases:
            bar.advance(0, case=case.title(bench.quick))
            results.append(measure(case, effort, bench.quick))
            bar.advance(1)
            # After every case: an interrupted run leaves what it found.
            write(bench.out, results, kept, goals)
    # Off a terminal nobody sets the width, and the table has many columns.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for table in (aims(results, goals), speed(results)):
        if table.rows:
            print_table(table, console)
    console.print(f"every contender, memory and the pictures: {bench.out}")
    return int(any(result.wrong for result in results))


def chosen(names: Sequence[str]) -> list[str]:
    """The named files, or all of them, in the order of the table."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise InputError(f"names: got {', '.join(unknown)}, expected some of {', '.join(NAMES)}")
    return [name for name in NAMES if not names or name in names]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def cases_of(names: Sequence[str]) -> list[Case]:
    return [case for name in chosen(names) for case in module(name).CASES]


def write(folder: Path, results: Sequence[Result], kept: bool, goals: Sequence[Aim]) -> None:
    """The tables as Markdown, everything as JSON, speed-ups and the memory of processes as pictures."""
    where = {**machine(), "freed_memory": "kept and reused" if kept else "left to the system's allocator"}
    pictures = {}
    if any(result.ratios for result in results):
        pictures["benchmarks.png"] = speed_ups(results)
    if any(result.processes for result in results):
        pictures["memory.png"] = time_and_memory(results)
    for name, figure in pictures.items():
        atomic_write(folder / name, png(figure))
    atomic_write(folder / "benchmarks.md", document(results, where, list(pictures), goals).encode())
    found = [{"measure": g.measure, "aim": str(g.target), "found": g.found(results)} for g in goals]
    data = {**where, "aims": found, "results": [result.to_json() for result in results]}
    atomic_write(folder / "benchmarks.json", (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
