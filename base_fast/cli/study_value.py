"""Study a value network: its first pick on a column or on tasks that it never saw, beside simpler ways."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.experiments.value_study import ValueStudyConfig, prepare_value_study, study_value
from base_fast.reports import print_table
from base_fast.reports.predictor_studies import value_study_tables


@dataclass(frozen=True)
class StudyValue(RunCommand):
    """Leaves what was found in RUN/study.json, and each repetition beside it."""

    Settings: ClassVar = ValueStudyConfig
    settings: Annotated[ValueStudyConfig, Flat] = ValueStudyConfig()

    def execute(self) -> int:
        data = prepare_value_study(self.settings)
        path = self.settings.database or self.settings.table
        assert path is not None, "one of them was read"
        with self.open_run(
            "study-value", self.settings, file=sha256(path.expanduser().read_bytes()).hexdigest()
        ) as run:
            for table in value_study_tables(study_value(self.settings, run, data)):
                print_table(table)
        return 0
