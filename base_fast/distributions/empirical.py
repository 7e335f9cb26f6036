"""Genotypes that a search holds, as a distribution: a population, an archive, a front."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.distributions.distribution import Distribution
from base_fast.errors import InputError
from base_fast.reference import philox
from base_fast.space import AnySpace, Candidate, decode


class Empirical(Distribution):
    """Each of the given genotypes with the same probability; one that is given twice has it twice.

    Args:
        space: whose genotypes.
        choices: (n, T, E) int64, at least one.

    Raises:
        InputError: none given, or of another shape.
    """

    kind: ClassVar[str] = "empirical"

    def __init__(self, space: AnySpace, choices: Tensor) -> None:
        self.space = space
        self.choices = choices
        self.check(choices)
        if not len(choices):
            raise InputError("choices: got none, expected at least one genotype")

    def tensors(self) -> dict[str, Tensor]:
        return {"choices": self.choices}

    def sample(self, key: Tensor, n: int) -> Tensor:
        drawn = (philox.uniform(key.cpu(), n).double() * len(self.choices)).long()
        return self.choices[drawn]

    def log_prob(self, choices: Tensor) -> Tensor:
        self.check(choices)
        same = (choices.unsqueeze(1) == self.choices).all(dim=-1).all(dim=-1)
        return torch.log(same.double().mean(dim=1))

    def entropy(self) -> Tensor:
        _, p = self._members()
        return -(p * p.log()).sum()

    def mode(self) -> Tensor:
        members, p = self._members()
        return members[int(p.argmax())]

    def marginals(self) -> Tensor:
        return torch.nn.functional.one_hot(self.choices, self.space.num_primitives).double().mean(dim=0)

    def candidates(self, k: int) -> list[Candidate]:
        k = integer("k", k, 1)
        members, p = self._members()
        best = torch.argsort(p, descending=True, stable=True)[:k].tolist()
        return [Candidate(decode(members[i].numpy(), self.space), p[i].item(), 0.0) for i in best]

    def _members(self) -> tuple[Tensor, Tensor]:
        """The different genotypes and their probabilities."""
        members, counts = torch.unique(self.choices, dim=0, return_counts=True)
        return members, counts.double() / len(self.choices)
