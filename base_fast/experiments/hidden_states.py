"""What the hidden states of a controller know: of the choices before, of the genotype's graph, of what it is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.distributions import Controller
from base_fast.errors import InputError
from base_fast.experiments.anosim import anosim
from base_fast.experiments.probes import FOLDS, explained, majorities, probe_accuracies
from base_fast.objectives import Table, rank_correlation, spearman_interval
from base_fast.random import fold_in
from base_fast.random import key as make_key
from base_fast.space import decisions, from_decisions
from base_fast.space.graph_distance import MEASURES, edit_distance

NOISES = (0.1, 1e-4)
"""What a probe sees through, relative to the states' spread: what stands out; and whatever is there at all."""
FAR = 3
"""Choices this many decisions back, and further, are far."""
WORTH = "validation performance"
_MOST_STEPS = 8  # at which completions begin


@dataclass(frozen=True)
class ProbeConfig:
    """How many genotypes the study of a controller draws."""

    genotypes: int = 2000
    """Genotypes that the probes read, four fifths to learn from and a fifth to be tested on, in turn."""
    pairs: int = 500
    """Pairs of genotypes whose distances are correlated; no genotype is in two of them."""
    states: int = 10
    """Hidden states from which genotypes are completed, or as many as there are."""
    completions: int = 20
    """Completions of each state."""
    permutations: int = 999
    """Permutations behind ANOSIM's p."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        least = {"genotypes": 2 * FOLDS, "pairs": 3, "states": 2, "completions": 2, "permutations": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ {value}")


@dataclass(frozen=True)
class Completed:
    """Genotypes completed from several states before decision `step`, counted from 0.

    Attributes:
        r, p: ANOSIM of the decisions that were drawn from the states, by the number of those that differ: 0 where what
            follows doesn't depend on the state. In spaces that keep all edges, this is the edit distance of what came.
        within, between: mean number of those that differ, of completions of one state and of two.
        whole: R of the edit distance of whole genotypes, of which the state's own choices are a part.
    """

    step: int
    states: int
    r: float
    p: float
    within: float
    between: float
    whole: float


@dataclass(frozen=True)
class Correlated:
    """Spearman's ρ of the distance of last hidden states (euclidean, cosine) with a measure of the genotypes' graphs,
    or the difference of what they are worth; its 95 % interval over pairs. None where one side has one value."""

    distance: str
    measure: str
    rho: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Probed:
    """Held-out accuracy of choices so many decisions back (1: the last), mean over all decisions that have them, of a
    probe that sees through `noise`; chance: that of always saying the most frequent one."""

    back: int
    noise: float
    accuracy: float
    chance: float


@dataclass(frozen=True)
class Explained:
    """Held-out R² of a genotype's worth, of a linear probe that sees through `noise`: from the last hidden state, and
    from the choices themselves that the state has seen."""

    noise: float
    states: float | None
    choices: float | None


@dataclass(frozen=True)
class States:
    """Hidden states over genotypes that were drawn in one way."""

    correlations: tuple[Correlated, ...]
    probes: tuple[Probed, ...]
    explained: tuple[Explained, ...]

    def far(self, noise: float) -> tuple[float, float]:
        """Mean accuracy of choices at least `FAR` decisions back, and of chance."""
        rows = [row for row in self.probes if row.noise == noise and row.back >= min(FAR, self.probes[-1].back)]
        return fmean(row.accuracy for row in rows), fmean(row.chance for row in rows)

    def rho(self, distance: str, measure: str) -> Correlated:
        """The row of this distance and measure."""
        return next(row for row in self.correlations if (row.distance, row.measure) == (distance, measure))


def completed(controller: Controller, config: ProbeConfig, key: Tensor) -> tuple[Completed, ...]:
    """Completions of states that uniformly drawn choices lead to, at up to eight steps, evenly apart."""
    space, steps = controller.space, len(decisions(controller.space))
    prefixes = _uniform(controller).complete(_none(64 * config.states), fold_in(key, 0))
    # What comes first may be forced (a node after two inputs takes both), and then there is one state only.
    begin = [step for step in range(1, steps) if len(prefixes[:, :step].unique(dim=0)) > 1]
    evenly = {round(i * (len(begin) - 1) / (_MOST_STEPS - 1)) for i in range(_MOST_STEPS)}
    found = []
    for step in (begin[i] for i in sorted(evenly)):
        own = _first_different(prefixes[:, :step], config.states)
        options = controller.complete(own.repeat_interleave(config.completions, dim=0), fold_in(key, step))
        groups = torch.arange(len(own), device="cpu").repeat_interleave(config.completions)
        added = options[:, step:]
        differing = (added.unsqueeze(0) != added.unsqueeze(1)).sum(dim=2)
        seed = fold_in(key, steps + step)
        similarity = anosim(differing, groups, seed, config.permutations)
        choices, n = from_decisions(options.numpy(), space), len(options)
        pairs = torch.cartesian_prod(torch.arange(n, device="cpu"), torch.arange(n, device="cpu")).T.numpy()
        edits = torch.from_numpy(edit_distance(choices[pairs[0]], choices[pairs[1]], space)).view(n, n)
        whole = anosim(edits, groups, seed, 1).r
        found.append(Completed(step, len(own), *similarity[:2], similarity.within, similarity.between, whole))
    return tuple(found)


def states(controller: Controller, choices: Tensor, config: ProbeConfig, table: Table | None) -> States:
    """What the states say that lead through choices (n, T, E).

    Args:
        choices: n = max(config.genotypes, 2 · config.pairs) of them; see `number`.
        table: its first quantity is what a genotype is worth; without it, nothing is said of that.
    """
    with torch.no_grad():
        trace = controller.trace(choices)
    # The last state is the one from which the last decision is drawn.
    last = trace.hidden[:, -1]
    worth = None if table is None else table.measure(choices, make_key(0)).values[:, 0]
    correlations = tuple(_correlations(controller, choices[: 2 * config.pairs], last[: 2 * config.pairs], worth))
    options, hidden = trace.options[: config.genotypes], trace.hidden[: config.genotypes]
    explanations = []
    if worth is not None:
        seen = F.one_hot(options[:, :-1], int(options.max()) + 1).flatten(1)
        y = worth[: config.genotypes]
        for noise in NOISES:
            r2, reference = explained(hidden[:, -1], y, noise), explained(seen, y, noise)
            explanations.append(Explained(noise, _number(r2), _number(reference)))
    return States(correlations, tuple(_probes(options, hidden)), tuple(explanations))


def number(config: ProbeConfig) -> int:
    """How many genotypes `states` needs."""
    return max(config.genotypes, 2 * config.pairs)


def _correlations(controller: Controller, choices: Tensor, last: Tensor, worth: Tensor | None) -> Iterator[Correlated]:
    a, b = choices[0::2].numpy(), choices[1::2].numpy()
    measures = {name: torch.from_numpy(measure(a, b, controller.space)) for name, measure in MEASURES.items()}
    if worth is not None:
        worth = worth[: len(choices)]
        measures[WORTH] = (worth[0::2] - worth[1::2]).abs()
    distances = {
        "euclidean": (last[0::2] - last[1::2]).norm(dim=1),
        "cosine": 1.0 - F.cosine_similarity(last[0::2], last[1::2]),
    }
    for distance, x in distances.items():
        for name, y in measures.items():
            rho, interval = rank_correlation(x, y).spearman, spearman_interval(x, y)
            yield Correlated(distance, name, *map(_number, (rho, *interval)))


def _probes(options: Tensor, hidden: Tensor) -> Iterator[Probed]:
    steps, width = options.shape[1], int(options.max()) + 1
    for noise in NOISES:
        rows: dict[int, list[tuple[float, float]]] = {back: [] for back in range(1, steps)}
        for t in range(1, steps):
            before = options[:, :t]
            accuracies = probe_accuracies(hidden[:, t], before, width, noise)
            for s, row in enumerate(zip(accuracies, majorities(before), strict=True)):
                rows[t - s].append(row)
        for back, found in rows.items():
            yield Probed(back, noise, *map(fmean, zip(*found, strict=True)))


def _first_different(rows: Tensor, most: int) -> Tensor:
    """The first `most` different ones of rows (n, s), in the order in which they come."""
    found = dict.fromkeys(map(tuple, rows.tolist()))
    return torch.tensor(list(found)[:most], dtype=torch.int64, device="cpu")


def _uniform(controller: Controller) -> Controller:
    """A controller without weights: all genotypes are equally probable."""
    return controller.with_weights(torch.zeros_like(controller.weights))


def _none(n: int) -> Tensor:
    return torch.empty(n, 0, dtype=torch.int64, device="cpu")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
