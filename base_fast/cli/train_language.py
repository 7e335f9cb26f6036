"""Train the language model of a recurrent cell on any text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.cli.train import read_genotype
from base_fast.errors import InputError
from base_fast.evaluation import count_parameters
from base_fast.evaluation.bptt import in_columns, mean_loss
from base_fast.evaluation.language_model import FILE, LanguageModelConfig, save_language_model
from base_fast.evaluation.language_training import LanguageTrainConfig, perplexity, train_language
from base_fast.nn.recurrent import BASELINES, Baseline
from base_fast.runs.artefacts import LanguageEvaluated, TrainedLanguageModel
from base_fast.space import Genotype, check_recurrent
from base_fast.space.recurrent import PUBLISHED
from base_fast.tasks.text import TextConfig, open_corpus


@dataclass(frozen=True)
class TrainLanguageSettings:
    """The model, the recipe and the text."""

    model: LanguageModelConfig = LanguageModelConfig()
    train: LanguageTrainConfig = LanguageTrainConfig()
    text: TextConfig = TextConfig()


@dataclass(frozen=True)
class TrainLanguage(RunCommand):
    """Leaves the trained weights and the vocabulary in RUN/language_model.safetensors."""

    genotype: str = ""
    """A published cell's name (DARTS_RNN_V1, DARTS_RNN_V2, ENAS_RNN), tanh_rnn or lstm; or a recurrent genotype in any
    notation, or a file or run folder that holds one."""
    Settings: ClassVar = TrainLanguageSettings
    settings: Annotated[TrainLanguageSettings, Flat] = TrainLanguageSettings()

    def execute(self) -> int:
        cell, settings = read_cell(self.genotype), self.settings
        corpus = open_corpus(settings.text)
        in_columns(corpus.train, settings.train.batch_size)  # says what does not fit before there is a run folder
        written = cell.compact() if isinstance(cell, Genotype) else cell
        model = settings.model.build(cell, len(corpus.vocabulary), settings.train.seed)
        with self.open_run("train-language", settings, corpus, genotype=written) as run:
            if isinstance(cell, Genotype):
                run.write("genotype", cell)
            result = train_language(model, corpus, settings.train, run)
            save_language_model(run.path / FILE, model, cell, settings.model, corpus.vocabulary)
            tested = perplexity(mean_loss(model, corpus.test)) if len(corpus.test) else None
            history = tuple(
                LanguageEvaluated(int(row["step"]), row["perplexity"], bool(row["averaged"])) for row in result.history
            )
            record = TrainedLanguageModel(
                corpus.name,
                written,
                result.perplexity,
                tested,
                result.steps,
                result.seconds,
                count_parameters(model),
                len(corpus.vocabulary),
                history,
            )
            run.write("results", record)
            print(
                f"{run.path}: {record.steps} steps in {record.seconds:.1f} s, validation perplexity "
                f"{record.perplexity:.2f}{'' if tested is None else f', test perplexity {tested:.2f}'}, "
                f"{record.words:,} words, {record.parameters:,} parameters"
            )
        return 0


def read_cell(text: str) -> Genotype | Baseline:
    """A recurrent cell as `read_genotype` reads it, by its published name, or a baseline."""
    name = text.strip().lower()
    for baseline in BASELINES:
        if name == baseline:
            return baseline
    published = {known.lower(): genotype for known, genotype in PUBLISHED.items()}
    if name in published:
        return published[name]
    if not text:
        raise InputError(
            f"--genotype: not given, expected {', '.join((*PUBLISHED, *BASELINES))}, a genotype.json or a cell's text"
        )
    genotype = read_genotype(text)
    check_recurrent(genotype)
    return genotype
