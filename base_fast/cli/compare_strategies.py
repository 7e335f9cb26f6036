"""Compare searches on a benchmark's table: mean accuracy and median rank of what each finds with as many queries."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from base_fast.cli.command import Command, Flat, required
from base_fast.errors import InputError
from base_fast.experiments import compare_on_table
from base_fast.objectives import TableConfig
from base_fast.reports import print_table
from base_fast.reports.scores import scores_table
from base_fast.runs import atomic_write
from base_fast.space import get_any
from base_fast.strategies import AskTellConfig

NAMES = tuple(field.name for field in fields(AskTellConfig))


@dataclass(frozen=True)
class CompareStrategies(Command):
    """Every search sees the column `query` alone; what it finds best there is looked up in the column `judge`."""

    table: Path | None = None
    """.csv or .json with a column of genotypes and columns of numbers, or either with .gz."""
    query: str = "accuracy"
    """Column that the searches see."""
    judge: str = ""
    """Column that they are judged by; the same if not given."""
    better: Literal["larger", "smaller"] = "larger"
    """Which way is better, in both columns."""
    unit: str = "%"
    """Their unit."""
    space: str = "nas_bench_201"
    """nas_bench_201, nas_bench_macro or darts."""
    genotypes: str = "arch"
    """Column of the genotypes."""
    queries: int = 150
    """Genotypes that a search may ask for; a repeated one counts."""
    seeds: int = 20
    """Repetitions of each search."""
    strategies: tuple[str, ...] = NAMES
    """Which to compare."""
    config: Path | None = None
    """TOML file with the strategies' settings; options override it."""
    out: Path | None = None
    """File for everything that was found, as JSON."""
    Settings: ClassVar = AskTellConfig
    settings: Annotated[AskTellConfig, Flat] = AskTellConfig()

    def execute(self) -> int:
        path = required("table", self.table, "a table of genotypes and values")
        judge = self.judge or self.query
        columns = (self.query,) if judge == self.query else (self.query, judge)
        table = TableConfig(path, columns, self.better, self.unit, self.genotypes).open(get_any(self.space))
        unknown = [name for name in self.strategies if name not in NAMES]
        if unknown or not self.strategies:
            raise InputError(f"strategies: got {', '.join(unknown) or 'none'}, expected some of {', '.join(NAMES)}")
        chosen = {name: getattr(self.settings, name) for name in self.strategies}
        scores = compare_on_table(table, chosen, self.query, judge, self.queries, self.seeds)
        summary = scores_table(scores, table, self.query, judge, self.queries)
        if self.out is not None:
            found = [
                asdict(one) | {"mean": one.mean, "deviation": one.deviation, "median_rank": one.median_rank}
                for one in scores
            ]
            data = {"table": asdict(summary), "strategies": found}
            atomic_write(self.out, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
        print_table(summary)
        return 0
