"""A value network from a database, or from columns of benchmark tables, as configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.objectives import TableConfig
from base_fast.predictors import Database, ValueConfig
from base_fast.random import fold_in, generator, key
from base_fast.runs import changeable
from base_fast.space import Space, get_any
from base_fast.tasks import TaskDescription


@dataclass(frozen=True)
class ColumnsConfig:
    """A column of a benchmark's file as a task."""

    table: TableConfig = TableConfig()
    """The file, and one column of it."""
    name: str = ""
    """What the task is called; as its column, if empty."""
    classes: int | None = None
    """Classes of the task's images, where known."""
    images: int | None = None
    """How many training images it has, where known."""
    resolution: int | None = None
    """Their pixels a side, where known."""


@dataclass(frozen=True)
class FitValueConfig:
    """What a value network is fitted to, and how."""

    database: Path | None = changeable(None)
    """database.safetensors of `base-fast collect` with tasks."""
    space: str | Space = "nas_bench_201"
    """Space of the tables: nas_bench_201, nas_bench_macro, darts, or one of your own."""
    columns: tuple[ColumnsConfig, ...] = ()
    """Tables in its place, a task each."""
    rows: int | None = None
    """Genotypes of each table, drawn at random; all if unset."""
    seed: int = 0
    """Decides on them."""
    value: ValueConfig = ValueConfig()

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.rows is not None and self.rows < 2:
            raise InputError(f"rows: got {self.rows}, expected an integer ≥ 2")


def open_database(config: FitValueConfig) -> Database:
    """Read what a value network is to be fitted to.

    Raises:
        InputError: a file cannot be read, or has fewer rows than are asked for.
    """
    if (config.database is None) == (not config.columns):
        given = "neither" if config.database is None else "both"
        raise InputError(f"database, columns: got {given}, expected a database of tasks, or columns of tables")
    if config.database is not None:
        return Database.load(config.database.expanduser())
    space = get_any(config.space)
    tables, tasks, rows = [], [], []
    for i, one in enumerate(config.columns):
        table = one.table.open(space)
        if len(one.table.columns) != 1:
            raise InputError(f"columns: got {len(one.table.columns)} columns of a table, expected one for each task")
        if config.rows is not None and config.rows > len(table):
            raise InputError(f"rows: got {config.rows}, expected at most the {len(table)} of {one.table.path}")
        drawn = torch.randperm(len(table), generator=generator(fold_in(key(config.seed), i)), device="cpu")
        tables.append(table)
        name = one.name or one.table.columns[0]
        tasks.append(TaskDescription.of_numbers(name, one.classes, one.images, one.resolution))
        rows.append(drawn[: config.rows])
    return Database.of_tables(tables, tasks, rows)
