"""Search the recurrent cell of a language model on any text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.reports import print_table
from base_fast.reports.search import best_table
from base_fast.space import Genotype
from base_fast.strategies import Metered, search, write_search
from base_fast.strategies.language_config import LanguageSearchSettings, open_language_search
from base_fast.tasks.text import open_corpus


@dataclass(frozen=True)
class SearchLanguage(RunCommand):
    """Leaves the found cell in RUN/genotype.json, for `base-fast train-language --genotype RUN`, everything that was
    measured in RUN/search.json, the distribution over cells in RUN/distribution.safetensors, seconds and memory in
    RUN/cost.json."""

    Settings: ClassVar = LanguageSearchSettings
    settings: Annotated[LanguageSearchSettings, Flat] = LanguageSearchSettings()

    def execute(self) -> int:
        settings = self.settings
        corpus = open_corpus(settings.text)
        strategy = Metered(open_language_search(settings, corpus))
        with self.open_run("search-language", settings, corpus) as run:
            result = search(strategy, run=run)
            record = write_search(run, settings.search.strategy, result, strategy.cost)
            assert isinstance(result.genotype, Genotype), "a space with cells has genotypes with cells"
            run.write("genotype", result.genotype)
            print_table(best_table(record))
            print(f"{run.path}: {record.genotype}")
        return 0
