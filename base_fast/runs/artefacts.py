"""The JSON files of a run folder, one dataclass each, written by `RunFolder.write` and checked by `RunFolder.read`.

    run.json                 RunInfo                                every run
    space.json               space.Space                            meta-train, adapt, compare, collect: the space
    genotype.json            space.Genotype                         meta-train, adapt, train, search, and of languages
    derivation.json          posterior.Derivation                   meta-train, adapt, search: also candidates
    play-off.json            meta.PlayOffRecord                     adapt: by play-off, all rounds
    results.json             Searched, TrainedNetwork, Compared     adapt; train; compare
                             experiments.ComparedStrategies         compare-strategies
                             TrainedLanguageModel                   train-language
                             instance.InstanceRecord                train-instance
    searches/<name>.json     experiments.Finding                    compare-strategies: by look-ups; others are runs
    search.json              strategies.SearchRecord                search, search-language
    cost.json                strategies.Cost                        the same: seconds and memory
    stages/<stage>.json      MetaTrained, Searched, TrainedNetwork  compare: what is done already
    genotypes/<name>.json    space.Genotype                         compare: `Contender.name`
    derivations/<name>.json  posterior.Derivation                   compare: of those that were searched
    play_offs/<name>.json    meta.PlayOffRecord                     compare: of those, by play-off
    evaluations/<name>.json  Scored                                 train: by `base-fast evaluate`
    study.json               experiments.ControllerStudy            study-controller: all of controllers/<name>.json
    controllers/<name>.json  experiments.Examined                   study-controller: what is done already
    placements.json          experiments.Placements                 compare: with benchmark tables

Accuracies and probabilities are shares from 0 to 1, losses are in nats, times in seconds; what search.json measured has
the units that it names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Way = Literal["prior", "scratch", "random"]
WAYS: tuple[Way, ...] = ("prior", "scratch", "random")


@dataclass(frozen=True)
class Machine:
    """What a run ran on; None where the system does not say."""

    cpu: str
    cores: int | None
    memory_bytes: int | None
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to repeat a run: versions by package, the commit of the source, the time in ISO 8601."""

    command: str
    versions: dict[str, str | None]
    commit: str | None
    machine: Machine
    created: str


@dataclass(frozen=True)
class RunInfo:
    """run.json: what kind of run it is, what it depends on besides its configuration, its start and later starts."""

    kind: str
    inputs: dict[str, str]
    started: Provenance
    resumed: tuple[Provenance, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """Scores on the validation images after so many steps; `seconds` of the work until then."""

    step: int
    accuracy: float
    loss: float
    seconds: float


def steps_to(history: Sequence[Evaluated], accuracy: float) -> int | None:
    """The first evaluated step at which the validation accuracy was reached; None if never."""
    return next((row.step for row in history if row.accuracy >= accuracy), None)


@dataclass(frozen=True)
class MetaTrained:
    """A prior was learned."""

    iterations: int
    seconds: float


@dataclass(frozen=True)
class Searched:
    """An adaptation: of the supernet, evaluated at the history's steps; `stopped` is the limit that ended it."""

    accuracy: float
    steps: int
    seconds: float
    stopped: str
    history: tuple[Evaluated, ...]


@dataclass(frozen=True)
class TrainedNetwork:
    """A derived network was trained; parameters without the auxiliary head, MACs of convolutions and linear layers."""

    task: str
    accuracy: float
    loss: float
    steps: int
    seconds: float
    parameters: int
    macs: int
    history: tuple[Evaluated, ...]


@dataclass(frozen=True)
class LanguageEvaluated:
    """A language model on the validation text after so many steps; whether its weights were averaged."""

    step: int
    perplexity: float
    averaged: bool


@dataclass(frozen=True)
class TrainedLanguageModel:
    """A language model was trained; perplexities of the weights that did best on the validation text; None without a
    test text."""

    text: str
    cell: str
    perplexity: float
    test_perplexity: float | None
    steps: int
    seconds: float
    parameters: int
    words: int
    history: tuple[LanguageEvaluated, ...]


@dataclass(frozen=True)
class ClassScore:
    """How many images of a class there were, and the share of them that was classified right; None without images."""

    name: str
    images: int
    accuracy: float | None


@dataclass(frozen=True)
class Scored:
    """A trained network on labelled images; confusion[i][j] images of class i were taken for class j."""

    data: str
    images: int
    accuracy: float
    top5: float
    loss: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Repetition:
    """One seed of a comparison: the meta-training, both searches, and the trained networks of each way."""

    seed: int
    meta: MetaTrained
    prior: Searched
    scratch: Searched
    networks: dict[Way, tuple[TrainedNetwork, ...]]


@dataclass(frozen=True)
class Compared:
    """A comparison; search_steps is each search's budget, the accuracies are those to which steps are counted."""

    title: str
    search_steps: int
    search_accuracy: float
    network_accuracy: float
    seeds: tuple[Repetition, ...]


@dataclass(frozen=True)
class Contender:
    """A genotype of a comparison: the way that led to it, the seed, and its number among that seed's random ones."""

    way: Way
    seed: int
    number: int | None = None

    @property
    def name(self) -> str:
        """As in phases and files: "prior-seed0", "random-seed0-1"."""
        return f"{self.way}-seed{self.seed}" + ("" if self.number is None else f"-{self.number}")

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts seed by seed, and in each by way."""
        return (self.seed, WAYS.index(self.way), self.number or 0)

    @classmethod
    def parse(cls, name: str) -> Contender | None:
        """The inverse of `name`; None for other names."""
        found = re.fullmatch(r"(\w+)-seed(\d+)(?:-(\d+))?", name)
        for way in WAYS:
            if found is not None and found[1] == way:
                return cls(way, int(found[2]), None if found[3] is None else int(found[3]))
        return None
