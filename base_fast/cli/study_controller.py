"""Study what the hidden states of ENAS's controller know of earlier choices, without and with a memory buffer."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.experiments.controller_study import StudyConfig, prepare, study
from base_fast.reports import print_table, write_report
from base_fast.reports.controller_study import study_tables


@dataclass(frozen=True)
class StudyController(RunCommand):
    """Leaves what was measured in RUN/study.json, the controllers in RUN/controllers, and the report in
    RUN/report/index.html."""

    Settings: ClassVar = StudyConfig
    settings: Annotated[StudyConfig, Flat] = StudyConfig()

    def execute(self) -> int:
        prepared = prepare(self.settings)
        paths = {"table": self.settings.table.path}
        paths |= {f"controller {i}": path for i, path in enumerate(self.settings.saved)}
        inputs = {name: sha256(path.expanduser().read_bytes()).hexdigest() for name, path in paths.items()}
        with self.open_run("study-controller", self.settings, **inputs) as run:
            tables = study_tables(study(self.settings, run, prepared))
            # Written first: what is printed may end in a pipe that nobody reads to its end.
            report = write_report(run.path)
            for table in tables:
                print_table(table)
            print(f"report: {report}")
        return 0
