"""A few real inner steps and cells of a meta-training, in a process of their own, and what they take.

    python -m base_fast.forecast.probe < question.json

A process of its own begins with no memory but the interpreter's and PyTorch's, as the run itself will, and what its
allocator really takes is what the system says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from base_fast.device import resolve
from base_fast.errors import InputError
from base_fast.forecast.cost import Cost
from base_fast.forecast.heaviness import evenly, heaviness
from base_fast.meta import InnerConfig, MetaConfig, MetaTrainer, StepRule, Variables
from base_fast.meta.architecture import draw_cells
from base_fast.meta.evidence import CellEvidenceConfig, evidence_on
from base_fast.meta.inner import InnerLoop
from base_fast.meta.outer import task_gradient
from base_fast.meta.variables import for_task
from base_fast.random import fold_in
from base_fast.runs import from_dict, to_dict
from base_fast.runs.memory import largest_private
from base_fast.tasks import Task, TaskConfig, open_tasks

T = TypeVar("T")

STEPS = 8
"""Inner steps that are timed, of which the heaviest is one."""
LOOKED_AT = 256
"""The first inner steps of a task, among which those are chosen."""
CELLS = 4
"""Cells that are measured."""
TWICE = 2
"""What is timed is done so often, and the shorter time counts: others are at work on the machine, too."""
CHAINS = (2, 4)
"""Steps of the two short inner loops that are unrolled, where the outer rule unrolls them."""


@dataclass(frozen=True)
class Question:
    """What a process is to find out."""

    meta: MetaConfig
    tasks: TaskConfig
    batch: int
    """Images of a step."""
    timed: bool
    """Whether cells are measured for their time; otherwise one, the heaviest, for its memory."""


@dataclass(frozen=True)
class Found:
    """What it found: seconds, and bytes of the process at their largest, pages of files left out."""

    batch: int
    numbers: int
    """Floats of a task's gradient on the prior."""
    held: int
    """Bytes before the first step: the interpreter, PyTorch, the data, the prior."""
    stepping: int
    """Bytes with inner steps, the heaviest among them; unrolled: with the shorter chain."""
    chained: int
    """Bytes that one more unrolled step takes; 0 where the outer rule unrolls nothing."""
    sample: Cost
    """Of drawing a task."""
    step: Cost
    """Of an inner step, on average."""
    around: Cost
    """Of a task's inner loop besides its steps: the outer rule's own gradient."""
    measuring: int = 0
    """Bytes with cells being measured."""
    warm_cell: Cost = Cost()
    """Of a cell, on average, with all of the evidence."""
    cold_cell: Cost = Cost()
    """The same during the warm-up."""
    different: float = 1.0
    """Share of a draw's cells that are different, and so are measured."""


PROBE = (sys.executable, "-m", "base_fast.forecast.probe")


def ask(question: Question, command: Sequence[str] = PROBE) -> Found:
    """The answer of a fresh process.

    Args:
        command: what the process runs: this module's `main`, in the end.

    Raises:
        InputError: what the process says, or that it was killed, as happens where memory does not suffice.
    """
    done = subprocess.run(command, input=json.dumps(to_dict(question)), capture_output=True, text=True)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        why = last[0] if last else "it was killed; its memory did not suffice"
        raise InputError(f"probe of batches of {question.batch}: {why}")
    return from_dict(Found, json.loads(done.stdout.splitlines()[-1]))


def answer(question: Question) -> Found:
    """What this process finds; its memory counts from its beginning."""
    config = question.meta
    inner = replace(config.inner, batch_size=question.batch)
    tasks = open_tasks(question.tasks)
    trainer = MetaTrainer(config)
    device = resolve(config.device)
    prior = Variables.of(trainer.initial().to(device))
    clock = _Clock(device)
    iteration = fold_in(fold_in(trainer.key, 1), 0)
    task, _ = clock.timed(lambda: tasks.sample(fold_in(fold_in(iteration, 0), 0)))
    held = largest_private()
    sample = clock.least(lambda: tasks.sample(fold_in(fold_in(iteration, 1), 0)))
    unrolled = config.outer.rule == "unrolled"
    loop = _loop(trainer, prior, task, fold_in(fold_in(iteration, 0), 1), inner, unrolled)
    found = (_chains if unrolled else _steps)(question, loop, clock)
    found = replace(found, held=held, sample=sample, numbers=sum(x.numel() for x in prior))
    draws = inner.z == "single" and inner.alpha.lr > 0.0
    if not draws:
        return found
    cells = _drawn(loop)
    _measure_heaviest(loop, cells)
    found = replace(found, measuring=largest_private(), different=len(cells) / inner.architecture.cells)
    return _cells(found, loop, cells, clock) if question.timed else found


def _loop(
    trainer: MetaTrainer, prior: Variables, task: Task, key: Tensor, inner: InnerConfig, unrolled: bool
) -> InnerLoop:
    prior = prior.leaves() if unrolled else prior
    supernet, start = for_task(trainer.supernet, prior, inner.head, task.num_classes)
    config = trainer.config
    return InnerLoop(
        supernet, start, task, key, inner, tau=config.tau(0.0), noise=config.noise(0.0), differentiable=unrolled
    )


def _steps(question: Question, loop: InnerLoop, clock: _Clock) -> Found:
    """Steps that differ in what runs are chosen evenly from light to heavy; the heaviest takes the most memory."""
    state = loop.start()
    looked_at = range(min(question.meta.inner_steps, LOOKED_AT))
    weights = [0.0 for _ in looked_at]
    if loop.config.z != "soft":
        paths = [loop.architecture(state.q, step).argmax(dim=-1) for step in looked_at]
        weights = [heaviness(loop.supernet, path, loop.task.resolution) for path in paths]
    chosen = evenly(weights, STEPS)
    loop.step(state._replace(step=chosen[0]))  # the first one compiles, allocates, looks for algorithms
    costs = [clock.least(partial(loop.step, state._replace(step=step))) for step in chosen]
    loop.step(state._replace(step=max(looked_at, key=weights.__getitem__)))
    step = sum(costs, Cost()) / len(costs)
    around = step if question.meta.outer.rule == "first_order" else Cost()
    return Found(question.batch, 0, 0, largest_private(), 0, Cost(), step, around)


def _chains(question: Question, loop: InnerLoop, clock: _Clock) -> Found:
    """Unrolled inner loops of two lengths: time and memory are linear in it."""
    # Cells are measured by themselves.
    config = loop.config
    if config.z == "single":
        config = replace(config, alpha=StepRule("sgd", 0.0))
    loop = replace(loop, config=config)
    costs, peaks = [], []
    for length in CHAINS:
        chain = partial(task_gradient, "unrolled", loop, loop.prior, length)
        chain()
        costs.append(clock.least(chain))
        peaks.append(largest_private())
    more = CHAINS[1] - CHAINS[0]
    step = (costs[1] - costs[0]) / more
    return Found(
        question.batch, 0, 0, peaks[0], (peaks[1] - peaks[0]) // more, Cost(), step, costs[0] - step * CHAINS[0]
    )


def _drawn(loop: InnerLoop) -> Tensor:
    """(n, T, E): the different cells of a draw, from light to heavy."""
    config, logits = loop.config.architecture, loop.prior.alpha.detach()
    drawn, _ = draw_cells(loop.supernet.space, logits, config.uniform, fold_in(loop.key, 2), config.cells)
    cells = torch.unique(drawn, dim=0)
    weights = [heaviness(loop.supernet, cell, loop.task.resolution) for cell in cells]
    return cells[sorted(range(len(cells)), key=weights.__getitem__)]


def _measure_heaviest(loop: InnerLoop, cells: Tensor) -> None:
    """As many of the heaviest cells as are measured side by side, after a step of their own."""
    evidence = loop.config.evidence
    short = replace(evidence, own=replace(evidence.own, steps=1), fresh=replace(evidence.fresh, steps=1))
    judge = evidence_on(short, loop.supernet, loop.prior.mu.detach(), loop.task)
    judge.measure(cells[-torch.get_num_threads() :], loop.key)


def _cells(found: Found, loop: InnerLoop, cells: Tensor, clock: _Clock) -> Found:
    """What cells of a draw take, by part of the evidence; steps of a cell's own are taken one and three at a time."""
    config = loop.config
    cells = cells[evenly(range(len(cells)), max(CELLS, torch.get_num_threads()))]

    def cost(evidence: CellEvidenceConfig) -> Cost:
        judge = evidence_on(evidence, loop.supernet, loop.prior.mu.detach(), loop.task)
        # Once before: the first measurement has more to do.
        judge.measure(cells[:1], loop.key)
        return clock.least(lambda: judge.measure(cells, loop.key)) / len(cells)

    def training(part: str, steps: str) -> Cost:
        """Steps of a cell's own, and its measurement after them."""
        evidence = _only(config.evidence, part)
        settings = getattr(evidence, steps)
        one, three = (cost(replace(evidence, **{steps: replace(settings, steps=n)})) for n in (1, 3))
        return one + (three - one) / 2 * (settings.steps - 1)

    evidence = config.evidence
    free = cost(_only(evidence, "training_free")) if evidence.training_free else Cost()
    warm = free
    if evidence.shared:
        warm += cost(_only(evidence, "shared"))
    if evidence.own_steps:
        warm += training("own_steps", "own")
    if evidence.alone:
        warm += training("alone", "fresh")
    return replace(found, warm_cell=warm, cold_cell=free)


def _only(evidence: CellEvidenceConfig, part: str) -> CellEvidenceConfig:
    """The evidence with one of its parts."""
    others = {name: 0.0 for name in ("shared", "own_steps", "alone", "training_free") if name != part}
    return replace(evidence, **others)  # type: ignore[arg-type]


class _Clock:
    """Measures work in seconds of the process and of the wall."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"

    def timed(self, work: Callable[[], T]) -> tuple[T, Cost]:
        before = self._now()
        result = work()
        return result, self._now() - before

    def least(self, work: Callable[[], Any]) -> Cost:
        costs = [self.timed(work)[1] for _ in range(TWICE)]
        return Cost(min(cost.cpu for cost in costs), min(cost.wall for cost in costs))

    def _now(self) -> Cost:
        if self._gpu:
            torch.cuda.synchronize()
        return Cost(time.process_time(), time.perf_counter())


def main() -> int:
    try:
        found = answer(from_dict(Question, json.load(sys.stdin)))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(to_dict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
