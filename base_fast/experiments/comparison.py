"""Prior against scratch against random: the experiment behind the demo and the recorded runs.

Every stage leaves its result in the run folder and is skipped when it is there already; a stage that was cut short
continues from its own checkpoint. So a comparison that was killed at any moment resumes to the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from base_fast.errors import InputError
from base_fast.evaluation import train, trained
from base_fast.experiments.config import CompareConfig
from base_fast.experiments.ground_truth import Placed, Placements, open_tables, placed
from base_fast.meta import MetaTrainer, Variables, adapt, derived
from base_fast.meta.variables import for_task
from base_fast.objectives import Table
from base_fast.posterior import Derivation, Posterior
from base_fast.random import key
from base_fast.runs import RunFolder, interruptible
from base_fast.runs.artefacts import WAYS, Compared, Contender, MetaTrained, Repetition, Searched, TrainedNetwork, Way
from base_fast.space import Genotype, decode
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.supernet.cells import Cell
from base_fast.tasks import Task, TaskDistribution, open_target, open_tasks

T = TypeVar("T")


def prepare(config: CompareConfig) -> tuple[TaskDistribution, Task]:
    """Open the data, and try on one image what would otherwise fail only hours later.

    Raises:
        InputError: the data cannot be opened, or supernet, head, network and target do not fit each other.
    """
    tasks, target = open_tasks(config.tasks), open_target(config.target)
    supernet = Supernet.from_config(config.meta.supernet)
    open_tables(config.tables, supernet.space)
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
    x = torch.zeros(2, 3, target.resolution, target.resolution, device="cpu")
    with torch.no_grad():
        supernet(x, start.mu, torch.softmax(start.alpha, dim=-1))
        network = config.network.build(Genotype.random(supernet.space, 0), target.num_classes, 0)
        network(x.to(next(network.parameters())))
    return tasks, target


def compare(config: CompareConfig, run: RunFolder, prepared: tuple[TaskDistribution, Task] | None = None) -> Compared:
    """Run all stages that `run` does not hold yet, and write and return what is in `results.json`.

    Args:
        prepared: what `prepare(config)` gave, if it was called before.

    Raises:
        Interrupted: SIGINT or SIGTERM; calling it again with the same run goes on.
        Diverged, InputError: from the stages.
    """
    tasks, target = prepared or prepare(config)
    # Around all stages, so that a request between two of them stops the next one before it begins.
    with interruptible():
        return _Comparison(config, run, tasks, target).results()


@dataclass(frozen=True)
class _Comparison:
    config: CompareConfig
    run: RunFolder
    tasks: TaskDistribution
    target: Task

    def results(self) -> Compared:
        config = self.config
        assert config.adapt.budget.steps is not None
        seeds: tuple[Repetition, ...] = ()
        placements: tuple[Placed, ...] = ()
        tables = open_tables(config.tables, Supernet.from_config(config.meta.supernet).space)
        for seed in range(config.seeds):
            seeds = (*seeds, self._repetition(seed))
            steps, title = config.adapt.budget.steps, config.title
            compared = Compared(title, steps, config.search_accuracy, config.network_accuracy, seeds)
            # After each seed, so that a report of the first ones can be looked at while the others run.
            self.run.write("results", compared)
            if tables:
                placements = (*placements, *self._placed(tables, seed))
                self.run.write("placements", Placements(len(tables[0]), placements))
        return compared

    def _repetition(self, seed: int) -> Repetition:
        trainer = MetaTrainer(replace(self.config.meta, seed=self.config.meta.seed + seed))
        self.run.write("space", trainer.supernet.space)
        prior, meta = self._meta_train(trainer, seed)
        found: dict[Contender, Genotype] = {}
        searches: dict[Way, Searched] = {}
        starts: dict[Way, Posterior] = {"prior": prior, "scratch": trainer.initial()}
        for way, start in starts.items():
            contender = Contender(way, seed)
            searches[way], found[contender] = self._search(start, contender)
        for i in range(self.config.random_genotypes):
            number = seed * self.config.random_genotypes + i
            found[Contender("random", seed, i)] = Genotype.random(prior.space, number)
        networks: dict[Way, tuple[TrainedNetwork, ...]] = {way: () for way in WAYS}
        for contender, genotype in found.items():
            self.run.write(f"genotypes/{contender.name}", genotype)
            networks[contender.way] = (*networks[contender.way], self._train(genotype, contender))
        return Repetition(seed, meta, searches["prior"], searches["scratch"], networks)

    def _placed(self, tables: list[Table], seed: int) -> Iterator[Placed]:
        """Where the prior, and every genotype of a seed with what it was read off, stand in the tables."""
        prior = Posterior.load(self.run.path / f"posteriors/meta-seed{seed}.safetensors")
        mode = decode(prior.architecture.mode().numpy(), prior.space)
        yield from placed(tables, f"meta-seed{seed}", mode, prior.architecture)
        for way in WAYS:
            for i in range(self.config.random_genotypes if way == "random" else 1):
                name = Contender(way, seed, i if way == "random" else None).name
                path = self.run.path / f"posteriors/{name}.safetensors"
                q = Posterior.load(path).architecture if way != "random" else None
                yield from placed(tables, name, self.run.read(f"genotypes/{name}", Genotype), q)

    def _meta_train(self, trainer: MetaTrainer, seed: int) -> tuple[Posterior, MetaTrained]:
        path = self.run.path / f"posteriors/meta-seed{seed}.safetensors"
        phase = f"meta/seed{seed}"

        def training() -> MetaTrained:
            trainer.fit(self.tasks, run=self.run, name=phase).save(path)
            times = [row["time"] for row in self.run.rows(phase)]
            if not times:
                raise InputError(
                    f"{self.run.path}: metrics.jsonl has no rows of {phase}, which its checkpoint has seen"
                )
            # A row stands at the end of its iteration: the first one's length is not seen, and taken as the others'.
            return MetaTrained(len(times), (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1))

        record = self._stage(f"meta-seed{seed}", MetaTrained, training, path)
        return Posterior.load(path), record

    def _search(self, start: Posterior, contender: Contender) -> tuple[Searched, Genotype]:
        config, name = self.config, contender.name
        path = self.run.path / f"posteriors/{name}.safetensors"

        def search() -> Searched:
            settings = replace(config.adapt, seed=config.adapt.seed + contender.seed)
            adaptation = adapt(start, self.target, settings, run=self.run, name=f"adapt/{name}")
            adaptation.posterior.save(path)
            derivation = derived(
                adaptation, self.target, config.rule, config.play_off, settings, self.run, f"play_offs/{name}"
            )
            self.run.write(f"derivations/{name}", derivation)
            return adaptation.record

        record = self._stage(name, Searched, search, path, self.run.path / f"derivations/{name}.json")
        return record, self.run.read(f"derivations/{name}", Derivation).genotype

    def _train(self, genotype: Genotype, contender: Contender) -> TrainedNetwork:
        config, target = self.config, self.target

        def training() -> TrainedNetwork:
            settings = replace(config.train, seed=config.train.seed + contender.seed)
            network = config.network.build(genotype, target.num_classes, settings.seed)
            return trained(network, target, train(network, target, settings, run=self.run, name=contender.name))

        return self._stage(f"train-{contender.name}", TrainedNetwork, training)

    def _stage(self, name: str, cls: type[T], work: Callable[[], T], *files: Path) -> T:
        """What the stage came to: from its file if it is done, and what it leaves is there, else by doing it."""
        if not self.run.holds(f"stages/{name}") or not all(file.exists() for file in files):
            self.run.write(f"stages/{name}", work())
        return self.run.read(f"stages/{name}", cls)
