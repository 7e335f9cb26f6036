"""Strategies side by side: as much for each, over seeds, judged by columns of a table that those on images never see.

Searches that ask for genotypes look them up: that takes a moment, and is done here. One that trains a supernet is a
`base-fast search` in a process and a run folder of its own, `searches/<name>`, which continues from its checkpoint.
What is finished is not done again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from base_fast.distributions import Distribution, IndependentEdges, load_distribution
from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.experiments.entrants import CompareStrategiesConfig
from base_fast.experiments.findings import Finding, Judge, Point
from base_fast.experiments.processes import Job, last_words, run_jobs
from base_fast.experiments.published_cells import PUBLISHED
from base_fast.objectives import Quantity, Table
from base_fast.objectives.workers import one_thread
from base_fast.random import key
from base_fast.runs import RunFolder, interruptible, progress, save_config
from base_fast.space import NAS_BENCH_201, Space, configurations
from base_fast.strategies import (
    AskTell,
    AskTellSearch,
    Cost,
    Metered,
    OneShot,
    open_search,
    read_cost,
    read_search,
    search,
)
from base_fast.strategies.record import DISTRIBUTION
from base_fast.tasks import Task, open_target

RESULTS = "results"
SEARCH = (sys.executable, "-m", "base_fast", "search")
TRIAL, WARM = 20, 4
"""Steps of the trial whose speed tells the steps of a budget in seconds, and the first ones that are not timed."""


@dataclass(frozen=True)
class ComparedStrategies:
    """results.json: what all finished searches found.

    Attributes:
        genotypes: in the table.
        columns: what judged; `query` is what was seen by those that asked.
        strategies: the entrants, in order.
        steps: of the weights of each search that trains a supernet, by entrant, where they were decided here.
        means: of all genotypes, by column: E_π of the uniform distribution.
        published: cells of published searches.
        failed: searches that came to nothing, and why.
    """

    space: str
    genotypes: int
    columns: tuple[Quantity, ...]
    query: str
    queries: int
    strategies: tuple[str, ...]
    baseline: str
    steps: dict[str, int]
    means: dict[str, float]
    findings: tuple[Finding, ...]
    published: tuple[Finding, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)

    def of(self, strategy: str) -> list[Finding]:
        """Its findings, by seed."""
        return sorted((one for one in self.findings if one.strategy == strategy), key=lambda one: one.seed)


@dataclass(frozen=True)
class Prepared:
    """The table, and the images if any search needs them."""

    table: Table
    task: Task | None


def prepare(config: CompareStrategiesConfig) -> Prepared:
    """Open table and images, and every kind of search, before there is a run folder.

    Raises:
        InputError: one of them cannot be opened, or doesn't fit the others.
    """
    table = config.open_table()
    space = table.space
    task = None
    if config.published and space != NAS_BENCH_201:
        raise InputError(f"published: got a table of {space.name}, expected nas_bench_201, in which they were found")
    if config.one_shot:
        names = ", ".join(config.one_shot)
        if not isinstance(space, Space):
            raise InputError(f"strategies: {names} train a supernet, which there is none of in {space.name}")
        number = math.prod(len(rows) for _, rows in configurations(space)) ** len(space.cell_types)
        if len(table) != number:
            raise InputError(
                f"table: {config.table} has {len(table)} of the {number} genotypes of {space.name}, expected all: "
                f"{names} may find any"
            )
        task = open_target(config.target)
        for name in config.one_shot:
            try:
                open_search(config.search(name, 0, config.steps), task)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
    for name in config.asking:
        settings = config.settings(name)
        assert isinstance(settings, AskTell)
        AskTellSearch(settings, table, config.queries_of(name), key(0), (config.query,))
    return Prepared(table, task)


def compare_strategies(
    config: CompareStrategiesConfig,
    run: RunFolder | None = None,
    prepared: Prepared | None = None,
    command: Sequence[str] = SEARCH,
) -> ComparedStrategies:
    """Run all searches that `run` does not hold yet; results.json is there, whole, after each.

    Args:
        run: what was found and, of searches that train a supernet, their run folders; needed by these.
        prepared: what `prepare(config)` gave, if it was called before.
        command: how `base-fast search` is called in a fresh process.

    Raises:
        Interrupted: SIGINT or SIGTERM; calling it again with the same run goes on.
        Diverged: searches failed; the others are finished and in results.json.
        InputError: see `prepare`; or searches that train a supernet without a run folder.
    """
    if run is None and config.one_shot:
        raise InputError(f"--run: not given, expected a folder for the searches of {', '.join(config.one_shot)}")
    prepared = prepared or prepare(config)
    return _Comparison(config, Judge(prepared.table, config.columns), run, tuple(command)).finish()


class _Comparison:
    def __init__(
        self, config: CompareStrategiesConfig, judge: Judge, run: RunFolder | None, command: tuple[str, ...]
    ) -> None:
        self.config, self.judge, self.run, self.command = config, judge, run, command
        self.findings: list[Finding] = []
        self.steps = {name: config.steps for name in config.one_shot if config.steps is not None}
        self.failed: dict[str, str] = {}
        self.means = judge.expected(IndependentEdges.uniform(judge.table.space))
        self.published = tuple(published(judge)) if config.published else ()

    def finish(self) -> ComparedStrategies:
        config = self.config
        with interruptible() as interruption, progress("searches", len(config.strategies) * config.seeds) as bar:
            for found in self._all():
                self.findings.append(found)
                if self.run is not None:
                    self.run.write(RESULTS, self._results())
                bar.advance(1, search=_name(found.strategy, found.seed))
                if interruption.requested:
                    left = len(config.strategies) * config.seeds - len(self.findings)
                    raise Interrupted(f"comparison: stopped with {left} searches to go")
        compared = self._results()
        if self.run is not None:
            self.run.write(RESULTS, compared)
        if self.failed:
            name, why = next(iter(self.failed.items()))
            raise Diverged(
                f"{len(self.failed)} of {len(config.strategies) * config.seeds} searches failed, the others are "
                f"finished; {name}: {why}"
            )
        return compared

    def _all(self) -> Iterator[Finding]:
        with one_thread():
            for name in self.config.asking:
                for seed in range(self.config.seeds):
                    yield self._looked_up(name, seed)
        if self.config.one_shot:
            assert self.run is not None
            yield from self._trained(self.run)

    def _looked_up(self, name: str, seed: int) -> Finding:
        """A search that asks for genotypes, and is told the values of the table."""
        config, judge, run, file = self.config, self.judge, self.run, f"searches/{_name(name, seed)}"
        if run is not None and run.holds(file):
            found = run.read(file, Finding)
            if set(config.columns) <= found.places.keys():
                return found
        settings = config.settings(name)
        assert isinstance(settings, AskTell)
        asking = AskTellSearch(settings, judge.table, config.queries_of(name), key(seed), (config.query,))
        metered = Metered(asking)
        try:
            result = search(metered, name=name)
        except Interrupted:  # which would say that nothing was saved
            raise Interrupted(f"comparison: stopped in {_name(name, seed)}") from None
        # The memory of this process says nothing of a search.
        cost = replace(metered.cost, peak_bytes=0)
        curve = judge.best_so_far(result.history, result.quantities[0])
        found = self._finding(
            name, seed, result.genotype.compact(), result.distribution, "query", curve, result.spent, cost
        )
        if run is not None:
            run.write(file, found)
        return found

    def _trained(self, run: RunFolder) -> Iterator[Finding]:
        """Searches that train a supernet, a seed of all before the next one."""
        if self.config.seconds is not None:
            self._find_steps(run, self.config.seconds)
        jobs: dict[Job, tuple[str, int]] = {}
        for seed in range(self.config.seeds):
            for name in self.config.one_shot:
                job = self._job(run, "searches", name, seed, self.steps.get(name))
                if _finished(job.folder):
                    yield self._read(job.folder, name, seed)
                else:
                    jobs[job] = name, seed
        for job, status in run_jobs(list(jobs), self.config.processes):
            if status == 0:
                yield self._read(job.folder, *jobs[job])
            else:
                self.failed[job.name] = last_words(job.log)

    def _find_steps(self, run: RunFolder, seconds: float) -> None:
        """How many steps of the weights each search may take, from the speed of a trial with its first seed."""
        config = self.config
        sizes = {}
        for name in config.one_shot:
            settings = config.settings(name)
            assert isinstance(settings, OneShot)
            sizes[name] = WARM + max(TRIAL, 2 * settings.cycle)
        jobs = {self._job(run, "trials", name, 0, size): name for name, size in sizes.items()}
        for job, status in run_jobs([job for job in jobs if not _finished(job.folder)], config.processes):
            if status != 0:
                raise Diverged(f"{job.name}: its trial failed: {last_words(job.log)}")
        for job, name in jobs.items():
            self.steps[name] = _affordable(RunFolder.open(job.folder), name, sizes[name], seconds)

    def _job(self, run: RunFolder, kind: str, name: str, seed: int, steps: int | None) -> Job:
        label = _name(name, seed)
        folder = run.path / kind / label
        config = folder.with_suffix(".toml")
        config.parent.mkdir(parents=True, exist_ok=True)
        save_config(config, self.config.search(name, seed, steps))
        words = (*self.command, "--config", str(config), "--run", str(folder), "--resume")
        return Job(label, words, folder, folder.with_suffix(".log"))

    def _read(self, folder: Path, name: str, seed: int) -> Finding:
        """What a search in a folder of its own found."""
        run, judge = RunFolder.open(folder), self.judge
        record, cost = read_search(run), read_cost(run)
        assert record is not None
        distribution = load_distribution(folder / DISTRIBUTION)
        curve = judge.course(run.rows("search"))
        if not curve:
            named = [row for row in record.history if "genotype" in row]
            curve = judge.best_so_far(named, record.goal)
        return self._finding(name, seed, record.genotype, distribution, "step", curve, record.spent, cost)

    def _finding(
        self,
        name: str,
        seed: int,
        genotype: str,
        distribution: Distribution,
        unit: str,
        curve: tuple[Point, ...],
        spent: dict[str, float],
        cost: Cost | None,
    ) -> Finding:
        judge = self.judge
        places, expected, skips = judge.places(genotype), judge.expected(distribution), judge.skips(genotype)
        return Finding(name, seed, genotype, places, expected, skips, unit, curve, spent, cost)

    def _results(self) -> ComparedStrategies:
        config, judge = self.config, self.judge
        order = {name: number for number, name in enumerate(config.strategies)}
        return ComparedStrategies(
            judge.table.space.name,
            len(judge.table),
            judge.quantities,
            config.query,
            config.queries,
            config.strategies,
            config.baseline,
            self.steps,
            self.means,
            tuple(sorted(self.findings, key=lambda one: (order[one.strategy], one.seed))),
            self.published,
            self.failed,
        )


def published(judge: Judge) -> Iterator[Finding]:
    """The cells of published searches, as what they found; of cost and distribution nothing is known."""
    for name, cells in PUBLISHED:
        for seed, cell in enumerate(cells):
            yield Finding(name, seed, cell, judge.places(cell), {}, judge.skips(cell), "step", (), {}, None)


def _name(strategy: str, seed: int) -> str:
    return f"{strategy}-seed{seed}"


def _finished(folder: Path) -> bool:
    # search.json is written when all else is there.
    return (folder / "search.json").is_file()


def _affordable(trial: RunFolder, name: str, steps: int, seconds: float) -> int:
    """The steps of a search that takes so many seconds, from a trial of `steps` steps.

    Raises:
        InputError: the seconds don't suffice for a single one.
    """
    # Steps of the weights have a loss; between them may lie others, which belong to them.
    times = [float(row["time"]) for row in trial.rows("search") if "loss" in row][:steps]
    cost = read_cost(trial)
    assert cost is not None
    # The last step may measure more than the others.
    each = (times[-2] - times[WARM - 1]) / (len(times) - 1 - WARM)
    # What comes after the steps of the weights, such as scores and a play-off, takes as long however many they are.
    rest = max(cost.wall_seconds - each * steps, 0.0)
    found = math.floor((seconds - rest) / each)
    if found < 1:
        raise InputError(
            f"seconds: got {seconds:g}, expected more than the {rest + each:.1f} that {name} needs at least"
        )
    return found
