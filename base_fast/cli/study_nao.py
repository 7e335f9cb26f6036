"""Study the parts of NAO on a table: predictor, decoder, and what a step along the gradient earns."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.experiments.nao_study import NaoStudyConfig, prepare_nao_study, study_nao
from base_fast.reports import print_table
from base_fast.reports.predictor_studies import nao_study_table


@dataclass(frozen=True)
class StudyNao(RunCommand):
    """Leaves what was found in RUN/study.json, and each repetition beside it."""

    Settings: ClassVar = NaoStudyConfig
    settings: Annotated[NaoStudyConfig, Flat] = NaoStudyConfig()

    def execute(self) -> int:
        table = prepare_nao_study(self.settings)
        path = self.settings.table
        assert path is not None, "it was read"
        with self.open_run("study-nao", self.settings, table=sha256(path.expanduser().read_bytes()).hexdigest()) as run:
            print_table(nao_study_table(study_nao(self.settings, run, table)))
        return 0
