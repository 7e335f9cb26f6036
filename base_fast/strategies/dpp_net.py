"""DPP-Net: genotypes that grow step by step, chosen for the front by predicted accuracy and measured costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from base_fast.arguments import integer, whole_numbers
from base_fast.distributions import Distribution, Empirical, IndependentEdges
from base_fast.objectives.pareto import front, pymoo, select
from base_fast.random import advance, fold_in
from base_fast.reference import philox
from base_fast.space import AnySpace, neighbours
from base_fast.space.connected import connected
from base_fast.space.growth import extensions, stages, undecided
from base_fast.strategies.strategy import Weighing
from base_fast.strategies.surrogate import Surrogate

SEEDS = 2**31


class DppNetState(NamedTuple):
    """rounds: asked so far. choices (m, T, E) and values (m · G,), one genotype's goals after another's: all that was
    measured; the last `latest` of them were measured in the last round."""

    key: Tensor
    rounds: int
    choices: Tensor
    values: Tensor
    latest: int


@dataclass(frozen=True)
class DppNet(Weighing[DppNetState]):
    """Progressive search: mutate, update, select, train.

    A round extends every genotype of the round before by the next part (`space.growth`), predicts what has to be
    trained of each extension with a recurrent regressor, looks up what costs nothing (`free`), chooses `keep` of them
    by dominance, and has these measured. When everything is decided, the extensions are the neighbours of the front.
    Cells that connect nothing are passed over.

    Source: Dong, Cheng, Juan, Wei, Sun, "DPP-Net: Device-Aware Progressive Search for Pareto-Optimal Neural
    Architectures", ECCV 2018, which could be read in abstract only. Chosen here: the part that is added, the rounds
    after the last one, the choice by NSGA-II's order, and the sizes.
    """

    goals: ClassVar[int | None] = None

    keep: int = 15
    """Genotypes that are measured in a round."""
    candidates_most: int = 2000
    """The most extensions that are looked at in a round; more are drawn from."""
    surrogate: Surrogate = Surrogate()
    """The regressor of what is not free."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        integer("keep", self.keep, 1)
        integer("candidates_most", self.candidates_most, self.keep)

    def start(self, space: AnySpace, key: Tensor) -> DppNetState:
        pymoo("core.problem")
        none = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        return DppNetState(key, 0, none, torch.empty(0, dtype=torch.float64, device="cpu"), 0)

    def candidates(self, space: AnySpace, state: DppNetState) -> Tensor:
        grown = self._grown(space, state)
        good = connected(grown.numpy(), space) & ~_among(grown, state.choices).numpy()
        grown = torch.unique(grown[torch.from_numpy(good)], dim=0)
        if len(grown) > self.candidates_most:
            order = torch.argsort(philox.uniform(self._key(state, 0), len(grown)), stable=True)
            grown = grown[order[: self.candidates_most]]
        # A space that is used up, or a part without another option: anything else.
        return grown if len(grown) else IndependentEdges.uniform(space).sample(self._key(state, 0), self.keep)

    def choose(self, space: AnySpace, state: DppNetState, candidates: Tensor, known: Tensor) -> Tensor:
        if len(candidates) <= self.keep:
            return candidates
        known = known.clone()
        values = state.values.view(-1, known.shape[1])
        for goal in torch.isnan(known).any(dim=0).nonzero().flatten().tolist():
            key = fold_in(self._key(state, 1), goal)
            if len(values) < 2:
                known[:, goal] = philox.uniform(key, len(known)).double()
            else:
                known[:, goal] = self.surrogate.predict(space, state.choices, values[:, goal], candidates, key)
        return candidates[select(known, self.keep, int(self._key(state, 2)[0]) % SEEDS)]

    def tell(self, space: AnySpace, state: DppNetState, choices: Tensor, values: Tensor) -> DppNetState:
        return DppNetState(
            state.key,
            state.rounds + 1,
            torch.cat((state.choices, choices)),
            torch.cat((state.values, values.flatten())),
            len(choices),
        )

    def distribution(self, space: AnySpace, state: DppNetState) -> Distribution:
        if len(state.choices) == 0:
            return IndependentEdges.uniform(space)
        return Empirical(space, self._front(state))

    def _grown(self, space: AnySpace, state: DppNetState) -> Tensor:
        """All extensions of the last round's genotypes, or neighbours of the front."""
        order = stages(space)
        if state.rounds == 0:
            return torch.from_numpy(extensions(undecided(space)[None], order[0]))
        if state.rounds < len(order):
            return torch.from_numpy(extensions(state.choices[-state.latest :].numpy(), order[state.rounds]))
        return torch.from_numpy(np.concatenate([neighbours(one, space) for one in self._front(state).numpy()]))

    def _front(self, state: DppNetState) -> Tensor:
        return state.choices[front(state.values.view(len(state.choices), -1))]

    def _key(self, state: DppNetState, use: int) -> Tensor:
        return fold_in(advance(state.key, state.rounds), use)


def _among(choices: Tensor, seen: Tensor) -> Tensor:
    """(n, T, E), (m, T, E) → (n,): which of them were seen."""
    known = set(_texts(seen))
    return torch.tensor([text in known for text in _texts(choices)], dtype=torch.bool, device="cpu")


def _texts(choices: Tensor) -> list[bytes]:
    return [row.tobytes() for row in choices.flatten(1).to(torch.int8).numpy()]
