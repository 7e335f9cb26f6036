"""A comparison of strategies as configuration: who takes part, with which settings, on what, for how long."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig
from base_fast.objectives import ObjectiveConfig, Quantity, Table
from base_fast.runs import changeable
from base_fast.space import Space, get_any
from base_fast.strategies import (
    AskTell,
    OneShot,
    RandomSearch,
    SearchConfig,
    SearchSettings,
    StrategiesConfig,
)
from base_fast.supernet import SupernetConfig
from base_fast.tasks import TargetConfig

UNIFORM = "uniform"
"""One genotype drawn uniformly, as an entrant."""
ASKING = ("random", "evolution", "reinforce", "enas")
"""Those that ask for genotypes, have one goal, take a moment, and need neither a file nor another package."""
STRATEGIES = tuple(field.name for field in fields(StrategiesConfig))


@dataclass(frozen=True)
class Variant(StrategiesConfig):
    """A strategy with settings of its own; of the tables below, only that of the strategy is looked at."""

    name: str = ""
    """What it is called among `strategies`."""
    strategy: str = ""
    """Whose settings follow, in the table of that name."""

    def __post_init__(self) -> None:
        taken = (UNIFORM, *STRATEGIES)
        if not self.name.replace("_", "").replace("-", "").isalnum() or self.name in taken:
            raise InputError(
                f"name: got {self.name!r}, expected letters, digits, - and _, and not one of {', '.join(taken)}"
            )
        if self.strategy not in STRATEGIES:
            raise InputError(f"strategy: got {self.strategy!r}, expected one of {', '.join(STRATEGIES)}")


@dataclass(frozen=True)
class CompareStrategiesConfig(StrategiesConfig):
    """Strategies side by side; what each finds is looked up in one table.

    Those that ask for genotypes see a column of the table, as many queries each. Those that train a supernet see images
    only, as many steps of the weights each, or about as many seconds.
    """

    table: Path | None = changeable(None)
    """.csv or .json with a column of genotypes and columns of numbers, or either with .gz."""
    query: str = "accuracy"
    """Column that the strategies see which ask for genotypes."""
    judge: tuple[str, ...] = changeable(())
    """Columns that all are judged by; that of the queries if not given."""
    better: Literal["larger", "smaller"] = "larger"
    """Which way is better, in all columns."""
    unit: str = "%"
    """Their unit."""
    space: str | Space = "nas_bench_201"
    """nas_bench_201, nas_bench_macro, darts, or one of your own: a `Space`, in a file a table of its fields."""
    genotypes: str = "arch"
    """Column of the genotypes."""
    strategies: tuple[str, ...] = changeable(ASKING)
    """Which to compare: names of strategies or variants; uniform is a single genotype drawn uniformly."""
    variants: tuple[Variant, ...] = ()
    """Strategies with other settings, under names of their own."""
    seeds: int = changeable(20)
    """Repetitions of each search: seed 0, 1, ..."""
    baseline: str = changeable("")
    """The one of the strategies that the others are compared with, seed by seed; none if not given."""
    published: bool = changeable(False)
    """Add the cells that published searches found in NAS-Bench-201."""
    queries: int = 150
    """Genotypes that a search may ask for; a repeated one counts."""
    steps: int | None = None
    """Steps of the weights of every search that trains a supernet; those of its own settings if unset."""
    seconds: float | None = None
    """Seconds of every such search instead, about: its steps follow from the speed of a short trial."""
    supernet: SupernetConfig = SupernetConfig("nas_bench_201")
    """The supernet of those that train one."""
    target: TargetConfig = TargetConfig()
    """Their images."""
    device: str = changeable("auto")
    """Where they run."""
    processes: int = changeable(2)
    """How many of them run at once, each in a fresh process with its share of the threads."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("seeds", "queries", "steps", "processes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: got {value}, expected an integer ≥ 1")
        if self.seconds is not None and not 0.0 < self.seconds < float("inf"):
            raise InputError(f"seconds: got {self.seconds!r}, expected a number > 0")
        if self.steps is not None and self.seconds is not None:
            raise InputError("steps, seconds: got both, expected one: they are two ways to give each search as much")
        variants = [variant.name for variant in self.variants]
        known = (UNIFORM, *STRATEGIES, *variants)
        if len(set(known)) != len(known):
            raise InputError(f"variants: got {', '.join(variants)}, expected different names")
        unknown = [name for name in self.strategies if name not in known]
        if unknown or not self.strategies or len(set(self.strategies)) != len(self.strategies):
            got = ", ".join(unknown or self.strategies) or "none"
            raise InputError(f"strategies: got {got}, expected some of {', '.join(known)}, each once")
        if self.baseline and self.baseline not in self.strategies:
            raise InputError(f"baseline: got {self.baseline!r}, expected one of {', '.join(self.strategies)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """What judges."""
        return self.judge or (self.query,)

    def open_table(self) -> Table:
        """All columns that are looked at.

        Raises:
            InputError: there is no table, or it cannot be read; see `Table.read`.
        """
        if self.table is None:
            raise InputError("--table: not given, expected a table of genotypes and values")
        names = dict.fromkeys((self.query, *self.columns))
        quantities = [Quantity(name, self.better, self.unit) for name in names]
        return Table.read(self.table.expanduser(), get_any(self.space), quantities, self.genotypes)

    def settings(self, name: str) -> AskTell[Any] | OneShot:
        """Those of an entrant."""
        if name == UNIFORM:
            return RandomSearch()
        variant = next((variant for variant in self.variants if variant.name == name), None)
        found: AskTell[Any] | OneShot
        found = getattr(self, name) if variant is None else getattr(variant, variant.strategy)
        return found

    def queries_of(self, name: str) -> int:
        """Queries of an entrant that asks for genotypes."""
        return 1 if name == UNIFORM else self.queries

    @property
    def asking(self) -> list[str]:
        """Entrants that ask for genotypes."""
        return [name for name in self.strategies if isinstance(self.settings(name), AskTell)]

    @property
    def one_shot(self) -> list[str]:
        """Entrants that train a supernet."""
        return [name for name in self.strategies if name not in self.asking]

    def search(self, name: str, seed: int, steps: int | None) -> SearchSettings:
        """The search of an entrant that trains a supernet, as `base-fast search` takes it.

        Args:
            steps: of the weights; those of its own settings if None.

        Raises:
            InputError: it cannot be that short.
        """
        variant = next((variant for variant in self.variants if variant.name == name), None)
        strategy = name if variant is None else variant.strategy
        settings = self.settings(name)
        assert isinstance(settings, OneShot)
        try:
            settings = settings if steps is None else settings.lasting(steps)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return SearchSettings(
            replace(SearchConfig(), strategy=strategy, space=self.space, seed=seed, **{strategy: settings}),  # type: ignore[arg-type]
            ObjectiveConfig(kinds=("shared_weights",), network=NetworkConfig(device=self.device)),
            self.supernet,
            self.target,
        )
