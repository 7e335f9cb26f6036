"""Search: any strategy on any objective that fits it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.posterior import derive
from base_fast.reports import print_table
from base_fast.reports.search import best_table
from base_fast.space import Genotype
from base_fast.strategies import (
    Metered,
    PolicyGradient,
    SearchSettings,
    open_search,
    search,
    search_task,
    write_search,
)

SHOWN = 5


@dataclass(frozen=True)
class Search(RunCommand):
    """Leaves the found genotype in RUN/genotype.json, everything that was measured in RUN/search.json, the
    distribution over genotypes in RUN/distribution.safetensors, seconds and memory in RUN/cost.json; and, of a strategy
    that learns weights and edge logits, both in RUN/posterior.safetensors."""

    Settings: ClassVar = SearchSettings
    settings: Annotated[SearchSettings, Flat] = SearchSettings()

    def execute(self) -> int:
        settings = self.settings
        task = search_task(settings)
        strategy = Metered(open_search(settings, task))
        with self.open_run("search", settings, *([] if task is None else [task]), **_inputs(settings)) as run:
            result = search(strategy, run=run)
            cost = strategy.cost
            record = write_search(run, settings.search.strategy, result, cost)
            if isinstance(result.genotype, Genotype):
                run.write("genotype", result.genotype)
                run.write("derivation", derive(result.distribution, k=SHOWN))
            print_table(best_table(record))
            print(
                f"took {cost.cpu_seconds:.1f} CPU seconds, {cost.wall_seconds:.1f} s, {cost.peak_bytes / 2**20:.0f} MiB"
            )
            print(f"{run.path}: {record.genotype}")
        return 0


def _inputs(settings: SearchSettings) -> dict[str, str]:
    """Digests of the files that the search depends on besides its settings."""
    paths: dict[str, Path] = {}
    if "table" in settings.objective.kinds:
        paths |= {f"table {i}": table.path for i, table in enumerate(settings.objective.tables)}
    posterior = settings.objective.shared_weights.posterior
    if settings.objective.measured & {"shared_weights", "own_steps"} and posterior is not None:
        paths["posterior"] = posterior
    if "latency_lookup" in settings.objective.measured and settings.objective.lookup is not None:
        paths["lookup"] = settings.objective.lookup
    if "belief" in settings.objective.measured and settings.objective.belief is not None:
        paths["belief"] = settings.objective.belief
    if settings.search.strategy == "sampled" and settings.search.sampled.saved is not None:
        paths["sampled"] = settings.search.sampled.saved
    policy = getattr(getattr(settings.search, settings.search.strategy), "policy", None)
    if isinstance(policy, PolicyGradient) and policy.controller is not None:
        paths["controller"] = policy.controller
    return {name: sha256(path.expanduser().read_bytes()).hexdigest() for name, path in paths.items()}
