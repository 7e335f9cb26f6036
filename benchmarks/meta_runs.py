"""Small meta-trainings that need no files, and what they really take: the truth that models are held against."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from base_fast.engine import METER
from base_fast.engine.meter import Kind
from base_fast.evaluation import NetworkConfig
from base_fast.forecast import Cost
from base_fast.meta import (
    ArchitectureConfig,
    CellEvidenceConfig,
    InnerConfig,
    MetaConfig,
    MetaTrainer,
    OuterConfig,
)
from base_fast.objectives import SharedTrainingConfig
from base_fast.runs.memory import largest_private
from base_fast.supernet import SupernetConfig
from base_fast.tasks import SourceConfig, Task, TaskConfig, TaskDistribution, open_tasks


def digits(*resolutions: int) -> TaskConfig:
    """5-way tasks of scikit-learn's digits, enlarged."""
    return TaskConfig((SourceConfig("digits"),), ways=5, resolutions=resolutions)


@dataclass(frozen=True)
class MetaRun:
    """A meta-training, and what it is drawn from."""

    what: str
    meta: MetaConfig
    tasks: TaskConfig


_EVIDENCE = CellEvidenceConfig(
    images=200, own=SharedTrainingConfig(steps=8, lr=0.05, lr_min=0.0), network=NetworkConfig("nas_bench_201", 8, 5)
)

RUNS = {
    "mixtures": MetaRun(
        "mixtures of DARTS's space, reptile, 16 pixels",
        MetaConfig(
            SupernetConfig("darts", channels=8, layers=3, num_classes=5),
            InnerConfig(z="soft", batch_size=64),
            iterations=3,
            warmup=0,
            tasks=2,
            inner_steps=6,
        ),
        digits(16),
    ),
    "paths": MetaRun(
        "single paths of NAS-Bench-201's space and measured cells, reptile, 32 pixels",
        MetaConfig(
            SupernetConfig("nas_bench_201", channels=16, layers=5, num_classes=5),
            InnerConfig(batch_size=96, architecture=ArchitectureConfig(cells=8), evidence=_EVIDENCE),
            iterations=3,
            warmup=1,
            inner_steps=24,
        ),
        digits(32),
    ),
    "unrolled": MetaRun(
        "mixtures of DARTS's space in bfloat16, unrolled, 16 and 24 pixels",
        MetaConfig(
            SupernetConfig("darts", nodes=2, channels=8, layers=2, num_classes=5),
            InnerConfig(z="soft", batch_size=48),
            OuterConfig("unrolled"),
            iterations=3,
            warmup=0,
            tasks=4,
            inner_steps=5,
            precision="bfloat16",
        ),
        digits(16, 24),
    ),
}


SCALED = replace(
    RUNS["mixtures"], meta=replace(RUNS["mixtures"].meta, iterations=4, tasks=4, inner_steps=8, device="cpu")
)
"""What is run on one process and on several."""


@dataclass(frozen=True)
class Truth:
    """What a meta-training took: seconds of each iteration, and bytes of the process, pages of files left out."""

    iterations: tuple[Cost, ...]
    memory: int
    resolutions: tuple[int, ...] = ()
    """Of the tasks, in the order in which this process drew them."""


@dataclass
class Watched:
    """A distribution over tasks that notes when each task is drawn, and what waits had taken by then."""

    tasks: TaskDistribution
    moments: list[Cost] = field(default_factory=list)
    spent: list[dict[Kind, float]] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)

    def sample(self, key: Tensor) -> Task:
        self.moments.append(now())
        self.spent.append(dict(METER.seconds))
        task = self.tasks.sample(key)
        self.drawn.append(task.resolution)
        return task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tasks, name)


def now() -> Cost:
    """The process's own seconds, and the wall's."""
    return Cost(time.process_time(), time.perf_counter())


def measured(run: MetaRun, fit: Callable[[MetaTrainer, TaskDistribution], object]) -> Truth:
    """Train in this process, which does all tasks; an iteration begins where its first task is drawn."""
    tasks = Watched(open_tasks(run.tasks))
    fit(MetaTrainer(run.meta), tasks)  # type: ignore[arg-type]
    begun = [*tasks.moments[:: run.meta.tasks], now()]
    taken = tuple(after - before for before, after in pairwise(begun))
    return Truth(taken, largest_private(), tuple(tasks.drawn))
