"""A database of random genotypes on many tasks: what a value network learns from. All are trained on every task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError, Interrupted
from base_fast.experiments.collect import (
    COLUMNS,
    CollectConfig,
    ManyTasksConfig,
    check_network,
    csv_text,
    draw,
    genotype_of,
    measured,
)
from base_fast.predictors import Database
from base_fast.random import fold_in, key
from base_fast.runs import Clock, RunFolder, Step, atomic_write, interruptible, run_loop
from base_fast.runs.workers import Workers, nothing
from base_fast.space import get
from base_fast.tasks import Task, TaskDescription, TaskDistribution, describe, open_tasks

DATABASE, ROWS = "database.safetensors", "database.csv"
SECONDS_BETWEEN_LOOKS = 0.2


def prepare_tasks(config: CollectConfig) -> list[TaskDistribution]:
    """Open the data, and try the first network on an image of each size, before there is a run folder.

    Raises:
        InputError: the data cannot be opened, the space has too few genotypes, or space, network and images do not
            fit each other.
    """
    opened = [open_tasks(one) for one in _tasks(config).drawn]
    for one in opened:
        check_network(config, one.ways[1], min(one.resolutions))
    return opened


def collect_tasks(
    config: CollectConfig,
    run: RunFolder,
    opened: Sequence[TaskDistribution] | None = None,
    begin: Callable[[], object] = nothing,
) -> Database:
    """Train every genotype on every task; `database.safetensors` and `database.csv` are rewritten after each task.

    Args:
        run: called again with it, the collection goes on after the last whole training, to the same bits.
        opened: what `prepare_tasks(config)` gave, if it was called before.
        begin: what each further process has to do first, such as to register primitives.

    Returns:
        The database of accuracies.

    Raises:
        Interrupted: SIGINT or SIGTERM; trainings under way begin again when the collection goes on.
        Diverged: a training did.
        InputError: see `prepare_tasks`.
    """
    tasks, total = _tasks(config), _tasks(config).number * config.cells
    run.write("space", get(config.space))
    # One process more would only wait for the first.
    count = tasks.processes if tasks.processes > 1 else 0
    with Workers(_Trainings(config), count, begin, "spawn") as workers:
        process = _Collection(config, opened or prepare_tasks(config), workers, run)
        values = run_loop(
            process, name="collect", unit="training", total=total, run=run, checkpoint_every=config.cells
        ).state
    return process.publish(values)


def _tasks(config: CollectConfig) -> ManyTasksConfig:
    if config.tasks is None:
        raise InputError("tasks: got none, expected what tasks are drawn from")
    return config.tasks


def task_of(config: CollectConfig, opened: Sequence[TaskDistribution], number: int) -> Task:
    """Task `number` of a collection, named by it as well: two may have the same classes."""
    drawn = opened[number % len(opened)].sample(fold_in(key(config.seed), number))
    return replace(drawn, name=f"{number}-{drawn.name}")


class _Trainings:
    """Trains genotype i mod cells on task ⌊i / cells⌋; opens the data at the first call, and keeps the last task."""

    def __init__(self, config: CollectConfig) -> None:
        self.config = config
        self.choices = draw(get(config.space), config.cells, key(config.seed))
        self.opened: list[TaskDistribution] = []
        self.last: dict[int, Task] = {}

    def __call__(self, number: int) -> tuple[float, ...]:
        config = self.config
        self.opened = self.opened or [open_tasks(one) for one in _tasks(config).drawn]
        task, cell = divmod(number, config.cells)
        if task not in self.last:
            self.last = {task: task_of(config, self.opened, task)}
        return measured(config, genotype_of(self.choices[cell], get(config.space)), self.last[task])


class _Collection:
    """A collection as a process for `run_loop`: a step is a training, the state (trainings done, Q) float64 values."""

    def __init__(
        self,
        config: CollectConfig,
        opened: Sequence[TaskDistribution],
        workers: Workers[int, tuple[float, ...]],
        run: RunFolder,
    ) -> None:
        self.config, self.opened, self.workers, self.run = config, opened, workers, run
        self.space = get(config.space)
        self.choices = draw(self.space, config.cells, key(config.seed))
        self.texts = [genotype_of(z, self.space).compact() for z in self.choices]
        self.described: list[TaskDescription] = []
        self.under_way: dict[int, Future[tuple[float, ...]]] = {}

    def start(self, clock: Clock) -> Step[Tensor]:
        return Step(torch.empty(0, len(COLUMNS), dtype=torch.float64, device="cpu"))

    def step(self, state: Tensor, clock: Clock) -> Step[Tensor]:
        number = len(state)
        values = self._trained(number)
        state = torch.cat([state, torch.tensor([values], dtype=torch.float64, device="cpu")])
        task, cell = divmod(number, self.config.cells)
        named = dict(zip((quantity.name for quantity in COLUMNS), values, strict=True))
        row = {**named, "task": self._describe(task).name, "genotype": self.texts[cell]}
        if cell == self.config.cells - 1:
            self.publish(state)
        return Step(state, row, shown={"task": task, "accuracy": values[0]})

    def _trained(self, number: int) -> tuple[float, ...]:
        """What a training came to; the next ones are under way, two for each process."""
        last = min(number + max(2 * self.workers.count, 1), _tasks(self.config).number * self.config.cells)
        for i in range(number, last):
            if i not in self.under_way:
                self.under_way[i] = self.workers.submit(i)
        future = self.under_way.pop(number)
        with interruptible() as interruption:
            while not wait([future], SECONDS_BETWEEN_LOOKS).done:
                if interruption.requested:
                    raise Interrupted("stopped while workers were waited for")
        return self.workers.result(future)

    def publish(self, state: Tensor) -> Database:
        """Write the database of all trainings that are done, as a file for a value network and as CSV."""
        cells = self.config.cells
        task = torch.arange(len(state), device="cpu") // cells
        described = tuple(self._describe(i) for i in range(int(task[-1]) + 1))
        choices = self.choices.repeat(len(described), 1, 1)[: len(state)]
        database = Database(self.space, COLUMNS[0], described, task, choices, state[:, 0])
        names = ["task", "name", "arch", *(quantity.name for quantity in COLUMNS), "seed"]
        rows = []
        for i, (accuracy, loss, parameters, macs) in enumerate(state.tolist()):
            name, arch = described[i // cells].name, self.texts[i % cells]
            rows.append((i // cells, name, arch, accuracy, loss, int(parameters), int(macs), self.config.train.seed))
        atomic_write(self.run.path / ROWS, csv_text(names, rows).encode())
        database.save(self.run.path / DATABASE)
        return database

    def pack(self, state: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"values": state}, {}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> Tensor:
        return tensors["values"].clone()

    def _describe(self, task: int) -> TaskDescription:
        while len(self.described) <= task:
            self.described.append(describe(task_of(self.config, self.opened, len(self.described))))
        return self.described[task]
