"""Samples of what an earlier search left, a posterior or a distribution, to be weighed against something else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from base_fast.distributions import Distribution
from base_fast.objectives import open_belief
from base_fast.random import advance, fold_in
from base_fast.space import AnySpace
from base_fast.strategies.strategy import AskTell

# Draws after which a distribution counts as exhausted: what is left has about this inverse of its probability.
TRIES = 1000


class SampledState(NamedTuple):
    """asked (n, T, E): the mode of the distribution, then what was drawn."""

    key: Tensor
    asked: Tensor


@dataclass(frozen=True)
class Sampled(AskTell[SampledState]):
    """The most probable genotype of a saved posterior or distribution, then samples of it, each once.

    It learns from no value, so it takes any number of goals; what it is for is the front of all that it drew: from a
    BASE posterior, cells that the task makes probable beside what they take on a device. It is anytime: the genotypes
    of a shorter search are the first ones of a longer one. When `TRIES` draws give nothing new, one is drawn again.
    """

    goals: ClassVar[int | None] = None

    saved: Path | None = None
    """posterior.safetensors or distribution.safetensors."""

    def start(self, space: AnySpace, key: Tensor) -> SampledState:
        _opened(self.saved, space)
        none = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        return SampledState(key, none)

    def ask(self, space: AnySpace, state: SampledState) -> Tensor:
        found = _opened(self.saved, space)
        if len(state.asked) == 0:
            return found.mode().unsqueeze(0)
        key = advance(state.key, len(state.asked))
        drawn = found.sample(key, 1)
        for i in range(TRIES.bit_length()):
            known = (drawn.unsqueeze(1) == state.asked).flatten(2).all(dim=2).any(dim=1)
            if not bool(known.all()):
                return drawn[~known][:1]
            drawn = found.sample(fold_in(key, i), 2**i)
        return drawn[:1]

    def tell(self, space: AnySpace, state: SampledState, choices: Tensor, values: Tensor) -> SampledState:
        return state._replace(asked=torch.cat((state.asked, choices)))

    def distribution(self, space: AnySpace, state: SampledState) -> Distribution:
        return _opened(self.saved, space)


@lru_cache(maxsize=4)
def _opened(path: Path | None, space: AnySpace) -> Distribution:
    return open_belief(path, space, "sampled.saved")
