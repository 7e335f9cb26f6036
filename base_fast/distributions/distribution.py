"""What every distribution over the genotypes of a space can be asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.random import key as make_key
from base_fast.space import AnySpace, Candidate, decode

SAMPLES = 4096


class Distribution(ABC):
    """A distribution over the genotypes of `space`, as choices (T, E): the primitive on every edge, cell type by cell
    type, `none` where an edge is not kept (`space.encode`, `space.decode`).

    A distribution has to draw and to score; the rest follows from samples, always the same `SAMPLES` draws, where a
    subclass does not know it exactly. Draws are on the CPU; a score is differentiable in the parameters that require
    gradients.
    """

    kind: ClassVar[str]
    space: AnySpace

    @abstractmethod
    def sample(self, key: Tensor, n: int) -> Tensor:
        """(n, T, E) int64 choices, each a genotype of the space; a pure function of the key."""

    @abstractmethod
    def log_prob(self, choices: Tensor) -> Tensor:
        """(n, T, E) → (n,) float64: log of their probabilities, −∞ for what cannot be drawn."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The parameters by name, as the constructor takes them; a file of the distribution holds them."""

    def settings(self) -> dict[str, Any]:
        """What the constructor takes besides space and tensors, as JSON."""
        return {}

    def mode(self) -> Tensor:
        """(T, E): the most probable choices; of those drawn, where there is no exact way."""
        seen, score = self._seen()
        return seen[int(score.argmax())]

    def entropy(self) -> Tensor:
        """Entropy in nats, a scalar; an estimate −mean log p of samples, where there is no exact way."""
        return -self.log_prob(self._draws()).mean()

    def marginals(self) -> Tensor:
        """(T, E, L) float64: the probability of each primitive on each edge; frequencies of samples, where there is no
        exact way."""
        return torch.nn.functional.one_hot(self._draws(), self.space.num_primitives).double().mean(dim=0)

    def candidates(self, k: int) -> list[Candidate]:
        """The k most probable genotypes, most probable first, with their probabilities.

        Probabilities are exact. Where there is no exact way to find them, they are the best of those drawn, and fewer
        come back when fewer were drawn.
        """
        k = integer("k", k, 1)
        seen, score = self._seen()
        best = torch.argsort(score, descending=True, stable=True)[:k]
        return [Candidate(decode(seen[i].numpy(), self.space), math.exp(score[i].item()), 0.0) for i in best.tolist()]

    def _draws(self) -> Tensor:
        return self.sample(make_key(0), SAMPLES)

    def _seen(self) -> tuple[Tensor, Tensor]:
        """The different choices among the draws, and their log-probabilities."""
        seen = torch.unique(self._draws(), dim=0)
        return seen, self.log_prob(seen).detach()

    def shape(self) -> tuple[int, int, int]:
        """(T, E, L) of the space."""
        return len(self.space.cell_types), self.space.num_edges, self.space.num_primitives

    def check(self, choices: Tensor) -> None:
        """Raises InputError unless `choices` are int64 (n, T, E) with numbers of primitives."""
        cells, edges, primitives = self.shape()
        if choices.dtype != torch.int64 or choices.dim() != 3 or tuple(choices.shape[1:]) != (cells, edges):
            raise InputError(
                f"choices: got {choices.dtype} {tuple(choices.shape)}, expected int64 (n, {cells}, {edges})"
            )
        if choices.numel() and not 0 <= int(choices.min()) <= int(choices.max()) < primitives:
            raise InputError(
                f"choices: got {int(choices.min())} to {int(choices.max())}, expected 0 to {primitives - 1}"
            )
