"""How well one measure of genotypes orders them as another does."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.objectives.ranks import mean_ranks


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
