"""Independent edges: BASE's q(z), a categorical distribution for each edge of each cell type."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.distributions.distribution import Distribution
from base_fast.errors import InputError
from base_fast.reference import philox
from base_fast.space import AnySpace, Candidate, configurations, decode, kept
from base_fast.space.derivation import best_products


class IndependentEdges(Distribution):
    """z_e ~ Categorical(softmax α_e) for every edge, given that the choices are a genotype of the space.

    Where all edges are kept (NAS-Bench-201, stacks) the condition always holds, and this is q(z) itself. In the DARTS
    space it says that every node keeps exactly `arity` edges:

        P(z) = Π_e π_e(z_e) / Π_u P(node u keeps `arity` edges),     π_e = softmax(α_e)

    Nodes are independent then, and the genotypes of a node are few enough to list (490 for the last one of DARTS), so
    that everything is exact. With uniform logits every genotype has the same probability.

    Args:
        space: whose genotypes.
        logits: (T, E, L) floating point, finite.

    Raises:
        InputError: wrong shape or dtype, or a value that is not finite.
    """

    kind: ClassVar[str] = "independent_edges"

    def __init__(self, space: AnySpace, logits: Tensor) -> None:
        self.space = space
        self.logits = logits
        if tuple(logits.shape) != self.shape() or not logits.is_floating_point():
            raise InputError(f"logits: got {logits.dtype} {tuple(logits.shape)}, expected floats {self.shape()}")
        if not bool(torch.isfinite(logits).all()):
            raise InputError("logits: got NaN or infinity, expected finite numbers")

    @classmethod
    def uniform(cls, space: AnySpace) -> IndependentEdges:
        """All genotypes equally probable."""
        return cls(space, torch.zeros(len(space.cell_types), space.num_edges, space.num_primitives, device="cpu"))

    def tensors(self) -> dict[str, Tensor]:
        return {"logits": self.logits.detach()}

    def sample(self, key: Tensor, n: int) -> Tensor:
        parts = _parts(self.space)
        cumulative = self._log_parts().detach().exp().cumsum(dim=-1)
        cells, count, _ = cumulative.shape
        u = philox.uniform(key.cpu(), n * cells * count).double().view(n, cells, count)
        # Scaled to the last sum, which rounding keeps from being 1; u < 1 then never reaches beyond the last part.
        u = u.permute(1, 2, 0).contiguous() * cumulative[..., -1:]
        return self._chosen(parts, torch.searchsorted(cumulative, u, right=True).permute(2, 0, 1))

    def log_prob(self, choices: Tensor) -> Tensor:
        self.check(choices)
        log_pi = self._log_pi()
        total = log_pi.expand(len(choices), -1, -1, -1).gather(-1, choices.unsqueeze(-1)).sum(dim=(1, 2, 3))
        total = total - torch.logsumexp(self._weights(log_pi), dim=-1).sum()
        possible = torch.from_numpy(kept(choices.numpy(), self.space))
        return torch.where(possible, total, -math.inf)

    def mode(self) -> Tensor:
        best = self._log_parts().argmax(dim=-1)
        return self._chosen(_parts(self.space), best.unsqueeze(0))[0]

    def entropy(self) -> Tensor:
        log_p = self._log_parts()
        # Impossible fillers weigh nothing; 0 · −∞ would not be a number, nor its gradient.
        return -(log_p.exp() * log_p.masked_fill(log_p.isneginf(), 0.0)).sum()

    def marginals(self) -> Tensor:
        parts = _parts(self.space)
        p = self._log_parts().exp()
        cells, edges, primitives = self.shape()
        weights = p.unsqueeze(-1).expand(-1, *parts.places.shape).reshape(cells, -1)
        # The last place takes what fillers bring.
        sums = p.new_zeros(cells, edges * primitives + 1)
        sums = sums.index_add(1, parts.places.flatten(), weights)
        return sums[:, :-1].view(cells, edges, primitives)

    def candidates(self, k: int) -> list[Candidate]:
        k = integer("k", k, 1)
        parts = _parts(self.space)
        p, order = self._log_parts().detach().exp().flatten(0, 1).sort(dim=-1, descending=True, stable=True)
        found = []
        for ranks in best_products([[value for value in row if value > 0.0] for row in p.tolist()], k):
            chosen = order.gather(1, torch.tensor(ranks, device="cpu").unsqueeze(1)).view(
                1, len(self.space.cell_types), -1
            )
            probability = math.prod(row[rank].item() for row, rank in zip(p, ranks, strict=True))
            found.append(Candidate(decode(self._chosen(parts, chosen)[0].numpy(), self.space), probability, 0.0))
        return found

    def _log_pi(self) -> Tensor:
        return torch.log_softmax(self.logits.cpu().double(), dim=-1)

    def _weights(self, log_pi: Tensor) -> Tensor:
        """(T, F, C): log Π_e π_e of each configuration of each independent part, −∞ for fillers."""
        parts = _parts(self.space)
        flat = torch.cat((log_pi.flatten(1), log_pi.new_zeros(len(log_pi), 1)), dim=1)
        return flat[:, parts.places].sum(dim=-1).masked_fill(~parts.real, -math.inf)

    def _log_parts(self) -> Tensor:
        """(T, F, C): log-probabilities of the configurations of each independent part."""
        return torch.log_softmax(self._weights(self._log_pi()), dim=-1)

    def _chosen(self, parts: _Parts, numbers: Tensor) -> Tensor:
        """Numbers (n, T, F) of configurations → choices (n, T, E)."""
        places = parts.places[torch.arange(len(parts.places), device="cpu"), numbers]
        real = places < self.space.num_edges * self.space.num_primitives
        # Parts lie one after another in the order of edges, so dropping the fillers leaves one choice for each edge.
        return (places[real] % self.space.num_primitives).view(*numbers.shape[:2], self.space.num_edges)


class _Parts(NamedTuple):
    """The independent parts of a cell, filled up to one shape.

    places: (F, C, P) int64, edge·L + primitive on each edge of a configuration; E·L where there is no edge.
    real: (F, C), False for fillers.
    """

    places: Tensor
    real: Tensor


@lru_cache(maxsize=16)
def _parts(space: AnySpace) -> _Parts:
    found = configurations(space)
    shape = (len(found), max(len(rows) for _, rows in found), max(len(edges) for edges, _ in found))
    places = torch.full(shape, space.num_edges * space.num_primitives, device="cpu")
    real = torch.zeros(shape[:2], dtype=torch.bool, device="cpu")
    for f, (edges, rows) in enumerate(found):
        own = torch.tensor(list(edges), device="cpu") * space.num_primitives + torch.from_numpy(rows)
        places[f, : own.shape[0], : own.shape[1]] = own
        real[f, : own.shape[0]] = True
    return _Parts(places, real)
