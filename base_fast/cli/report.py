"""Write a run's report: one self-contained HTML page, and its pictures as PNG."""

from __future__ import annotations

from dataclasses import dataclass

from base_fast.cli.command import RunReader, required
from base_fast.reports import write_report


@dataclass(frozen=True)
class Report(RunReader):
    """Leaves them in RUN/report/; RUN is a run folder of any kind."""

    def execute(self) -> int:
        print(write_report(required("run", self.run, "a run folder")))
        return 0
