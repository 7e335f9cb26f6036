"""Meta-train, adapt, derive and train, beside the same search from scratch and random genotypes; one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.experiments import CompareConfig, Placements, compare, prepare
from base_fast.reports import print_table, write_report
from base_fast.reports.comparison import comparison_tables
from base_fast.reports.placements import placement_tables


@dataclass(frozen=True)
class Compare(RunCommand):
    """Leaves the measurements in RUN/results.json and the report in RUN/report/index.html."""

    Settings: ClassVar = CompareConfig
    settings: Annotated[CompareConfig, Flat] = CompareConfig()

    def execute(self) -> int:
        prepared = prepare(self.settings)
        with self.open_run("compare", self.settings, *prepared) as run:
            tables = comparison_tables(compare(self.settings, run, prepared))
            if run.holds("placements"):
                tables += placement_tables(run.read("placements", Placements))
            # Written first: what is printed may end in a pipe that nobody reads to its end.
            report = write_report(run.path)
            for table in tables:
                print_table(table)
            print(f"report: {report}")
        return 0
