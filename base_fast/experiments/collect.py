"""A database of random genotypes, trained alike on one data set: what cells of a space are worth before any search."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, TrainConfig, train, trained
from base_fast.objectives import Quantity, Table
from base_fast.random import fold_in, key
from base_fast.runs import Clock, RunFolder, Step, atomic_write, changeable, run_loop
from base_fast.space import Genotype, Space, configurations, decode, get
from base_fast.tasks import TargetConfig, Task, TaskConfig, open_target

COLUMNS = (
    Quantity("accuracy", "larger", "%"),
    Quantity("loss", "smaller", "nats"),
    Quantity("parameters", "smaller", ""),
    Quantity("macs", "smaller", ""),
)
"""What cells.csv holds of every genotype, beside its text (`arch`) and the seed of its training."""
FILE = "cells.csv"

_BLOCK = 256


@dataclass(frozen=True)
class ManyTasksConfig:
    """Many drawn tasks in the place of one data set."""

    number: int = 40
    """Tasks; those of a smaller number come first."""
    drawn: tuple[TaskConfig, ...] = (TaskConfig(),)
    """What they are drawn from, in turn: task i from number i modulo their count."""
    processes: int = changeable(1)
    """Trainings at once, in a process each; the bits do not depend on it."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("number", "processes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")
        if not self.drawn:
            raise InputError("drawn: got none, expected at least one distribution over tasks")


@dataclass(frozen=True)
class CollectConfig:
    """Random genotypes, and how all of them are trained."""

    space: str | Space = "darts"
    """darts, nas_bench_201, or one of your own: a `Space`, in a file a table of its fields."""
    cells: int = 72
    """Genotypes, all different; those of a smaller number come first."""
    seed: int = 0
    """Decides on the genotypes; `train.seed` on weights and batches, the same for all."""
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig(epochs=1)
    target: TargetConfig = TargetConfig()
    """The images; its validation images judge."""
    tasks: ManyTasksConfig | None = None
    """Many tasks instead, on each of which all genotypes are trained."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.cells < 1:
            raise InputError(f"cells: got {self.cells}, expected an integer ≥ 1")
        get(self.space)


def draw(space: Space, cells: int, key: Tensor) -> Tensor:
    """Different genotypes, drawn uniformly; a pure function of the key.

    Args:
        space: whose genotypes.
        cells: n; the first of them are those of a smaller n.
        key: int64 (2,).

    Returns:
        choices int64 (n, T, E), in the order in which they were first drawn.

    Raises:
        InputError: the space has fewer genotypes.
    """
    size = math.prod(len(rows) for _, rows in configurations(space)) ** len(space.cell_types)
    if cells > size:
        raise InputError(f"cells: got {cells}, expected at most the {size} genotypes of {space.name}")
    uniform = IndependentEdges.uniform(space)
    found: dict[bytes, Tensor] = {}
    block = 0
    while len(found) < cells:
        for z in uniform.sample(fold_in(key, block), _BLOCK):
            found.setdefault(z.numpy().tobytes(), z)
        block += 1
    return torch.stack(list(found.values())[:cells])


def prepare(config: CollectConfig) -> Task:
    """Open the data, and try the first network on one image, before there is a run folder.

    Raises:
        InputError: the data cannot be opened, the space has too few genotypes, or space, network and images do not
            fit each other.
    """
    task = open_target(config.target)
    check_network(config, task.num_classes, task.resolution)
    return task


def check_network(config: CollectConfig, classes: int, resolution: int) -> None:
    """Try the first network on one image.

    Raises:
        InputError: the space has too few genotypes, or space, network and images do not fit each other.
    """
    space = get(config.space)
    first = genotype_of(draw(space, config.cells, key(config.seed))[0], space)
    network = config.network.build(first, classes, 0).eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, resolution, resolution, device="cpu").to(next(network.parameters())))


def genotype_of(choices: Tensor, space: Space) -> Genotype:
    """The genotype of choices (T, E)."""
    genotype = decode(choices.numpy(), space)
    assert isinstance(genotype, Genotype), "a space with cells has genotypes with cells"
    return genotype


def measured(config: CollectConfig, genotype: Genotype, task: Task) -> tuple[float, ...]:
    """Train a genotype's network: its values, in the order of `COLUMNS`."""
    network = config.network.build(genotype, task.num_classes, config.train.seed)
    found = trained(network, task, train(network, task, config.train))
    return 100.0 * found.accuracy, found.loss, float(found.parameters), float(found.macs)


def csv_text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV; numbers as they are read back to the same bits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()


def collect(config: CollectConfig, run: RunFolder, task: Task | None = None) -> Table:
    """Train every genotype, and keep what came of it in `cells.csv`, which is rewritten after each one.

    Args:
        run: called again with it, the collection goes on after the last whole cell, to the same bits.
        task: what `prepare(config)` gave, if it was called before.

    Returns:
        The database: the quantities `COLUMNS` of all genotypes.

    Raises:
        Interrupted: SIGINT or SIGTERM; the cell under way begins again when the collection goes on.
        Diverged: a training did.
        InputError: see `prepare`; or the images are not those of the cells before.
    """
    process = _Collection(config, task or prepare(config), lambda text: _publish(run, text))
    run.write("space", process.space)
    values = run_loop(process, name="collect", unit="cell", total=config.cells, run=run, checkpoint_every=1).state
    _publish(run, process.text(values))
    return Table(process.space, process.choices, COLUMNS, values)


def read_cells(path: str | Path, space: Space) -> Table:
    """Read a `cells.csv`.

    Raises:
        InputError: see `Table.read`.
    """
    return Table.read(path, space, COLUMNS)


def _publish(run: RunFolder, text: str) -> None:
    atomic_write(run.path / FILE, text.encode())


class _Collection:
    """A collection as a process for `run_loop`: a step is a cell, the state (cells done, Q) float64 values."""

    def __init__(self, config: CollectConfig, task: Task, publish: Callable[[str], object]) -> None:
        self.config, self.task, self.publish = config, task, publish
        self.space = get(config.space)
        self.choices = draw(self.space, config.cells, key(config.seed))
        self.identity = {"data set": task.digest}

    def start(self, clock: Clock) -> Step[Tensor]:
        return Step(torch.empty(0, len(COLUMNS), dtype=torch.float64, device="cpu"))

    def step(self, state: Tensor, clock: Clock) -> Step[Tensor]:
        genotype = self.genotype(len(state))
        values = measured(self.config, genotype, self.task)
        state = torch.cat([state, torch.tensor([values], dtype=torch.float64, device="cpu")])
        # Before the checkpoint: the file may be a cell ahead of it, never behind.
        self.publish(self.text(state))
        named = dict(zip((quantity.name for quantity in COLUMNS), values, strict=True))
        row = {**named, "genotype": genotype.compact(), "seed": self.config.train.seed}
        return Step(state, row, shown={"accuracy": values[0], "best": state[:, 0].max().item()})

    def text(self, state: Tensor) -> str:
        """CSV of the cells that are done."""
        return csv_text(
            ["arch", *(quantity.name for quantity in COLUMNS), "seed"],
            (
                [self.genotype(i).compact(), accuracy, loss, int(parameters), int(macs), self.config.train.seed]
                for i, (accuracy, loss, parameters, macs) in enumerate(state.tolist())
            ),
        )

    def pack(self, state: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"values": state}, self.identity

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> Tensor:
        for name, value in self.identity.items():
            if header.get(name) != value:
                raise InputError(f"{name}: got {value!r}, expected {header.get(name)!r}, with which it was begun")
        return tensors["values"].clone()

    def genotype(self, cell: int) -> Genotype:
        return genotype_of(self.choices[cell], self.space)
