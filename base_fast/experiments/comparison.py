"""Prior against scratch against random: the experiment behind the demo and the recorded runs.

Every stage leaves its result in the run folder and is skipped when it is there already; a stage that was cut short
continues from its own checkpoint. So a comparison that was killed at any moment resumes to the same table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from base_fast.errors import InputError
from base_fast.evaluation import count_macs, count_parameters, train
from base_fast.experiments.config import CompareConfig
from base_fast.experiments.summary import summarize
from base_fast.meta import MetaTrainer, Variables, adapt
from base_fast.meta.variables import for_task
from base_fast.posterior import Derivation, Posterior, derive
from base_fast.random import key
from base_fast.runs import RunFolder, interruptible
from base_fast.space import Genotype
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.supernet.cells import Cell
from base_fast.tasks import Task, TaskDistribution, open_target, open_tasks

Record = dict[str, Any]


def prepare(config: CompareConfig) -> tuple[TaskDistribution, Task]:
    """Open the data, and try on one image what would otherwise fail only hours later.

    Raises:
        InputError: the data cannot be opened, or supernet, head, network and target do not fit each other.
    """
    tasks, target = open_tasks(config.tasks), open_target(config.target)
    supernet = Supernet.from_config(config.meta.supernet)
    searched = {block.cell_type for block in supernet.blocks if isinstance(block, Cell)}
    reductions = SupernetConfig(layers=config.network.layers).reduction_cells
    used = {int(i in reductions) for i in range(config.network.layers)} & set(range(len(supernet.space.cell_types)))
    for missing in used - searched:
        name = supernet.space.cell_types[missing]
        raise InputError(
            f"meta.supernet: it has no {name} cells, so those of the trained networks would not be searched"
        )
    prior = Variables.of(supernet.prior(key(0)))
    supernet, start = for_task(supernet, prior, config.adapt.inner.head, target.num_classes)
    x = torch.zeros(2, 3, target.resolution, target.resolution)
    with torch.no_grad():
        supernet(x, start.mu, torch.softmax(start.alpha, dim=-1))
        network = config.network.build(Genotype.random(supernet.space, 0), target.num_classes, 0)
        network(x.to(next(network.parameters())))
    return tasks, target


def compare(
    config: CompareConfig, run: RunFolder, prepared: tuple[TaskDistribution, Task] | None = None
) -> list[Record]:
    """Run all stages that `run` does not hold yet, and write `results.json`: its tables are returned.

    Args:
        prepared: what `prepare(config)` gave, if it was called before.

    Raises:
        Interrupted: Ctrl-C; calling it again with the same run goes on.
        Diverged, InputError: from the stages.
    """
    tasks, target = prepared or prepare(config)
    # Around all stages, so that a request between two of them stops the next one before it begins.
    with interruptible():
        return _Comparison(config, run).tables(tasks, target)


@dataclass
class _Comparison:
    config: CompareConfig
    run: RunFolder

    def tables(self, tasks: TaskDistribution, target: Task) -> list[Record]:
        config = self.config
        records: list[Record] = []
        genotypes: dict[str, Any] = {}
        derivations: dict[str, Derivation] = {}
        for seed in range(config.seeds):
            trainer = MetaTrainer(replace(config.meta, seed=config.meta.seed + seed))
            prior, seconds = self._meta_train(trainer, tasks, seed)
            record: Record = {"seed": seed, "meta_seconds": seconds}
            found: dict[str, Genotype] = {}
            for name, start in (("prior", prior), ("scratch", trainer.initial())):
                record[name], derivation = self._search(start, target, f"{name}-seed{seed}", seed)
                derivations[f"{name}-seed{seed}"] = derivation
                found[f"{name}-seed{seed}"] = derivation.genotype
            for i in range(config.random_genotypes):
                number = seed * config.random_genotypes + i
                found[f"random-seed{seed}-{i}"] = Genotype.random(prior.space, number)
            for name, genotype in found.items():
                record.setdefault("networks", {})[name] = self._train(genotype, target, name, seed)
            genotypes |= {name: asdict(genotype) for name, genotype in found.items()}
            records.append(record)
            self._write(genotypes, derivations, prior, records)
        return self._write(genotypes, derivations, prior, records)

    def _meta_train(self, trainer: MetaTrainer, tasks: TaskDistribution, seed: int) -> tuple[Posterior, float]:
        path = self.run.path / f"posteriors/meta-seed{seed}.safetensors"
        phase = f"meta/seed{seed}"

        def training() -> Record:
            trainer.fit(tasks, run=self.run, name=phase).save(path)
            times = [row["time"] for row in self.run.rows(phase)]
            # A row stands at the end of its iteration: the first one's length is not seen, and taken as the others'.
            return {"seconds": (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1)}

        seconds = self._stage(f"meta-seed{seed}", training)["seconds"]
        return Posterior.load(path), float(seconds)

    def _search(self, start: Posterior, target: Task, name: str, seed: int) -> tuple[Record, Derivation]:
        config = self.config
        path = self.run.path / f"posteriors/{name}.safetensors"

        def search() -> Record:
            settings = replace(config.adapt, seed=config.adapt.seed + seed)
            adaptation = adapt(start, target, settings, run=self.run, name=f"adapt/{name}")
            adaptation.posterior.save(path)
            return {
                "history": adaptation.history,
                "accuracy": adaptation.accuracy,
                "steps": adaptation.steps,
                "steps_to": adaptation.steps_to(config.search_accuracy),
                "seconds": adaptation.seconds,
            }

        record = self._stage(name, search)
        return record, derive(Posterior.load(path), config.rule)

    def _train(self, genotype: Genotype, target: Task, name: str, seed: int) -> Record:
        config = self.config

        def training() -> Record:
            network = config.network.build(genotype, target.num_classes, config.train.seed + seed)
            macs = count_macs(network, (3, target.resolution, target.resolution))
            settings = replace(config.train, seed=config.train.seed + seed)
            result = train(network, target, settings, run=self.run, name=name)
            return {
                "accuracy": result.accuracy,
                "loss": result.loss,
                "steps_to": result.steps_to(config.network_accuracy),
                "seconds": result.seconds,
                "parameters": count_parameters(network, auxiliary=False),
                "macs": macs.conv_linear,
            }

        return self._stage(f"train-{name}", training)

    def _stage(self, name: str, work: Callable[[], Record]) -> Record:
        if not (self.run.path / f"stages/{name}.json").exists():
            self.run.write_json(f"stages/{name}", work())
        record: Record = self.run.read_json(f"stages/{name}")
        return record

    def _write(
        self, genotypes: Record, derivations: dict[str, Derivation], prior: Posterior, records: list[Record]
    ) -> list[Record]:
        tables = summarize(self.config, records)
        self.run.write_json("space", prior.space.to_dict())
        self.run.write_json("genotype", genotypes)
        self.run.write_json(
            "candidates",
            {
                name: [asdict(c) | {"compact": c.genotype.compact()} for c in derivation.candidates]
                for name, derivation in derivations.items()
            },
        )
        self.run.write_json("undecided", {n: [asdict(e) for e in d.undecided] for n, d in derivations.items()})
        self.run.write_json("measurements", records)
        self.run.write_json("results", tables)
        return tables
