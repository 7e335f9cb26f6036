"""Train random genotypes alike: a database among which a found cell can be placed, or of many tasks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.cli.register import OPTION, registered, without_registrations
from base_fast.experiments import CollectConfig, collect
from base_fast.experiments.collect import FILE, prepare
from base_fast.experiments.collect_tasks import DATABASE, collect_tasks, prepare_tasks
from base_fast.reports import print_table
from base_fast.reports.collection import collection_table, tasks_table


@dataclass(frozen=True)
class Collect(RunCommand):
    """Leaves genotypes, accuracies, losses and sizes in RUN/cells.csv, a table for `base-fast search`; it is there
    after the first cell. With `tasks`, all genotypes are trained on each of many tasks: RUN/database.safetensors is
    what `base-fast fit-value` learns from, RUN/database.csv the same as text."""

    Settings: ClassVar = CollectConfig
    settings: Annotated[CollectConfig, Flat] = CollectConfig()

    def execute(self) -> int:
        if self.settings.tasks is not None:
            return self._many_tasks()
        target = prepare(self.settings)
        with self.open_run("collect", self.settings, target) as run:
            print_table(collection_table(collect(self.settings, run, target)))
            print(f"{run.path / FILE}: {self.settings.cells} cells")
        return 0

    def _many_tasks(self) -> int:
        opened = prepare_tasks(self.settings)
        # A new process knows nothing of what this one was told to register.
        words = [word for what in registered() for word in (OPTION, what)]
        with self.open_run("collect-tasks", self.settings, *opened) as run:
            database = collect_tasks(self.settings, run, opened, partial(without_registrations, words))
            print_table(tasks_table(database))
            print(f"{run.path / DATABASE}: {len(database)} rows of {len(database.tasks)} tasks")
        return 0
