"""Genotypes that a search holds, as a distribution: a population, an archive, a front, ranked suggestions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.distributions.distribution import Distribution
from base_fast.errors import InputError
from base_fast.reference import philox
from base_fast.space import AnySpace, Candidate, decode

ROUNDING = 1e-9
"""How far from 1 the sum of probabilities may be."""


class Empirical(Distribution):
    """Each of the given genotypes with the same probability, or with one of its own; one that is given twice has both.

    Args:
        space: whose genotypes.
        choices: (n, T, E) int64, at least one.
        probabilities: (n,) float64, positive, of sum 1; all equal if not given.

    Raises:
        InputError: none given, or of another shape; probabilities that are none.
    """

    kind: ClassVar[str] = "empirical"

    def __init__(self, space: AnySpace, choices: Tensor, probabilities: Tensor | None = None) -> None:
        self.space = space
        self.choices = choices
        self.probabilities = probabilities
        self.check(choices)
        if not len(choices):
            raise InputError("choices: got none, expected at least one genotype")
        if probabilities is not None:
            self._check_probabilities(probabilities)

    def _check_probabilities(self, p: Tensor) -> None:
        if p.dtype != torch.float64 or p.shape != (len(self.choices),):
            raise InputError(f"probabilities: got {p.dtype} {tuple(p.shape)}, expected float64 ({len(self.choices)},)")
        if not bool((p > 0).all()) or abs(p.sum().item() - 1.0) > ROUNDING:
            raise InputError(f"probabilities: got a sum of {p.sum().item():g}, expected positive ones of sum 1")

    def tensors(self) -> dict[str, Tensor]:
        own = {"choices": self.choices}
        return own if self.probabilities is None else own | {"probabilities": self.probabilities}

    def sample(self, key: Tensor, n: int) -> Tensor:
        u = philox.uniform(key.cpu(), n).double()
        if self.probabilities is None:
            return self.choices[(u * len(self.choices)).long()]
        cumulative = self.probabilities.cumsum(dim=0)
        return self.choices[torch.searchsorted(cumulative, u * cumulative[-1], right=True)]

    def log_prob(self, choices: Tensor) -> Tensor:
        self.check(choices)
        same = (choices.unsqueeze(1) == self.choices).all(dim=-1).all(dim=-1).double()
        return torch.log(same.mean(dim=1) if self.probabilities is None else same @ self.probabilities)

    def entropy(self) -> Tensor:
        _, p = self._members()
        return -(p * p.log()).sum()

    def mode(self) -> Tensor:
        members, p = self._members()
        return members[int(p.argmax())]

    def marginals(self) -> Tensor:
        hot = torch.nn.functional.one_hot(self.choices, self.space.num_primitives).double()
        return hot.mean(dim=0) if self.probabilities is None else torch.tensordot(self.probabilities, hot, dims=1)

    def candidates(self, k: int) -> list[Candidate]:
        k = integer("k", k, 1)
        members, p = self._members()
        best = torch.argsort(p, descending=True, stable=True)[:k].tolist()
        return [Candidate(decode(members[i].numpy(), self.space), p[i].item(), 0.0) for i in best]

    def _members(self) -> tuple[Tensor, Tensor]:
        """The different genotypes and their probabilities."""
        members, place, counts = torch.unique(self.choices, dim=0, return_inverse=True, return_counts=True)
        if self.probabilities is None:
            return members, counts.double() / len(self.choices)
        return members, torch.zeros(len(members), dtype=torch.float64, device="cpu").index_add_(
            0, place, self.probabilities
        )
