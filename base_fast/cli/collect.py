"""Train random genotypes alike: a database among which a found cell can be placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.experiments import CollectConfig, collect
from base_fast.experiments.collect import FILE, prepare
from base_fast.reports import print_table
from base_fast.reports.collection import collection_table


@dataclass(frozen=True)
class Collect(RunCommand):
    """Leaves genotypes, accuracies, losses and sizes in RUN/cells.csv, a table for `base-fast search`; it is there
    after the first cell."""

    Settings: ClassVar = CollectConfig
    settings: Annotated[CollectConfig, Flat] = CollectConfig()

    def execute(self) -> int:
        target = prepare(self.settings)
        with self.open_run("collect", self.settings, target) as run:
            print_table(collection_table(collect(self.settings, run, target)))
            print(f"{run.path / FILE}: {self.settings.cells} cells")
        return 0
