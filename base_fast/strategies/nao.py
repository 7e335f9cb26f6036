"""Neural architecture optimization: gradient steps in a learned continuous space of genotypes, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import integer, positive, whole_numbers
from base_fast.distributions import Distribution, Empirical, IndependentEdges
from base_fast.objectives import pairwise_accuracy
from base_fast.predictors.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    Latent,
    choices_of,
    fit_autoencoder,
    options_of,
    predicted,
    reconstruction_distance,
)
from base_fast.random import fold_in
from base_fast.space import AnySpace
from base_fast.strategies.strategy import AskTell


class NaoState(NamedTuple):
    """choices (n, T, E) and values (n,): the archive, in the order in which they were asked for.

    rounds (r, 4): of every round that proposed something, the pairwise accuracy of the prediction on the archive and on
    the proposals, which were not known to it, the archive's Hamming distance after encoding and decoding, and the share
    of proposals that came from the decoder, the others being random.
    """

    key: Tensor
    choices: Tensor
    values: Tensor
    rounds: Tensor


class Proposals(NamedTuple):
    """choices (n, T, E), all new and different. parents (p, T, E): whose latent states they began at. decoded: how many
    came from the decoder; the others are random ones. model: which proposed them."""

    choices: Tensor
    parents: Tensor
    decoded: int
    model: Autoencoder


@dataclass(frozen=True)
class Nao(AskTell[NaoState]):
    """Random genotypes first; then rounds of fitting encoder, predictor and decoder to all that is known, moving the
    best ones along the predictor's gradient, h ← h + η ∂f/∂h on all encoder outputs for η = 1, 2, ..., and decoding
    them, until as many new ones are found as a round asks for.

    The model is fitted afresh in each round. Where the decoder does not give enough new genotypes up to the largest η,
    random ones fill the round up.

    The defaults suit a budget of some hundred queries; the source has 600 to 1000 first genotypes, 300 new ones a round
    and the best 100 as parents.

    Source: Luo, Tian, Qin, Chen, Liu, "Neural Architecture Optimization", NeurIPS 2018.
    """

    first: int = 100
    """Random genotypes at the start."""
    round: int = 50
    """New genotypes of a round."""
    parents: int = 20
    """The best genotypes so far, from which gradient steps begin."""
    largest_step: float = 100.0
    """The largest η."""
    model: AutoencoderConfig = AutoencoderConfig()

    def __post_init__(self) -> None:
        whole_numbers(self)
        integer("first", self.first, 2)
        for name in ("round", "parents"):
            integer(name, getattr(self, name), 1)
        positive("largest_step", self.largest_step)

    def start(self, space: AnySpace, key: Tensor) -> NaoState:
        none = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        empty = torch.empty(0, dtype=torch.float64, device="cpu")
        return NaoState(key, none, empty, torch.empty(0, 4, dtype=torch.float64, device="cpu"))

    def ask(self, space: AnySpace, state: NaoState) -> Tensor:
        if len(state.choices) == 0:
            return IndependentEdges.uniform(space).sample(fold_in(state.key, 0), self.first)
        return self._proposals(space, state).choices

    def tell(self, space: AnySpace, state: NaoState, choices: Tensor, values: Tensor) -> NaoState:
        rounds = state.rounds
        if len(state.choices):
            proposed = self._proposals(space, state)
            row = (
                pairwise_accuracy(predicted(proposed.model, state.choices), state.values),
                pairwise_accuracy(predicted(proposed.model, choices), values[:, 0]),
                reconstruction_distance(proposed.model, state.choices),
                proposed.decoded / len(choices),
            )
            # Of values that are all equal no pair says anything, and a checkpoint holds numbers only.
            rounds = torch.cat((rounds, torch.tensor([row], dtype=torch.float64, device="cpu").nan_to_num(0.5)))
        return NaoState(state.key, torch.cat((state.choices, choices)), torch.cat((state.values, values[:, 0])), rounds)

    def distribution(self, space: AnySpace, state: NaoState) -> Distribution:
        if len(state.choices) == 0:
            return IndependentEdges.uniform(space)
        return Empirical(space, self.best(state.choices, state.values))

    def notes(self, state: NaoState) -> tuple[str, ...]:
        return tuple(
            f"Round {i}: pairwise accuracy {known:.3f} on the archive, {new:.3f} on the proposals before they were "
            f"measured; Hamming distance after decoding {distance:.3f}; {share:.0%} of the proposals decoded."
            for i, (known, new, distance, share) in enumerate(state.rounds.tolist(), start=1)
        )

    def best(self, choices: Tensor, values: Tensor) -> Tensor:
        """The different genotypes of the archive (n, T, E) with the best values, at most `parents`, best first."""
        order = torch.argsort(values, descending=True, stable=True)
        kept: dict[bytes, int] = {}
        for i in order.tolist():
            kept.setdefault(choices[i].numpy().tobytes(), i)
            if len(kept) == self.parents:
                break
        return choices[list(kept.values())]

    def propose(self, space: AnySpace, choices: Tensor, values: Tensor, key: Tensor) -> Proposals:
        """A round's proposals, after genotypes (n, T, E) of values (n,); a pure function of its arguments."""
        model = fit_autoencoder(space, choices, values, self.model, fold_in(key, 0))
        parents = self.best(choices, values)
        known = {row.numpy().tobytes() for row in choices}
        found: dict[bytes, Tensor] = {}
        with torch.no_grad():
            latent = model.encode(options_of(space, parents))
        slope = model.gradient(latent)
        eta = 1.0
        while len(found) < self.round and eta <= self.largest_step:
            self._keep(found, known, moved(model, latent, slope, eta))
            eta += 1.0
        decoded = len(found)
        uniform, block = IndependentEdges.uniform(space), 1
        while len(found) < self.round and block <= _BLOCKS:
            self._keep(found, known, uniform.sample(fold_in(key, block), self.round))
            block += 1
        if not found:  # the whole space is known: ask for the best again
            return Proposals(parents[:1], parents, 0, model)
        return Proposals(torch.stack(list(found.values())), parents, decoded, model)

    def _keep(self, found: dict[bytes, Tensor], known: set[bytes], choices: Tensor) -> None:
        for z in choices:
            text = z.numpy().tobytes()
            if text not in known and len(found) < self.round:
                found.setdefault(text, z)

    def _proposals(self, space: AnySpace, state: NaoState) -> Proposals:
        # Asked for by `ask`, and again by `tell`: the same bits, and mostly from memory.
        return _remembered(self, space, _Archive(state.choices, state.values, state.key))


_BLOCKS = 100


def moved(model: Autoencoder, latent: Latent, slope: Tensor, eta: float) -> Tensor:
    """Genotypes (n, T, E) that the decoder gives after a step of size η along the predictor's gradient (n, S, H)."""
    with torch.no_grad():
        return choices_of(model.space, model.decode(model.latent(latent.states + eta * slope)))


class _Archive:
    """What a round depends on, as a key of a dictionary."""

    def __init__(self, choices: Tensor, values: Tensor, key: Tensor) -> None:
        self.choices, self.values, self.key = choices, values, key
        self._bytes = choices.numpy().tobytes(), values.numpy().tobytes(), key.numpy().tobytes()

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Archive) and self._bytes == other._bytes


@lru_cache(maxsize=1)
def _remembered(settings: Nao, space: AnySpace, archive: _Archive) -> Proposals:
    key = fold_in(archive.key, 1 + len(archive.choices))
    return settings.propose(space, archive.choices, archive.values, key)
