"""Does the search find good cells? The recipe as shipped, on NAS-Bench-201, placed in a table of all its cells.

    python -m benchmarks.search_quality --accuracy data/nasbench201/accuracy.csv.gz \\
        --columns cifar10_test,cifar100_test --seeds 0,1,2,3,4 --minutes 4 --json runs/search_quality.json

The priors are learned on Tiny ImageNet's classes and adapted to CIFAR-10 (`--data`, by default the folder around the
table's). No search sees the table; a search is judged by every column. Rows that the JSON holds already are not
computed again, so that a run which was stopped goes on.

Methods, each once for a seed:
    prior          adaptation from the meta-learned prior, derived by play-off
    prior-0-steps  the prior itself: its most probable cell, and cells sampled from it
    scratch        the same adaptation from a fresh prior
    gradients      edge logits along the gradient of a soft mixture, from scratch, about as much time
    evolution      regularized evolution on networks trained alone: as many trainings as the search measures cells,
                   and as many training steps in all as it takes, those of the shared weights included
    convolutions   cells of convolutions only, the control that a prior must be held against
    uniform        uniform cells
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from base_fast.distributions import Distribution, IndependentEdges
from base_fast.errors import InputError
from base_fast.experiments.ground_truth import placed
from base_fast.experiments.intervals import mean_interval
from base_fast.meta import (
    AdaptConfig,
    Budget,
    InnerConfig,
    MetaConfig,
    MetaTrainer,
    PlayOffConfig,
    StepRule,
    adapt,
    play_off,
)
from base_fast.objectives import OwnSteps, OwnStepsConfig, Quantity, SharedTrainingConfig, Table
from base_fast.objectives.table_files import first_row
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import atomic_write
from base_fast.space import NAS_BENCH_201, Genotype, decode, encode
from base_fast.strategies import AskTellSearch, Evolution, search
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.tasks import SourceConfig, TargetConfig, Task, TaskDistribution, open_source, open_target
from benchmarks.reliability import reliability

NOMINAL_MINUTES = 4.0
"""CPU-minutes of a search with the shipped budgets, which --minutes scales."""
RESOLUTION = 32
EXAMPLE = Genotype.random(NAS_BENCH_201, 0).compact()
META = MetaConfig(supernet=SupernetConfig("nas_bench_201", channels=16, layers=5, stems=("64",), reductions=(1, 3)))
ADAPT = AdaptConfig(warmup=AdaptConfig().inner.architecture.every)
"""Scores of untrained networks lead to the first draw, as a search from scratch needs it."""
PLAY_OFF = PlayOffConfig()


@dataclass(frozen=True)
class Row:
    """A method with a seed, judged by a column; percentiles are shares of strictly better cells, in per cent."""

    method: str
    seed: int
    column: str
    percentile: float
    genotype: str
    mean_percentile: float
    top1_share: float
    cpu_seconds: float
    probabilities: list[list[float]] = field(default_factory=list)
    """(E, L), of the primitives on the edges."""


@dataclass(frozen=True)
class Outcome:
    """A cell, the distribution that it was read off, and the CPU seconds of the search."""

    genotype: Genotype
    distribution: Distribution
    cpu_seconds: float


@dataclass(frozen=True)
class Setting:
    """The data, and how much of the shipped budgets is spent."""

    tasks: TaskDistribution
    target: Task
    factor: float

    def meta(self, seed: int) -> MetaConfig:
        """Meta-training's configuration."""
        iterations, warmup = (max(round(n * self.factor), 1) for n in (META.iterations, META.warmup))
        return replace(META, seed=seed, iterations=max(iterations, warmup + 1), warmup=warmup)

    def adapt(self, seed: int) -> AdaptConfig:
        """An adaptation's configuration: fewer draws of cells, or more."""
        every = ADAPT.inner.architecture.every
        assert ADAPT.budget.steps is not None
        draws = max(round(ADAPT.budget.steps / every * self.factor), 1)
        return replace(ADAPT, seed=seed, budget=Budget(steps=draws * every))

    @property
    def play_off(self) -> PlayOffConfig:
        """A play-off's: longer or shorter trainings."""
        return replace(PLAY_OFF, steps=max(round(PLAY_OFF.steps * self.factor), 1))


def searched(setting: Setting, start: Posterior, seed: int) -> Outcome:
    """An adaptation and its play-off."""
    begin = time.process_time()
    adaptation = adapt(start, setting.target, setting.adapt(seed))
    record = play_off(adaptation, setting.target, setting.play_off, setting.adapt(seed))
    return Outcome(record.winner, adaptation.posterior.architecture, time.process_time() - begin)


class Seed:
    """The methods of one seed; what several of them need is computed once."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.seed = setting, seed
        self.trainer = MetaTrainer(setting.meta(seed))
        self._prior: Outcome | None = None
        self._posterior: Posterior | None = None

    def prior_itself(self) -> Outcome:
        """The meta-learned prior."""
        if self._prior is None:
            begin = time.process_time()
            self._posterior = self.trainer.fit(self.setting.tasks)
            q = self._posterior.architecture
            self._prior = Outcome(_genotype(q.mode()), q, time.process_time() - begin)
        return self._prior

    def prior(self) -> Outcome:
        """Adapted from it."""
        self.prior_itself()
        assert self._posterior is not None
        return searched(self.setting, self._posterior, self.seed)

    def scratch(self) -> Outcome:
        """Adapted from a fresh prior."""
        return searched(self.setting, self.trainer.initial(), self.seed)

    def gradients(self) -> Outcome:
        """Gradients of a soft mixture; a step costs about three steps of a single path."""
        begin = time.process_time()
        inner = InnerConfig(z="soft", batch_size=64, mu=StepRule("sgd", 0.1), alpha=StepRule("sgd", 2.0))
        steps = max(round(1000 * self.setting.factor), 1)
        config = AdaptConfig(inner, Budget(steps=steps), evaluate_every=0, seed=self.seed)
        q = adapt(self.trainer.initial(), self.setting.target, config).posterior.architecture
        return Outcome(_genotype(q.mode()), q, time.process_time() - begin)

    def evolution(self) -> Outcome:
        """As many trainings as the search measures cells, sharing the steps that it takes."""
        begin = time.process_time()
        config = self.setting.adapt(self.seed)
        architecture, own = config.inner.architecture, config.inner.evidence.own
        assert config.budget.steps is not None
        sizes = PLAY_OFF.sizes
        cells = config.budget.steps // architecture.every * architecture.cells
        steps = config.budget.steps + cells * own.steps
        steps += sum(size * self.setting.play_off.steps * 2**r for r, size in enumerate(sizes))
        trainings = cells + sum(sizes)
        training = SharedTrainingConfig(max(steps // trainings, 1), own.batch_size, 0.1, 0.0, weight_decay=0.0)
        supernet = Supernet.from_config(META.supernet)
        fresh = supernet.prior(fold_in(key(self.seed), 7)).mu
        objective = OwnSteps(supernet, fresh, self.setting.target, OwnStepsConfig(training))
        run = AskTellSearch(Evolution(10, 3), objective, trainings, key(self.seed))
        result = search(run)
        assert isinstance(result.genotype, Genotype)
        return Outcome(result.genotype, result.distribution, time.process_time() - begin)

    def convolutions(self) -> Outcome:
        """Uniform over the two convolutions."""
        logits = torch.full((1, NAS_BENCH_201.num_edges, NAS_BENCH_201.num_primitives), -30.0)
        for l, name in enumerate(NAS_BENCH_201.primitives):
            logits[..., l] = 0.0 if "conv" in name else -30.0
        return self._sampled(IndependentEdges(NAS_BENCH_201, logits))

    def uniform(self) -> Outcome:
        """Uniform over everything."""
        return self._sampled(IndependentEdges.uniform(NAS_BENCH_201))

    def _sampled(self, q: Distribution) -> Outcome:
        return Outcome(_genotype(q.sample(key(self.seed), 1)[0]), q, 0.0)


METHODS: dict[str, Callable[[Seed], Outcome]] = {
    "uniform": Seed.uniform,
    "convolutions": Seed.convolutions,
    "scratch": Seed.scratch,
    "prior-0-steps": Seed.prior_itself,
    "prior": Seed.prior,
    "gradients": Seed.gradients,
    "evolution": Seed.evolution,
}


def _genotype(choices: Tensor) -> Genotype:
    found = decode(choices.numpy(), NAS_BENCH_201)
    assert isinstance(found, Genotype)
    return found


def judged(outcome: Outcome, table: Table, method: str, seed: int) -> Iterator[Row]:
    """A row for each column of the table."""
    for found in placed([table], method, outcome.genotype, outcome.distribution):
        assert found.mean_percentile is not None
        assert found.top_share is not None
        yield Row(
            method,
            seed,
            found.column,
            found.percentile,
            outcome.genotype.compact(),
            found.mean_percentile,
            found.top_share,
            outcome.cpu_seconds,
            outcome.distribution.marginals()[0].tolist(),
        )


def summary(rows: list[Row]) -> str:
    """Median, mean and 95 % interval of the percentiles over seeds, by column and method, and paired differences."""
    lines = [
        f"{'column':16}{'method':15}{'seeds':>6}{'median':>8}{'mean':>7}{'95 % of mean':>15}"
        f"{'q mean':>8}{'q top 1%':>9}{'CPU s':>8}"
    ]
    for column in dict.fromkeys(row.column for row in rows):
        for method in METHODS:
            own = [row for row in rows if (row.column, row.method) == (column, method)]
            if own:
                found = [row.percentile for row in own]
                low, high = mean_interval(found)
                lines.append(
                    f"{column:16}{method:15}{len(own):6}{median(found):8.2f}{fmean(found):7.2f}{low:8.2f} –{high:5.2f}"
                    f"{fmean(row.mean_percentile for row in own):8.1f}{fmean(100 * row.top1_share for row in own):9.1f}"
                    f"{fmean(row.cpu_seconds for row in own):8.0f}"
                )
        lines += _paired(rows, column)
    for method in ("prior-0-steps", "prior", "scratch"):
        own = list({row.seed: row for row in rows if row.method == method and row.probabilities}.values())
        found = reliability(
            [torch.tensor([row.probabilities]) for row in own],
            [torch.from_numpy(encode(row.genotype, NAS_BENCH_201)) for row in own],
        )
        lines += [
            f"{method}: probabilities of {b.low} to {b.high}, {b.predicted:.2f} on average: other seeds derived it in "
            f"{b.observed:.2f} of {b.count} cases"
            for b in found
        ]
    return "\n".join(lines)


def _paired(rows: list[Row], column: str) -> Iterator[str]:
    """By how much the prior's cell is better than others of the same seed."""
    found = {(row.method, row.seed): row.percentile for row in rows if row.column == column}
    for other in ("scratch", "evolution"):
        gains = [found[other, s] - found["prior", s] for m, s in found if m == "prior" and (other, s) in found]
        if gains:
            low, high = mean_interval(gains)
            yield f"{column:16}prior is better than {other} by {fmean(gains):.2f} points, 95 %: {low:.2f} – {high:.2f}"


def read_rows(path: Path) -> list[Row]:
    """What the file holds; nothing, where there is none."""
    return [Row(**row) for row in json.loads(path.read_text())] if path.exists() else []


def genotype_column(path: Path) -> str:
    """The first column of a table that holds cells.

    Raises:
        InputError: the file cannot be read, or no column holds cells.
    """
    for name, value in first_row(path).items():
        try:
            encode(str(value), NAS_BENCH_201)
        except InputError:
            continue
        return name
    raise InputError(f"accuracy: {path} has no column of cell strings, such as {EXAMPLE}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", type=Path, required=True, help="CSV with a column of cell strings, or .gz")
    parser.add_argument("--columns", default="cifar10_test,cifar100_test", help="columns that judge, larger is better")
    parser.add_argument("--cells", help="the column of cell strings; by default the first one")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--minutes", type=float, default=NOMINAL_MINUTES, help="CPU-minutes of a search, about")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--data", type=Path, help="folder with tiny_imagenet and cifar10")
    parser.add_argument("--cache-dir", default="", help="folder for decoded images")
    parser.add_argument("--json", type=Path, required=True, help="rows; those that it holds are not computed again")
    given: Any = parser.parse_args(arguments)
    columns, methods = given.columns.split(","), given.methods.split(",")
    try:
        seeds = [_integer(seed) for seed in given.seeds.split(",")]
        if given.minutes <= 0:
            raise InputError(f"minutes: got {given.minutes}, expected a number > 0")
        if unknown := [method for method in methods if method not in METHODS]:
            raise InputError(f"methods: got {unknown[0]!r}, expected some of {', '.join(METHODS)}")
        quantities = [Quantity(column, "larger", "%") for column in columns]
        cells = given.cells or genotype_column(given.accuracy)
        table = Table.read(given.accuracy, NAS_BENCH_201, quantities, cells)
        rows = read_rows(given.json)
        done = {(row.method, row.seed, row.column) for row in rows}
        missing = [
            (seed, m) for seed in seeds for m in methods if any((m, seed, column) not in done for column in columns)
        ]
        setting = opened(given) if missing else None
        current: Seed | None = None
        for seed, method in missing:
            assert setting is not None
            if current is None or current.seed != seed:
                current = Seed(setting, seed)
            found = judged(METHODS[method](current), table, method, seed)
            rows += [row for row in found if (row.method, row.seed, row.column) not in done]
            atomic_write(given.json, json.dumps([asdict(row) for row in rows], indent=1).encode())
            print(json.dumps(asdict(rows[-1])), file=sys.stderr)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    wanted = [row for row in rows if row.seed in seeds and row.method in methods and row.column in columns]
    print(summary(wanted))
    return 0


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"seeds: got {text!r}, expected integers with commas between them") from None


def opened(given: Any) -> Setting:
    """The data that the arguments name."""
    data = given.data or given.accuracy.resolve().parents[1]
    tiny, train = (
        SourceConfig("shards", str(data / folder), split=split, cache_dir=given.cache_dir)
        for folder, split in (("tiny_imagenet", "train"), ("cifar10", "train"))
    )
    tasks = TaskDistribution([open_source(tiny, RESOLUTION)], 10, (RESOLUTION,))
    # The test images are never looked at: a part of the training images judges.
    target = open_target(TargetConfig(train=train, resolution=RESOLUTION))
    return Setting(tasks, target, given.minutes / NOMINAL_MINUTES)


if __name__ == "__main__":
    sys.exit(main())
