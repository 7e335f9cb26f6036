"""A search of a language model's cell as configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from base_fast.arguments import integer, whole_numbers
from base_fast.evaluation.language_model import LanguageModelConfig
from base_fast.evaluation.language_training import LanguageTrainConfig
from base_fast.objectives.language import TrainedLanguage
from base_fast.random import key
from base_fast.space import RECURRENT
from base_fast.strategies.ask_tell import AskTellSearch
from base_fast.strategies.config import AskTellConfig
from base_fast.strategies.language_search import LanguageOneShotConfig, LanguageSearch
from base_fast.strategies.strategy import Strategy
from base_fast.tasks.text import Corpus, TextConfig


@dataclass(frozen=True)
class LanguageSearchConfig(AskTellConfig):
    """A search of a recurrent cell; of the strategies' settings, only those of the chosen one are looked at."""

    strategy: Literal["darts", "gdas", "drnas", "snas", "random", "evolution", "reinforce", "enas"] = "darts"
    """darts, gdas, drnas, snas: train a mixture of all cells on the text (one_shot). The others train every cell that
    they ask for (train)."""
    nodes: int = 8
    """Nodes of the cell: 8 in DARTS, 12 in ENAS, 11 in NAO."""
    queries: int = 20
    """Cells that a strategy may ask for."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        integer("nodes", self.nodes, 1, 100)


@dataclass(frozen=True)
class LanguageSearchSettings:
    """The search, what it trains, and on which text."""

    search: LanguageSearchConfig = LanguageSearchConfig()
    one_shot: LanguageOneShotConfig = LanguageOneShotConfig()
    """How a mixture and its architecture learn."""
    train: LanguageTrainConfig = LanguageTrainConfig(epochs=1)
    """The training of a cell that was asked for."""
    model: LanguageModelConfig = LanguageModelConfig(hidden=300)
    """Size of either."""
    text: TextConfig = TextConfig()
    """The text."""


def open_language_search(settings: LanguageSearchSettings, corpus: Corpus) -> Strategy[Any]:
    """The search that `settings` describe on a text, ready to run.

    Raises:
        InputError: settings and text don't fit.
    """
    config, space = settings.search, RECURRENT.with_nodes(settings.search.nodes)
    if config.strategy in ("darts", "gdas", "drnas", "snas"):
        return LanguageSearch(config.strategy, settings.one_shot, space, corpus, settings.model, config.seed)
    objective = TrainedLanguage(space, corpus, settings.model, settings.train)
    return AskTellSearch(getattr(config, config.strategy), objective, config.queries, key(config.seed))
