"""Learn what genotypes are worth on which tasks: a value network, from a database of tasks or from tables."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.experiments.value_fit import FitValueConfig, open_database
from base_fast.predictors import fit
from base_fast.reports import print_table
from base_fast.reports.value import fit_table

FILE = "value.safetensors"


@dataclass(frozen=True)
class FitValue(RunCommand):
    """Leaves the network in RUN/value.safetensors, which `base-fast suggest` reads."""

    Settings: ClassVar = FitValueConfig
    settings: Annotated[FitValueConfig, Flat] = FitValueConfig()

    def execute(self) -> int:
        settings = self.settings
        database = open_database(settings)
        paths = [] if settings.database is None else [settings.database]
        paths += [one.table.path for one in settings.columns]
        inputs = {f"file {i}": sha256(path.expanduser().read_bytes()).hexdigest() for i, path in enumerate(paths)}
        with self.open_run("fit-value", settings, **inputs) as run:
            run.write("space", database.space)
            network = fit(database, settings.value, run)
            network.save(run.path / FILE)
            print_table(fit_table(network, database))
            print(f"{run.path / FILE}: fitted to {len(database)} rows of {len(database.tasks)} tasks")
        return 0
