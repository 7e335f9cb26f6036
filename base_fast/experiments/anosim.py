"""ANOSIM: are things of one group more alike than things of different groups?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.objectives.ranks import mean_ranks
from base_fast.random import generator


class Anosim(NamedTuple):
    """r: 1 where every distance within a group is smaller than every one between groups, 0 where groups say nothing.
    p: of an r that large where they say nothing; at least 1 / (permutations + 1). within, between: mean distances."""

    r: float
    p: float
    within: float
    between: float


def anosim(distances: Tensor, groups: Tensor, key: Tensor, permutations: int = 999) -> Anosim:
    """Analysis of similarities: R = (r̄_between − r̄_within) / (N / 2), of the mean ranks of the N pairs' distances.

    Args:
        distances: (n, n), symmetric; its diagonal isn't looked at.
        groups: (n,) int64, the group of each thing; at least two groups, and one of at least two things.
        key: of the permutations of the groups, over which p is taken.
        permutations: how many.

    Raises:
        InputError: shapes that don't fit, a distance that is NaN, or groups without a pair within or between them.

    Source: Clarke, "Non-parametric multivariate analyses of changes in community structure", Australian Journal of
    Ecology 1993.
    """
    n = len(groups)
    permutations = integer("permutations", permutations, 1)
    if tuple(distances.shape) != (n, n):
        raise InputError(f"distances: got shape {tuple(distances.shape)}, expected {(n, n)}, as of groups")
    rows, columns = torch.triu_indices(n, n, 1, device="cpu")
    pairs = distances[rows, columns].double()
    together = groups[rows] == groups[columns]
    if not bool(together.any()) or bool(together.all()):
        raise InputError(
            f"groups: got {len(groups.unique())} groups of {n} things, expected pairs within and between groups"
        )
    ranks = mean_ranks(pairs)

    def r(within: Tensor) -> Tensor:
        inside = ranks[within].sum()
        number = int(within.sum())
        return ((ranks.sum() - inside) / (len(ranks) - number) - inside / number) / (len(ranks) / 2)

    found = r(together)
    draws = generator(key)
    at_least = 1
    for _ in range(permutations):
        drawn = groups[torch.randperm(n, generator=draws, device="cpu")]
        # A rounding error is no difference: permuted groups may be the same groups.
        at_least += int(r(drawn[rows] == drawn[columns]) >= found - 1e-12)
    p = at_least / (permutations + 1)
    return Anosim(found.item(), p, pairs[together].mean().item(), pairs[~together].mean().item())
