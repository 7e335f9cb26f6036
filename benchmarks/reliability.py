"""Does a probability of .8 mean something? What a search says of an edge, against what other seeds of it derive."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BOUNDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class Bin(NamedTuple):
    """Probabilities between two bounds: their mean, how often the event was seen, and how many there were."""

    low: float
    high: float
    predicted: float
    observed: float
    count: int


def reliability(marginals: Sequence[Tensor], genotypes: Sequence[Tensor]) -> list[Bin]:
    """Probabilities of each edge and primitive in one search, against the genotypes that all others derived.

    Args:
        marginals: (T, E, L) of each search.
        genotypes: choices (T, E) of each, in the same order.

    Returns:
        The bins that hold something; none for a single search.
    """
    predicted, observed = [], []
    for i, p in enumerate(marginals):
        for j, choices in enumerate(genotypes):
            if i != j:
                predicted.append(p.double().flatten())
                observed.append(F.one_hot(choices, p.shape[-1]).double().flatten())
    if not predicted:
        return []
    return list(_bins(torch.cat(predicted), torch.cat(observed)))


def _bins(predicted: Tensor, observed: Tensor) -> Iterable[Bin]:
    for low, high in itertools.pairwise(BOUNDS):
        within = (predicted >= low) & ((predicted < high) | (high == 1.0))
        if bool(within.any()):
            count = int(within.sum())
            yield Bin(low, high, float(predicted[within].mean()), float(observed[within].mean()), count)
