"""`python -m benchmarks.gpu_check`: everything that needs a GPU, in eight minutes: build, tests, values, times.

Every stage is a process of its own with a budget of its own: what hangs or corrupts a context ends with its stage, and
the next one goes on. Stages write every row as they find it, so that one that runs out of time leaves what it has.
`--dry-run` walks the same way on the CPU, at tiny sizes and without building, to find mistakes before there is a GPU.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
import tyro

import base_fast as bf
from base_fast.reports.tables import ResultTable, print_table
from base_fast.runs.storage import atomic_write
from benchmarks.__main__ import NAMES, QUICK, cases_of
from benchmarks.case import Case
from benchmarks.machine import machine
from benchmarks.measure import measure, prepare
from benchmarks.result import AGREES
from benchmarks.table import times
from benchmarks.targets import OURS
from benchmarks.timing import Effort

ROOT = Path(__file__).resolve().parents[1]
OK, WRONG, LATE = "ok", "failed", "out of time"
LEAST = {"torch": (2, 11), "triton": (3, 6)}
# Beside ours and its variants: PyTorch's own operations, and its compiler.
OPPONENTS = ("eager", "eager chain", "channels-last modules", "modules", "torch.compile")


@dataclass(frozen=True)
class Row:
    """One thing that a stage looked at: whether it is as it should be, and what was found."""

    name: str
    status: str
    found: str = ""


@dataclass(frozen=True)
class Context:
    """What a stage may use.

    Attributes:
        add: notes a row.
        names: of the benchmarks whose cases are compared and timed.
        seconds: after which the stage should begin nothing new.
    """

    device: str
    dry: bool
    names: tuple[str, ...]
    seconds: float
    add: Callable[[Row], None]


def facts(context: Context) -> None:
    """Versions, and what serves every op."""
    for name, least in LEAST.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            context.add(Row(name, OK if context.dry else WRONG, "not installed"))
            continue
        enough = tuple(map(int, version.split(".")[:2])) >= least
        context.add(Row(name, OK if enough else WRONG, f"{version}, at least {'.'.join(map(str, least))}"))
    name = "no GPU" if context.device == "cpu" else torch.cuda.get_device_name()
    context.add(Row("device", OK, name))
    for op, kernels in bf.backends().items():
        context.add(Row(op, OK, kernels[context.device]))


def build(context: Context) -> None:
    """The CUDA extension, in place."""
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    if context.dry:
        command = [sys.executable, "setup.py", "--quiet", "--version"]
    _finished(context, "extension", command, BASE_FAST_CUDA="1", BASE_FAST_EXTENSION="1")


def tests(context: Context) -> None:
    """The tests that need a GPU; a dry run only collects them."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"]
    _finished(context, "pytest -m gpu", [*command, "--collect-only"] if context.dry else command)


def values(context: Context) -> None:
    """Ours and its variants against the reference, at small sizes and in float32 proper."""

    def compare(case: Case) -> None:
        for name, verdict in prepare(case, quick=True, device=context.device).verdicts.items():
            if name not in case.opponents:
                error = "" if verdict.error is None else f"error {verdict.error:.1e}"
                status = OK if verdict.status == AGREES else WRONG
                context.add(Row(f"{case.title(True)}: {name}", status, verdict.reason or error))

    # An edge of many ReLUs is judged by the errors of PyTorch's own modules.
    _each_case(context, ("channels-last modules",), compare)


def speed(context: Context) -> None:
    """Ours against eager PyTorch and torch.compile; sizes are those of the CPU's table."""
    effort = QUICK if context.dry else Effort(seconds=1.0, least=5)

    def time(case: Case) -> None:
        result = measure(case, effort, quick=context.dry, device=context.device)
        ours = result.times.get(OURS)
        found = [f"{times(ratio)} {name}" for name, ratio in result.ratios.items()]
        text = result.ours.reason if ours is None else ", ".join([f"{1e3 * ours.median:.3g} ms", *found])
        context.add(Row(result.title, OK if ours is not None else WRONG, text))

    _each_case(context, OPPONENTS, time)


def _each_case(context: Context, opponents: Sequence[str], look: Callable[[Case], None]) -> None:
    """The chosen benchmarks' cases with these opponents alone, and with the variants that need no other."""
    began = perf_counter()
    for case in cases_of(context.names):
        title = case.title(context.dry)
        kept = {name: c for name, c in case.opponents.items() if name in opponents}
        variants = {name: c for name, c in case.variants.items() if set(c.yardstick) <= set(kept)}
        if perf_counter() - began > context.seconds:
            context.add(Row(title, LATE))
            continue
        try:
            look(replace(case, opponents=kept, variants=variants, processes=()))
        except Exception as failure:  # whatever it raises, the other cases go on
            context.add(Row(title, WRONG, f"{type(failure).__name__}: {failure}"[:200]))


def _finished(context: Context, name: str, command: Sequence[str], **environment: str) -> None:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    last = (done.stdout + done.stderr).strip().splitlines()[-1:]
    context.add(Row(name, OK if done.returncode == 0 else WRONG, f"exit status {done.returncode}: {' '.join(last)}"))


@dataclass(frozen=True)
class Stage:
    run: Callable[[Context], None]
    seconds: int

    @property
    def name(self) -> str:
        return self.run.__name__


# Eight minutes together.
STAGES = (Stage(facts, 30), Stage(build, 150), Stage(tests, 75), Stage(values, 75), Stage(speed, 150))


@dataclass(frozen=True)
class Check:
    """Exit status 1 when anything is not as it should be."""

    out: Path = Path("runs/gpu_check")
    """Folder for gpu_check.json, gpu_check.md and the stages' rows."""
    dry_run: bool = False
    """On the CPU, at tiny sizes, building nothing."""
    names: tuple[str, ...] = NAMES
    """Benchmarks whose cases are compared and timed."""
    stage: str = ""
    """Run this stage alone, in this process."""


def main(arguments: Sequence[str] | None = None) -> int:
    check = tyro.cli(Check, args=arguments, prog="python -m benchmarks.gpu_check", description=__doc__)
    if not check.dry_run and not torch.cuda.is_available():
        print("gpu_check: no GPU is available; --dry-run checks the script itself", file=sys.stderr)
        return 2
    chosen = [stage for stage in STAGES if check.stage in ("", stage.name)]
    if not chosen:
        print(f"stage: got {check.stage!r}, expected one of {', '.join(s.name for s in STAGES)}", file=sys.stderr)
        return 2
    if check.stage:
        work(check, chosen[0])
        return 0
    found = {stage.name: supervised(check, stage) for stage in chosen}
    write(check.out, found)
    return int(any(row.status != OK for rows in found.values() for row in rows))


def work(check: Check, stage: Stage) -> None:
    """The stage itself, which leaves its rows in a file."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        atomic_write(rows_of(check, stage), json.dumps([asdict(row) for row in rows], ensure_ascii=False).encode())

    # What remains is for imports, and for the case that has begun.
    stage.run(Context("cpu" if check.dry_run else "cuda", check.dry_run, check.names, 0.8 * stage.seconds, add))


def supervised(check: Check, stage: Stage) -> list[Row]:
    """Run the stage in a process group of its own, and end that when its time is over."""
    path = rows_of(check, stage)
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--stage", stage.name, "--out", str(check.out.resolve())]
    command += ["--names", *check.names, *(["--dry-run"] if check.dry_run else [])]
    began = perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, error = process.communicate(timeout=stage.seconds)
        ended = Row(stage.name, OK if process.returncode == 0 else WRONG, " ".join(error.strip().splitlines()[-1:]))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        ended = Row(stage.name, LATE)
    rows = [Row(**row) for row in json.loads(path.read_text())] if path.exists() else []
    seconds = f"{perf_counter() - began:.0f} s of {stage.seconds}"
    return [replace(ended, found=f"{seconds} {ended.found if ended.status != OK else ''}".rstrip()), *rows]


def rows_of(check: Check, stage: Stage) -> Path:
    return check.out.resolve() / f"{stage.name}.json"


def write(folder: Path, found: dict[str, list[Row]]) -> None:
    """Everything as JSON, and as a table here and in Markdown."""
    data = {**machine(), "stages": {name: [asdict(row) for row in rows] for name, rows in found.items()}}
    atomic_write(folder / "gpu_check.json", (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
    rows = tuple((name, row.name, row.status, row.found) for name, own in found.items() for row in own)
    table = ResultTable("GPU check", ("stage", "what", "status", "found"), rows)
    lines = ["| " + " | ".join(cells) + " |" for cells in (table.columns, ("---",) * 4, *rows)]
    atomic_write(folder / "gpu_check.md", ("\n".join(lines) + "\n").encode())
    print_table(table)


if __name__ == "__main__":
    sys.exit(main())
