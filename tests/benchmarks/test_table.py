"""The written form of results that are known."""

from __future__ import annotations

import json

from benchmarks.aims import Aim
from benchmarks.memory import Memory
from benchmarks.plot import speed_ups, time_and_memory
from benchmarks.result import ABSENT, AGREES, DIFFERS, Result, Verdict
from benchmarks.table import document, seconds, size
from benchmarks.targets import OURS, Faster
from benchmarks.timing import Spread
from tests.benchmarks.toy import case, times

MACHINE = {
    "created": "2026-01-02T03:04:05+00:00",
    "commit": "abc",
    "command": "python -m benchmarks",
    "machine": {"cpu": "A CPU", "cores": 2, "memory_bytes": 2**34, "gpus": []},
    "versions": {"python": "3.11", "torch": "2.14"},
    "threads": 2,
    "cpu_capability": "AVX512",
    "copy_bytes_per_second": 2e10,
    "multiply_adds_per_second": 1e11,
    "multiply_adds_by": "a toy",
    "freed_memory": "kept and reused",
}
CASE = case(plain=times(2.0), inductor=times(2.0), later=times(2.0))
GOOD = Result(
    CASE,
    False,
    "cpu",
    "C++",
    {
        OURS: Verdict(AGREES, error=1.5e-7),
        "plain": Verdict(AGREES, error=1e-7),
        "inductor": Verdict(AGREES, "draws nothing"),
        "later": Verdict(ABSENT, "not installed"),
    },
    times={
        OURS: Spread(0.01, 0.009, 0.011),
        "plain": Spread(0.025, 0.02, 0.03),
        "inductor": Spread(4.2e-5, 4e-5, 5e-5),
    },
    ratios={"plain": Spread(2.5, 2.2, 2.7), "inductor": Spread(0.0042, 0.004, 0.005)},
    memory={OURS: Memory(40_000_000, 80, 0, 40), "plain": Memory(1_200, 3_000_000_000, 4, 2_000_000_000)},
    rounds=5,
    floor=0.008,
    limits={"inductor": 2e-5},
    processes={OURS: 100_000_000, "plain": 2_500_000_000},
)
BAD = Result(CASE, False, "cpu", "reference", {OURS: Verdict(DIFFERS, "y is off by 0.1", 0.1)})

GOLDEN = """\
# Benchmarks

- created: 2026-01-02T03:04:05+00:00
- commit: abc
- command: python -m benchmarks
- machine: A CPU, 2 cores, 16 GiB memory
- versions: python 3.11, torch 2.14
- threads: 2; torch uses AVX512
- freed memory: kept and reused
- copy bandwidth: 20.0 GB/s (all threads, mapped buffers, read + write counted)
- float32 multiply-adds: 100 G/s (all threads, a toy)

![a](a.png)

**Aims**

| measure | cases | aim | beyond | found | aim is |
|---|---:|---|---:|---:|---|
| a toy | 1 | ≥ 2× plain | 3× | 2.5× | met |
| both | 2 | inductor: ≥ 2× plain | – | – | open |

Geometric means over the cases. Beyond: more than was aimed at.

**Speed**

| case | kernel | base_fast | best opponent | its time | speed-up | × floor | error | targets |
|---|---|---|---|---|---|---:|---:|---|
| toy: double, P = 1,000 | C++ | 10 ms | inductor | 42 µs | 0.0042× (0.004–0.005) | 1.25 | 1.5e-07 | \
≥ 3× the best: 0.0042, missed; ≥ 2× plain: 2.5, met |
| toy: double, P = 1,000 | reference | values differ: y is off by 0.1 | – | – | – | – | 1.0e-01 | \
≥ 3× the best: open; ≥ 2× plain: open |
"""
OPPONENTS = """\
| case | contender | time | its time / ours | × arithmetic | values |
|---|---|---|---|---:|---|
| toy: double, P = 1,000 | plain | 25 ms (20 ms–30 ms) | 2.5× (2.2–2.7) | – | agrees (1e-07) |
|  | inductor | 42 µs (40 µs–50 µs) | 0.0042× (0.004–0.005) | 2.10 | not compared: draws nothing |
|  | later | – | – | – | absent: not installed |
"""
MEMORY = """\
| case | contender | peak | saved | saved beyond inputs | saved activations |
|---|---|---|---|---|---|
| toy: double, P = 1,000 | base_fast | 40 MB | 80 B | 0 B | 40 B |
|  | plain | 1.2 kB | 3 GB | 4 B | 2 GB |
"""
PROCESSES = """\
| case | contender | peak | its peak / ours |
|---|---|---|---:|
| toy: double, P = 1,000 | base_fast | 100 MB | 1× |
|  | plain | 2.5 GB | 25× |
"""


def test_a_document_is_written_as_it_was():
    goals = (
        Aim("a toy", (CASE,), Faster(2.0, "plain"), beyond=3.0),
        Aim("both", (CASE, case()), Faster(2.0, "plain", by="inductor")),
        Aim("another", (case(),), Faster(2.0, "plain")),
    )
    text = document([GOOD, BAD], MACHINE, ["a.png"], goals)
    assert text.startswith(GOLDEN)
    assert OPPONENTS in text and MEMORY in text and PROCESSES in text


def test_a_result_is_json():
    data = json.loads(json.dumps(GOOD.to_json()))
    assert data["best"] == "inductor" and data["sizes"] == {"p": 1000} and data["rounds"] == 5
    assert data["times"]["base_fast"] == {"median": 0.01, "low": 0.009, "high": 0.011}
    assert data["verdicts"]["later"]["status"] == "absent"
    assert data["targets"][0] == {"target": "≥ 3× the best", "found": 0.0042, "met": False}


def test_units():
    assert [seconds(x) for x in (2.0, 0.0123, 4.5e-6)] == ["2 s", "12.3 ms", "4.5 µs"]
    assert [size(x) for x in (2_500_000_000, 12_300_000, 4_500, 7)] == ["2.5 GB", "12.3 MB", "4.5 kB", "7 B"]


def test_a_picture_has_a_line_per_case_with_a_speed_up():
    (axes,) = speed_ups([GOOD, BAD, GOOD]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["toy: double, P = 1,000"] * 2


def test_a_picture_weighs_the_processes_of_each_contender():
    left, right = time_and_memory([GOOD, BAD]).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["base_fast", "plain"]
    assert [bar.get_width() for bar in right.patches] == [0.1, 2.5]
