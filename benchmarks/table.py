"""Results as tables: one of speed, one of every opponent, one of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from base_fast.reports.tables import ResultTable, Value, origin, to_markdown
from base_fast.runs import from_dict
from base_fast.runs.artefacts import Provenance
from benchmarks.aims import Aim
from benchmarks.result import Result, Verdict
from benchmarks.targets import OURS
from benchmarks.timing import Spread

WORDS = MappingProxyType({True: "met", False: "missed", None: "open"})
QUICK = "Quick sizes: a check of the harness. The numbers say nothing, and targets do not apply."


def seconds(value: float) -> str:
    """Three significant digits in the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def size(value: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value} B"


def times(ratio: Spread) -> str:
    return f"{ratio.median:.3g}× ({ratio.low:.3g}–{ratio.high:.3g})"


def targets(result: Result) -> str:
    """≥ 3× eager: 4.1, met"""
    found = [(str(t), t.found(result), WORDS[t.met(result)]) for t in result.targets()]
    return "; ".join(f"{text}: {word}" if x is None else f"{text}: {x:.3g}, {word}" for text, x, word in found)


def speed(results: Sequence[Result]) -> ResultTable:
    columns = ("case", "kernel", "base_fast", "best opponent", "its time", "speed-up", "× floor", "error", "targets")
    rows: list[tuple[Value, ...]] = []
    for r in results:
        error = None if r.ours.error is None else f"{r.ours.error:.1e}"
        if not r.ours.takes_part:
            rows.append((r.title, r.kernel, verdict(r.ours), None, None, None, None, error, targets(r)))
            continue
        floor = None if r.over_floor is None else f"{r.over_floor:.2f}"
        best = (r.best, seconds(r.times[r.best].median), times(r.ratios[r.best])) if r.best else (None, None, None)
        rows.append((r.title, r.kernel, seconds(r.times[OURS].median), *best, floor, error, targets(r)))
    notes = (
        "Medians over interleaved rounds. Speed-up: the median of the rounds' ratios (10 % and 90 % quantile), against "
        "the opponent with the smallest median. × floor: the time over that of moving the bytes which have to be read "
        "and written at the bandwidth of a copy between mapped buffers. Error: largest difference from the expected "
        "values and gradients, relative to the largest of each.",
    )
    return ResultTable("Speed", columns, tuple(rows), notes)


def aims(results: Sequence[Result], goals: Sequence[Aim]) -> ResultTable:
    """Those of which at least one case was measured."""
    rows: list[tuple[Value, ...]] = []
    for goal in goals:
        if any(r.counts and r.case in goal.cases for r in results):
            found, met = goal.found(results), goal.met(results)
            beyond = None if goal.beyond is None else f"{goal.beyond:.3g}×"
            value = None if found is None else f"{found:.3g}×"
            rows.append((goal.measure, len(goal.cases), str(goal.target), beyond, value, WORDS[met]))
    notes = ("Geometric means over the cases. Beyond: more than was aimed at.",)
    return ResultTable("Aims", ("measure", "cases", "aim", "beyond", "found", "aim is"), tuple(rows), notes)


def opponents(results: Sequence[Result]) -> ResultTable:
    rows: list[tuple[Value, ...]] = []
    for r in results:
        for i, (name, found) in enumerate((n, v) for n, v in r.verdicts.items() if n != OURS):
            time = ratio = None
            if name in r.times:
                t = r.times[name]
                time = f"{seconds(t.median)} ({seconds(t.low)}–{seconds(t.high)})"
                ratio = times(r.ratios[name])
            limit = f"{r.times[name].median / r.limits[name]:.2f}" if name in r.limits else None
            rows.append(("" if i else r.title, name, time, ratio, limit, verdict(found)))
    columns = ("case", "contender", "time", "its time / ours", "× arithmetic", "values")
    notes = (
        "Ours in other ways, then the opponents. × arithmetic: the time over that of the multiply-adds which are "
        "needed, at the machine's rate.",
    )
    return ResultTable("Every other contender", columns, tuple(rows), notes)


def memory(results: Sequence[Result]) -> ResultTable:
    rows: list[tuple[Value, ...]] = [
        ("" if i else r.title, name, size(m.extra), size(m.saved), size(m.saved_beyond), size(m.activations))
        for r in results
        for i, (name, m) in enumerate(r.memory.items())
    ]
    columns = ("case", "contender", "peak", "saved", "saved beyond inputs", "saved activations")
    notes = (
        "Peak: what a call allocates at most at one time, without the gradients that it returns. Saved: distinct "
        "storages kept for the backward pass, with and without those of the inputs, and without parameters.",
    )
    return ResultTable("Memory", columns, tuple(rows), notes)


def processes(results: Sequence[Result]) -> ResultTable:
    rows: list[tuple[Value, ...]] = []
    for r in results:
        for i, (name, peak) in enumerate(r.processes.items()):
            ratio = f"{peak / r.processes[OURS]:.3g}×" if OURS in r.processes else None
            rows.append(("" if i else r.title, name, size(peak), ratio))
    notes = (
        "The largest resident size of a process that does nothing else, less what it held after imports and set-up, "
        "with the system's allocator as it is.",
    )
    return ResultTable("Memory of a process", ("case", "contender", "peak", "its peak / ours"), tuple(rows), notes)


def verdict(found: Verdict) -> str:
    """agrees (1e-07), or the status with its reason."""
    if not found.takes_part:
        return f"{found.status}: {found.reason}"
    if found.reason:
        return f"not compared: {found.reason}"
    return f"{found.status} ({'in distribution' if found.error is None else f'{found.error:.0e}'})"


def tables(results: Sequence[Result], goals: Sequence[Aim] = ()) -> tuple[ResultTable, ...]:
    found = (aims(results, goals), speed(results), opponents(results), memory(results), processes(results))
    return tuple(table for table in found if table.rows)


def document(
    results: Sequence[Result], machine: Mapping[str, Any], pictures: Sequence[str] = (), goals: Sequence[Aim] = ()
) -> str:
    """The whole run as Markdown."""
    lines = ["# Benchmarks", ""]
    started = from_dict(Provenance, {field.name: machine[field.name] for field in fields(Provenance)})
    lines += [f"- {name}: {text}" for name, text in origin(started)]
    lines.append(f"- threads: {machine['threads']}; torch uses {machine['cpu_capability']}")
    lines.append(f"- freed memory: {machine['freed_memory']}")
    bandwidth = machine["copy_bytes_per_second"] / 1e9
    lines.append(f"- copy bandwidth: {bandwidth:.1f} GB/s (all threads, mapped buffers, read + write counted)")
    rate, source = machine["multiply_adds_per_second"] / 1e9, machine["multiply_adds_by"]
    lines.append(f"- float32 multiply-adds: {rate:.0f} G/s (all threads, {source})")
    if any(r.quick for r in results):
        lines += ["", QUICK]
    for picture in pictures:
        lines += ["", f"![{picture.partition('.')[0]}]({picture})"]
    for table in tables(results, goals):
        lines += ["", to_markdown(table).rstrip()]
    return "\n".join(lines) + "\n"
