"""Compare strategies, those that train a supernet included: accuracy and rank of what each finds for as much."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar

from base_fast.cli.command import Flat, RunCommand, required
from base_fast.cli.register import OPTION, registered
from base_fast.errors import Diverged
from base_fast.experiments import ComparedStrategies, CompareStrategiesConfig, compare_strategies
from base_fast.experiments.strategy_comparison import RESULTS, SEARCH, Prepared, prepare
from base_fast.reports import print_table, write_report
from base_fast.reports.scores import scores, strategy_tables
from base_fast.runs import RunFolder, atomic_write, to_dict


@dataclass(frozen=True)
class CompareStrategies(RunCommand):
    """Every search that asks for genotypes sees the column `query` alone, one that trains a supernet images alone; what
    they find is looked up in the columns `judge`. Leaves what was found in RUN/results.json, the searches on images in
    RUN/searches, and the report in RUN/report/index.html; without such searches, no run folder is needed."""

    out: Path | None = None
    """File for everything that was found, as JSON."""
    Settings: ClassVar = CompareStrategiesConfig
    settings: Annotated[CompareStrategiesConfig, Flat] = CompareStrategiesConfig()

    def execute(self) -> int:
        settings = self.settings
        prepared = prepare(settings)
        if self.run is None and not settings.one_shot:
            self._tell(compare_strategies(settings, None, prepared))
            return 0
        table = sha256(required("table", settings.table, "a table").expanduser().read_bytes()).hexdigest()
        data = [] if prepared.task is None else [prepared.task]
        with self.open_run("compare-strategies", settings, *data, table=table) as run:
            self._tell(self._compared(run, prepared), run)
        return 0

    def _compared(self, run: RunFolder, prepared: Prepared) -> ComparedStrategies:
        words = [word for what in registered() for word in (OPTION, what)]
        try:
            return compare_strategies(self.settings, run, prepared, (*SEARCH, *words))
        except Diverged:
            # Of those that are finished.
            self._tell(run.read(RESULTS, ComparedStrategies), run)
            raise

    def _tell(self, compared: ComparedStrategies, run: RunFolder | None = None) -> None:
        tables = strategy_tables(compared)
        # Written first: what is printed may end in a pipe that nobody reads to its end.
        if self.out is not None:
            data: dict[str, Any] = {"strategies": scores(compared), "results": to_dict(compared)}
            atomic_write(self.out, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
        report = None if run is None or not compared.findings else write_report(run.path)
        for table in tables:
            print_table(table)
        if report is not None:
            print(f"report: {report}")
