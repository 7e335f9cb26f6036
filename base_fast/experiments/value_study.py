"""Studies of value networks: the first pick on a column that they never saw, and on held-out tasks of a database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from base_fast.arguments import integer, whole_numbers
from base_fast.errors import InputError, Interrupted
from base_fast.objectives import Table, TableConfig, rank_correlation
from base_fast.objectives.workers import one_thread
from base_fast.predictors import AscentConfig, Database, ValueConfig, climb, fit
from base_fast.random import fold_in, generator, key
from base_fast.runs import RunFolder, changeable, interruptible, progress
from base_fast.space import Space, get_any
from base_fast.tasks import TaskDescription

TRUE, SHUFFLED, BLIND, AVERAGE, CHANCE = "true", "shuffled", "none", "average", "random"
WAYS = (TRUE, SHUFFLED, BLIND, AVERAGE, CHANCE)
COMPARED = 2000
"""Genotypes of a table whose order is compared."""
LOST = 0.1
"""Standard deviations that a relaxed point may lose when it is made a genotype."""
_STUDY = 3_000_000


@dataclass(frozen=True)
class ValueStudyConfig:
    """First picks on a column of a table, or on held-out tasks of a database."""

    database: Path | None = changeable(None)
    """database.safetensors, of which each fold of tasks is held out in turn."""
    table: Path | None = changeable(None)
    """A benchmark's table, with a column for each of the next two."""
    source: tuple[str, ...] = ("cifar10_valid",)
    """Columns that are seen, a task each."""
    target: str = "cifar100_test"
    """Column in which the first pick is looked up."""
    genotypes: str = "arch"
    """Column of the genotypes."""
    space: str | Space = "nas_bench_201"
    """The table's space."""
    rows: int = 200
    """Genotypes that are seen of a table, drawn at random, the same of each source."""
    seeds: int = 20
    """Repetitions on the table, each with other genotypes."""
    first_seed: int = 0
    """Their first seed."""
    folds: int = 5
    """Parts of the database's tasks."""
    value: ValueConfig = ValueConfig()
    ascent: AscentConfig = AscentConfig()

    def __post_init__(self) -> None:
        whole_numbers(self)
        integer("rows", self.rows, 2)
        for name in ("seeds", "folds"):
            integer(name, getattr(self, name), 2)
        integer("first_seed", self.first_seed, 0)


@dataclass(frozen=True)
class FirstPick:
    """A seed on a table.

    Attributes:
        rank: of the first pick in the target column; 1 is the best of the table.
        transfer: rank of the best seen genotype, by the first source, without any network.
        rho: Spearman's, of value and target over genotypes of the table.
        honest: share of the starts that lost at most 0.1 sd when they were made genotypes.
        kept: whether the best of these did not lose more than that against the best relaxed point.
        ahead: value of the pick less the best value of the seen genotypes, sd.
        seconds: of the ascent and everything else after the fit.
    """

    seed: int
    rank: int
    transfer: int
    rho: float
    honest: float
    kept: bool
    ahead: float
    seconds: float


@dataclass(frozen=True)
class HeldOut:
    """A held-out task: by way, the regret of the first pick among its genotypes, and Spearman's ρ where there is one.

    Ways: the network with the tasks' true descriptions; with descriptions shuffled among all tasks, in the fit as well;
    with none; the best genotype on average over the other tasks, standardized; a random genotype, in expectation.
    """

    task: str
    fold: int
    regret: dict[str, float]
    rho: dict[str, float]


@dataclass(frozen=True)
class ValueStudy:
    """study.json."""

    genotypes: int
    picks: tuple[FirstPick, ...] = ()
    held_out: tuple[HeldOut, ...] = ()


def prepare_value_study(config: ValueStudyConfig) -> Database | Table:
    """Read the database, or the table's columns.

    Raises:
        InputError: neither or both are given, a file cannot be read, or it has too few tasks or genotypes.
    """
    if (config.database is None) == (config.table is None):
        raise InputError("database, table: expected exactly one of them")
    if config.database is not None:
        database = Database.load(config.database.expanduser())
        if len(database.tasks) < config.folds:
            raise InputError(f"folds: got {config.folds}, expected at most the {len(database.tasks)} tasks")
        if any(len(database.rows(task)) < 2 for task in range(len(database.tasks))):
            raise InputError("database: a task has one genotype, expected several of each to pick from")
        return database
    assert config.table is not None
    columns = (*config.source, config.target)
    table = TableConfig(config.table, columns, genotypes=config.genotypes).open(get_any(config.space))
    if config.rows > len(table):
        raise InputError(f"rows: got {config.rows}, expected at most the {len(table)} of {config.table}")
    return table


def study_value(config: ValueStudyConfig, run: RunFolder, data: Database | Table | None = None) -> ValueStudy:
    """Do what `run` does not hold yet; write and return what is in `study.json`.

    Raises:
        Interrupted: SIGINT or SIGTERM; calling it again with the same run goes on.
        InputError: see `prepare_value_study`.
    """
    data = data or prepare_value_study(config)
    study = ValueStudy(len(data))
    total = config.seeds if isinstance(data, Table) else len(data.tasks)
    with interruptible() as interruption, one_thread(), progress("study", total) as bar:
        for found in _picks(config, data, run) if isinstance(data, Table) else _held_out(config, data, run):
            if isinstance(found, FirstPick):
                study = replace(study, picks=(*study.picks, found))
            else:
                study = replace(study, held_out=(*study.held_out, found))
            run.write("study", study)
            bar.advance(1)
            if interruption.requested:
                raise Interrupted("study: stopped; what is finished is kept")
    return study


def _picks(config: ValueStudyConfig, table: Table, run: RunFolder) -> Iterator[FirstPick]:
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        name = f"picks/seed{seed}"
        if not run.holds(name):
            run.write(name, first_pick(config, table, seed))
        yield run.read(name, FirstPick)


def first_pick(config: ValueStudyConfig, table: Table, seed: int) -> FirstPick:
    """Fit to some genotypes of the source columns, suggest, and look the first pick up."""
    draws = fold_in(key(_STUDY), seed)
    rows = torch.randperm(len(table), generator=generator(draws), device="cpu")[: config.rows]
    tasks = [TaskDescription.of_numbers(name) for name in config.source]
    sources = [
        Table(table.space, table.choices, table.quantities[i : i + 1], table.values[:, i : i + 1])
        for i in range(len(tasks))
    ]
    database = Database.of_tables(sources, tasks, [rows] * len(tasks))
    network = fit(database, replace(config.value, seed=seed))
    new = TaskDescription.of_numbers(config.target)
    began = time.perf_counter()
    climbed = climb(network, new, replace(config.ascent, seed=seed))
    seconds = time.perf_counter() - began
    some = torch.randperm(len(table), generator=generator(fold_in(draws, 1)), device="cpu")[:COMPARED]
    rho = rank_correlation(network.value(table.choices[some], new).double(), table.values[some, -1]).spearman
    best = rows[(table.values[rows, 0] * table.quantities[0].sign).argmax()]
    return FirstPick(
        seed,
        int(table.ranks(config.target, climbed.choices[:1])),
        int(table.ranks(config.target, table.choices[best].unsqueeze(0))),
        rho,
        (climbed.discrete >= climbed.relaxed - LOST).double().mean().item(),
        bool(climbed.discrete.max() >= climbed.relaxed.max() - LOST),
        (climbed.values[0] - network.value(table.choices[rows], new).max()).item(),
        seconds,
    )


def _held_out(config: ValueStudyConfig, database: Database, run: RunFolder) -> Iterator[HeldOut]:
    # In an order that is drawn: tasks of one kind may lie at equal distances.
    tasks = torch.randperm(len(database.tasks), generator=generator(key(_STUDY)), device="cpu").tolist()
    for fold in range(config.folds):
        held = tasks[fold :: config.folds]
        names = [f"held_out/task{task}" for task in held]
        if not all(run.holds(name) for name in names):
            for name, found in zip(names, hold_out(config, database, held, fold), strict=True):
                run.write(name, found)
        yield from (run.read(name, HeldOut) for name in names)


def hold_out(config: ValueStudyConfig, database: Database, held: list[int], fold: int) -> list[HeldOut]:
    """Fit to all other tasks, and pick on those held out: one of each, in order."""
    others = [task for task in range(len(database.tasks)) if task not in held]
    scores: dict[str, list[torch.Tensor]] = {}
    for way, rows, settings in (
        (TRUE, database, config.value),
        (SHUFFLED, shuffled(database, fold), config.value),
        (BLIND, database, replace(config.value, task="none")),
    ):
        network = fit(rows.only(others), settings)
        scores[way] = [network.value(rows.choices[rows.rows(task)], rows.tasks[task]).double() for task in held]
    scores[AVERAGE] = [average_worth(database, others, database.choices[database.rows(task)]) for task in held]
    found = []
    for i, task in enumerate(held):
        worth = database.worth[database.rows(task)]
        regret = {way: (worth.max() - worth[scores[way][i].argmax()]).item() for way in scores}
        rho = {way: rank_correlation(scores[way][i], worth).spearman for way in scores}
        regret[CHANCE] = (worth.max() - worth.mean()).item()
        found.append(HeldOut(database.tasks[task].name, fold, regret, {w: r for w, r in rho.items() if r == r}))
    return found


def shuffled(database: Database, fold: int) -> Database:
    """The database with the tasks' descriptions moved to other tasks, none of which keeps its own."""
    order = torch.randperm(len(database.tasks), generator=generator(fold_in(key(_STUDY), fold)), device="cpu").tolist()
    places = dict(zip(order, (*order[1:], order[0]), strict=True))
    return replace(database, tasks=tuple(database.tasks[places[task]] for task in range(len(order))))


def average_worth(database: Database, tasks: list[int], choices: torch.Tensor) -> torch.Tensor:
    """(n,) mean over tasks of the standardized worth of genotypes (n, T, E); least where no task knows them."""
    total, count = (torch.zeros(len(choices), dtype=torch.float64, device="cpu") for _ in range(2))
    for task in tasks:
        rows = database.rows(task)
        worth = database.worth[rows]
        worth = (worth - worth.mean()) / worth.std(correction=0).clamp_min(1e-9)
        same = (choices.unsqueeze(1) == database.choices[rows]).flatten(2).all(dim=2)
        total += same.double() @ worth
        count += same.sum(dim=1)
    return torch.where(count > 0, total / count.clamp_min(1), float("-inf"))
