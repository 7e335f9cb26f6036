"""A case measured: values first, then speed and memory of the contenders whose values agree."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch

import base_fast as bf
from benchmarks import memory, process_memory
from benchmarks.agreement import Agreement, Norm, compare, error, errors, mean_error, over_draws, within
from benchmarks.arithmetic import multiply_add_rate
from benchmarks.case import Absent, Case, Contender, Outputs, Run
from benchmarks.device import cuda_events, on_device
from benchmarks.machine import copy_bandwidth
from benchmarks.result import ABSENT, AGREES, DIFFERS, FAILED, Result, Verdict
from benchmarks.targets import OURS
from benchmarks.timing import Effort, Spread, race, ratios, wall

T = TypeVar("T")

# A compiler that needs longer than this is no help to a user either.
FIRST_CALL_SECONDS = 60


@dataclass(frozen=True)
class Ready:
    """A case set up and checked: the calls that agree, and what became of the others."""

    setup: Any
    runs: dict[str, Run]
    verdicts: dict[str, Verdict]


def prepare(case: Case, quick: bool = False, device: str = "cpu") -> Ready:
    """Set the case up, call every contender once and compare what it returns."""
    # Contenders of one case share no compiled code with those of another, whose shapes would count as recompilations.
    torch.compiler.reset()
    setup = _draw(case, 0, quick, device)
    expected = case.expected(setup)
    runs: dict[str, Run] = {}
    verdicts: dict[str, Verdict] = {}
    found: dict[str, dict[str, float]] = {}
    norm = mean_error if case.by_mean else error
    for name, contender in case.yardsticks.items():
        with suppress(Exception):  # what does not run measures nothing, and the contenders go on
            found[name] = errors(_first_call(contender, setup)[1], expected, norm)
    # Opponents first: their errors may be the yardstick of ours.
    for name, contender in reversed(case.contenders.items()):
        noisy = case.noisy if name in case.opponents else frozenset()
        try:
            run, outputs = _first_call(contender, setup)
        except Absent as absence:
            verdicts[name] = Verdict(ABSENT, str(absence))
            continue
        except Exception as failure:  # whatever it raises, the other contenders go on
            verdicts[name] = Verdict(ABSENT if name in case.opponents else FAILED, _one_line(failure))
            continue
        yardsticks = [found[other] for other in contender.yardstick if other in found]
        tolerance = contender.tolerance or case.tolerance
        if contender.other_work:
            verdicts[name] = Verdict(AGREES, contender.other_work)
        else:
            agreement = compare(outputs, expected, tolerance, noisy, yardsticks, norm)
            if contender.draws > 1:
                agreement = _over_draws(case, contender, partial(_draw, case, quick=quick, device=device), norm)
            status = DIFFERS if agreement.problem else AGREES
            verdicts[name] = Verdict(status, agreement.problem, agreement.error)
        if verdicts[name].takes_part:
            runs[name] = run
            found[name] = errors(outputs, expected, norm)
    order = list(case.contenders)
    return Ready(setup, _ordered(runs, order), _ordered(verdicts, order))


def _draw(case: Case, seed: int, quick: bool, device: str) -> Any:
    torch.manual_seed(seed)
    return on_device(case.setup(**(case.quick if quick else case.sizes)), device)


def _over_draws(case: Case, contender: Contender, draw: Callable[[int], Any], norm: Norm) -> Agreement:
    """A contender's errors against its yardstick's, over several set-ups."""
    others = {name: {**case.yardsticks, **case.contenders}[name] for name in contender.yardstick}
    own: list[dict[str, float]] = []
    found: dict[str, list[dict[str, float]]] = {name: [] for name in others}
    for seed in range(contender.draws):
        setup = draw(seed)
        expected = case.expected(setup)
        own.append(errors(_first_call(contender, setup)[1], expected, norm))
        for name, other in others.items():
            with suppress(Exception):  # what does not run measures nothing
                found[name].append(errors(_first_call(other, setup)[1], expected, norm))
    tolerance = contender.tolerance or case.tolerance
    return within(over_draws(own), tolerance, [over_draws(draws) for draws in found.values() if draws])


def measure(case: Case, effort: Effort, quick: bool = False, device: str = "cpu") -> Result:
    """Everything about a case. Times are there only where ours agrees with the reference."""
    ready = prepare(case, quick, device)
    kernel = bf.backends().get(case.op, {}).get(device, "").partition(" (")[0]
    if OURS not in ready.runs:
        return Result(case, quick, device, kernel, ready.verdicts)
    timer = wall if device == "cpu" else cuda_events
    rounds = race(ready.runs, replace(effort, least=min(effort.least, case.rounds)), timer)
    floor = None if case.floor is None else case.floor(ready.setup) / copy_bandwidth(device, timer)
    # The profiler's account of allocations is that of the CPU, and so is the peak of a process.
    counted = ready.runs if device == "cpu" and case.in_process else {}
    processes = [name for name in case.processes if name in ready.runs and device == "cpu"]
    return Result(
        case,
        quick,
        device,
        kernel,
        ready.verdicts,
        times={name: Spread.of(times) for name, times in rounds.items()},
        ratios={name: ratios(rounds[OURS], times) for name, times in rounds.items() if name != OURS},
        memory={name: memory.measure(ready.setup, run) for name, run in counted.items()},
        rounds=len(rounds[OURS]),
        floor=floor,
        limits={
            name: count(ready.setup) / multiply_add_rate()
            for name, count in case.multiply_adds.items()
            if name in ready.runs and device == "cpu"
        },
        processes={name: process_memory.measure(case, name, quick) for name in processes},
    )


def _first_call(contender: Contender, setup: Any) -> tuple[Run, Outputs]:
    with time_limit(FIRST_CALL_SECONDS):
        run = contender.build(setup)
        result = run()
    # A copy: what works in place changes its outputs in the next call.
    return run, {name: x.detach().clone() for name, x in contender.read(setup, result).items()}


def _ordered(values: Mapping[str, T], names: Sequence[str]) -> dict[str, T]:
    return {name: values[name] for name in names if name in values}


def _one_line(failure: Exception) -> str:
    text = " ".join(str(failure).split())
    return f"{type(failure).__name__}: {text}"[:200]


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise `Absent` when the body takes longer. Without effect off the main thread, and on systems without alarms."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return
    late = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal late
        late = True
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    except Exception:
        # A compiler may have wrapped the alarm's exception in its own.
        if late:
            raise Absent(f"the first call, with compilation, took more than {seconds} s") from None
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
