"""Write a run's report: one self-contained HTML page, and its pictures as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from base_fast.cli.command import Command
from base_fast.reports import write_report


@dataclass(frozen=True)
class Report(Command):
    """Leaves them in RUN/report/."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder of any kind."""

    def execute(self) -> int:
        print(write_report(self.run))
        return 0
