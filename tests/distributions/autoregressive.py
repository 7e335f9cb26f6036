"""A tiny controller: the primitive of an edge depends on that of the edge before it. Only its scores are exact."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.distributions import Distribution
from base_fast.random import generator
from base_fast.space import NAS_BENCH_201


class Chain(Distribution):
    """p(z) = p(z_0) Π_e p(z_e | z_{e−1}), softmax of `first` (L,) and of `after` (E − 1, L, L)."""

    kind = "chain"

    def __init__(self, seed: int, scale: float = 2.0) -> None:
        self.space = NAS_BENCH_201
        _, edges, primitives = self.shape()
        draws = torch.Generator().manual_seed(seed)
        self.first = scale * torch.randn(primitives, generator=draws, dtype=torch.float64)
        self.after = scale * torch.randn(edges - 1, primitives, primitives, generator=draws, dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        return {"first": self.first, "after": self.after}

    def sample(self, key: Tensor, n: int) -> Tensor:
        draws = generator(key)
        chosen = [torch.multinomial(self.first.softmax(-1), n, replacement=True, generator=draws)]
        for logits in self.after:
            rows = logits.softmax(-1)[chosen[-1]]
            chosen.append(torch.multinomial(rows, 1, generator=draws)[:, 0])
        return torch.stack(chosen, dim=1).unsqueeze(1)

    def log_prob(self, choices: Tensor) -> Tensor:
        self.check(choices)
        z = choices[:, 0]
        total = self.first.log_softmax(-1)[z[:, 0]]
        for e, logits in enumerate(self.after):
            total = total + logits.log_softmax(-1)[z[:, e], z[:, e + 1]]
        return total
