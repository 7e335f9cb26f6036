"""How well one measure of genotypes orders them as another does."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.objectives.ranks import mean_ranks

RESAMPLES = 1000


class Correlation(NamedTuple):
    """kendall: τ-b. spearman: ρ, Pearson's correlation of the mean ranks. Both from −1 to 1; NaN where one side has
    fewer than two different values."""

    kendall: float
    spearman: float


class Quality(NamedTuple):
    """all: over all genotypes. better_half: among the better half of them by the truth, which is where a search has to
    choose."""

    all: Correlation
    better_half: Correlation


def rank_correlation(a: Tensor, b: Tensor) -> Correlation:
    """Rank correlations of two measures of the same n things.

    Args:
        a, b: (n,). Memory is O(n²).

    Raises:
        InputError: shapes differ, or a value is NaN.

    Source: Kendall, The treatment of ties in ranking problems, Biometrika 1945, for τ-b.
    """
    if a.shape != b.shape:
        raise InputError(f"b: got shape {tuple(b.shape)}, expected {tuple(a.shape)} as of a")
    ranks = torch.stack((mean_ranks(a), mean_ranks(b)))
    # Signs of all n² differences: a concordant pair gives 1, a discordant one −1, a tie 0.
    signs = torch.sign(ranks.unsqueeze(2) - ranks.unsqueeze(1)).flatten(1)
    return Correlation(_cosine(*signs), _cosine(*(ranks - ranks.mean(dim=1, keepdim=True))))


def spearman_interval(a: Tensor, b: Tensor, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % interval of Spearman's ρ of two measures of the same n things, by bootstrap with fixed draws.

    Both are ranked anew in every resample. Resamples in which one side has a single value are left out; NaN where all
    are.

    Args:
        a, b: (n,), the things drawn independently of each other. Memory is O(n · resamples).

    Raises:
        InputError: see `rank_correlation`.

    Source: percentile interval of Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
    """
    if a.shape != b.shape:
        raise InputError(f"b: got shape {tuple(b.shape)}, expected {tuple(a.shape)} as of a")
    n = len(a)
    drawn = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(0), device="cpu")
    times = torch.zeros(resamples, n, dtype=torch.float64, device="cpu")
    times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    first, second = (_centred_ranks(x, times) for x in (a, b))
    norms = torch.sqrt((times * first.square()).sum(dim=1) * (times * second.square()).sum(dim=1))
    rho = ((times * first * second).sum(dim=1) / norms)[norms > 0]
    if len(rho) == 0:
        return math.nan, math.nan
    low, high = rho.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu")).tolist()
    return low, high


def _centred_ranks(values: Tensor, times: Tensor) -> Tensor:
    """(resamples, n): mean ranks of values (n,) that occur so many times, about their mean."""
    place = torch.unique(mean_ranks(values), return_inverse=True)[1]
    counts = torch.zeros(len(times), int(place.max()) + 1, dtype=torch.float64, device="cpu")
    counts.index_add_(1, place, times)
    ranks = (counts.cumsum(dim=1) - (counts - 1) / 2)[:, place]
    return ranks - (ranks * times).sum(dim=1, keepdim=True) / times.sum(dim=1, keepdim=True)


def pairwise_accuracy(predicted: Tensor, truth: Tensor) -> float:
    """Share of the pairs of n things with different true values that the prediction orders as the truth does; pairs
    with one prediction count half. NaN where all true values are equal. Both (n,), memory is O(n²).

    Raises:
        InputError: shapes differ, or a value is NaN.
    """
    if predicted.shape != truth.shape:
        raise InputError(
            f"predicted: got shape {tuple(predicted.shape)}, expected {tuple(truth.shape)} as of the truth"
        )
    a, b = mean_ranks(predicted), mean_ranks(truth)
    signs = torch.sign(a.unsqueeze(1) - a) * torch.sign(b.unsqueeze(1) - b)
    different = int((b.unsqueeze(1) != b).sum())
    return (signs.sum().item() / different + 1.0) / 2.0 if different else math.nan


def evidence_quality(evidence: Tensor, truth: Tensor) -> Quality:
    """Rank correlations of evidence with the truth, over all and in the better half.

    Args:
        evidence: (n,), larger is better.
        truth: (n,), larger is better. The better half are its ⌈n/2⌉ largest values; of equal ones, the earlier.

    Raises:
        InputError: see `rank_correlation`.
    """
    over_all = rank_correlation(evidence, truth)
    half = torch.argsort(truth, descending=True, stable=True)[: (len(truth) + 1) // 2]
    return Quality(over_all, rank_correlation(evidence[half], truth[half]))


def _cosine(a: Tensor, b: Tensor) -> float:
    norms = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norms if norms > 0 else math.nan
