"""Several posteriors over one supernet as one, and how far apart they were.

Posteriors that were meta-trained apart, on other tasks or machines, are joined by the logarithmic pool of distributions
q ∝ Π p_i^{w_i} with Σ w_i = 1 (Genest and Zidek 1986), which of all q has the least Σ w_i KL(q ‖ p_i). Of Gaussians it
is the mean weighted by precisions, with the mean precision; of categoricals the softmax of the mean log-probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.posterior.posterior import Posterior, inverse_softplus

# Of a supernet's settings, what says how it is computed and not what.
COMPUTED = {"memory"}


@dataclass(frozen=True)
class Gap:
    """How far apart two posteriors are.

    Attributes:
        first, second: their numbers.
        kl_theta: symmetric KL of the weights, KL(p ‖ q) + KL(q ‖ p), in nats a weight, by part of the network.
        cosine: of the means μ, by part of the network; NaN where one is zero everywhere.
        kl_z: symmetric KL of an edge, in nats, the mean by cell type.
        total_variation: ½ Σ |p - q| of an edge, the mean by cell type.
        furthest: the same, of the edge where it is largest.
    """

    first: int
    second: int
    kl_theta: dict[str, float]
    cosine: dict[str, float]
    kl_z: dict[str, float]
    total_variation: dict[str, float]
    furthest: dict[str, float]


def merge(posteriors: Sequence[Posterior], weights: Sequence[float] | None = None) -> Posterior:
    """The logarithmic pool of posteriors of one space, layout and supernet, computed in float64.

    Args:
        posteriors: two or more.
        weights: one each, above 0; only their ratios count. None weighs all alike.

    Returns:
        The pool, in the dtype of the first. Its lineage is what all have in common, and one event "merge", which holds
        the weights and what is each one's own.

    Raises:
        InputError: fewer than two, another space, layout or supernet, or weights that do not fit.
    """
    shares = _shares(posteriors, weights)
    first = posteriors[0]
    for number, other in enumerate(posteriors[1:], start=2):
        _check_alike(first, other, number)
    precisions = [share / x.sigma.double().square() for share, x in zip(shares, posteriors, strict=True)]
    precision = _total(precisions)
    mu = _total([own * x.mu.double() for own, x in zip(precisions, posteriors, strict=True)]) / precision
    alpha = _total([w * torch.log_softmax(x.alpha.double(), -1) for w, x in zip(shares, posteriors, strict=True)])
    values = (mu, inverse_softplus(precision.rsqrt()), torch.log_softmax(alpha, dim=-1))
    common = _common([x.lineage for x in posteriors])
    event: dict[str, Any] = {
        "event": "merge",
        "weights": shares,
        "merged": [list(x.lineage[len(common) :]) for x in posteriors],
    }
    agreements = [_agreement(x) for x in posteriors]
    if None not in agreements:  # what adapting compares a prior's agreement with
        event["agreement"] = sum(w * (a or 0.0) for w, a in zip(shares, agreements, strict=True))
    kept = [x.to(old) for x, old in zip(values, (first.mu, first.rho, first.alpha), strict=True)]
    return replace(first, lineage=common).evolve(kept, event)


def gaps(posteriors: Sequence[Posterior]) -> list[Gap]:
    """How far apart each two of some posteriors are, which must fit as for `merge`."""
    for number, other in enumerate(posteriors[1:], start=2):
        _check_alike(posteriors[0], other, number)
    return [_gap(i, j, posteriors[i], posteriors[j]) for i, j in combinations(range(len(posteriors)), 2)]


def _gap(i: int, j: int, p: Posterior, q: Posterior) -> Gap:
    ratio, other = (p.sigma.double() / q.sigma.double()).square(), (q.sigma.double() / p.sigma.double()).square()
    distance = (p.mu.double() - q.mu.double()).square()
    # The logarithms of the two directions cancel each other.
    scaled = distance * (1 / p.sigma.double().square() + 1 / q.sigma.double().square())
    kl = 0.5 * (ratio + other - 2.0 + scaled)
    a, b = p.mu.double(), q.mu.double()
    theta, cosine = {}, {}
    for part, places in _parts(p).items():
        theta[part] = kl[places].mean().item()
        norms = a[places].norm() * b[places].norm()
        cosine[part] = (a[places] @ b[places] / norms).item() if norms > 0 else math.nan
    log_p, log_q = (torch.log_softmax(x.alpha.double(), dim=-1) for x in (p, q))
    edges = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1)
    variation = 0.5 * (log_p.exp() - log_q.exp()).abs().sum(dim=-1)

    def by_cell(x: Tensor) -> dict[str, float]:
        return dict(zip(p.space.cell_types, x.tolist(), strict=True))

    return Gap(
        i,
        j,
        theta,
        cosine,
        by_cell(edges.mean(dim=-1)),
        by_cell(variation.mean(dim=-1)),
        by_cell(variation.amax(dim=-1)),
    )


def _parts(posterior: Posterior) -> dict[str, slice]:
    """Where the stems, each cell and the classifier lie in the weights; they follow one another."""
    parts: dict[str, slice] = {}
    for name, places in posterior.layout.slices.items():
        words = name.split(".")
        part = ".".join(words[:2]) if words[1:2] and (words[1].isdecimal() or words[0] == "stems") else words[0]
        begun = parts.get(part)
        parts[part] = slice(places.start if begun is None else begun.start, places.stop)
    return parts | {"all weights": slice(0, posterior.layout.numel)}


def _shares(posteriors: Sequence[Posterior], weights: Sequence[float] | None) -> list[float]:
    if len(posteriors) < 2:
        raise InputError(f"posteriors: got {len(posteriors)}, expected two or more to merge")
    given = [1.0] * len(posteriors) if weights is None else [float(w) for w in weights]
    if len(given) != len(posteriors) or not all(0 < w < math.inf for w in given):
        raise InputError(f"weights: got {given}, expected {len(posteriors)} numbers > 0, one per posterior")
    return [w / sum(given) for w in given]


def _check_alike(first: Posterior, other: Posterior, number: int) -> None:
    if other.space != first.space:
        raise InputError(f"posterior {number}: its space is {other.space.name!r}, expected the first's as it is there")
    difference = first.layout.difference(other.layout)
    if difference:
        raise InputError(f"posterior {number}: its weights differ from the first's: {difference}")
    for name in sorted((first.config.keys() | other.config.keys()) - COMPUTED):
        found, expected = other.config.get(name), first.config.get(name)
        if found != expected:
            raise InputError(
                f"posterior {number}: its supernet has {name} = {found!r}, expected {expected!r} as the first's"
            )


def _total(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(dim=0)


def _common(lineages: Sequence[tuple[dict[str, Any], ...]]) -> tuple[dict[str, Any], ...]:
    """The events that all lineages begin with."""
    same = 0
    for events in zip(*lineages, strict=False):
        if any(event != events[0] for event in events):
            break
        same += 1
    return lineages[0][:same]


def _agreement(posterior: Posterior) -> float | None:
    return next((e["agreement"] for e in reversed(posterior.lineage) if e.get("agreement") is not None), None)
