"""Genotypes for a data set, before anything is trained on it: gradient ascent on a value network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand, required
from base_fast.posterior import derive
from base_fast.predictors import AscentConfig, ValueNetwork, climb
from base_fast.reports import print_table
from base_fast.reports.search import best_table
from base_fast.runs import changeable
from base_fast.space import Genotype
from base_fast.strategies import write_search
from base_fast.strategies.suggestion import suggested
from base_fast.tasks import TargetConfig, describe, open_target

SHOWN = 5


@dataclass(frozen=True)
class SuggestConfig:
    """A value network, a data set, and how the best genotypes are looked for."""

    network: Path | None = changeable(None)
    """value.safetensors of `base-fast fit-value`."""
    target: TargetConfig = TargetConfig()
    """The data set; its training images alone are looked at."""
    ascent: AscentConfig = AscentConfig()


@dataclass(frozen=True)
class Suggest(RunCommand):
    """Leaves the best genotype in RUN/genotype.json, the distribution over those that were found in
    RUN/distribution.safetensors, all of them with their values in RUN/search.json; the course of the ascent is in the
    metrics."""

    Settings: ClassVar = SuggestConfig
    settings: Annotated[SuggestConfig, Flat] = SuggestConfig()

    def execute(self) -> int:
        settings = self.settings
        path = required("network", settings.network, "value.safetensors of base-fast fit-value")
        network = ValueNetwork.load(path.expanduser())
        task = open_target(settings.target)
        digest = sha256(path.expanduser().read_bytes()).hexdigest()
        with self.open_run("search", settings, task, network=digest) as run:
            began = time.perf_counter()
            climbed = climb(network, describe(task), settings.ascent)
            result = suggested(network, climbed, settings.ascent)
            seconds = time.perf_counter() - began
            run.truncate("ascent", -1)
            for number, (value, entropy) in enumerate(climbed.trace.tolist(), start=1):
                run.log("ascent", number, value=value, entropy=entropy)
            record = write_search(run, "value network", result)
            if isinstance(result.genotype, Genotype):
                run.write("genotype", result.genotype)
                run.write("derivation", derive(result.distribution, k=SHOWN))
            print_table(best_table(record))
            print(f"described and suggested in {seconds:.2f} s; fitted to {len(network.fitted)} tasks")
            print(f"{run.path}: {record.genotype}")
        return 0
