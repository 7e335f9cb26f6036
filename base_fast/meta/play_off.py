"""Derivation by play-off: the most probable cells are trained for real, and successive halving leaves one.

The mode of q(z) after a hundred measured cells is not to be trusted: probabilities of whole cells are products of many
edges' and close to each other. So the cells of the field are trained alone, longer in each round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.distributions import IndependentEdges
from base_fast.engine import current
from base_fast.errors import InputError
from base_fast.meta.adapt import Adaptation
from base_fast.meta.architecture import Draws
from base_fast.meta.config import AdaptConfig
from base_fast.meta.evidence import CellEvidenceConfig, evidence_on
from base_fast.posterior import Derivation, Posterior, derive
from base_fast.random import fold_in, key
from base_fast.runs import Clock, RunFolder, Step, matching, run_loop
from base_fast.space import Genotype, decode, encode, neighbours
from base_fast.supernet import Supernet
from base_fast.tasks import Task

Rule = Literal["play_off", "darts", "pairs"]


@dataclass(frozen=True)
class PlayOffConfig:
    """Rounds of a play-off, in which cells are trained alone; each doubles the steps and leaves the better half."""

    cells: int = 8
    """The first field: the most probable cells of q, and the best of the search's last draw, half and half."""
    neighbours: int = 8
    """Single-edge changes of the first round's winner that join the second: the most probable ones."""
    rounds: int = 3
    """Rounds; the last one's best cell wins."""
    steps: int = 40
    """Training steps of each cell in the first round."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name, least in (("cells", 2), ("neighbours", 0), ("rounds", 1), ("steps", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ {least}")

    @property
    def sizes(self) -> list[int]:
        """The largest number of cells in each round; a small space may not have as many."""
        found = [self.cells]
        for number in range(1, self.rounds):
            found.append(-(-found[-1] // 2) + (self.neighbours if number == 1 else 0))
        return found


@dataclass(frozen=True)
class Played:
    """A cell in a round: its probability under q before, its raw measures by name, its evidence within the round."""

    genotype: Genotype
    probability: float
    measured: dict[str, float]
    evidence: float


@dataclass(frozen=True)
class PlayedRound:
    """A round: training steps of each cell, and the cells, best first."""

    steps: int
    cells: tuple[Played, ...]


@dataclass(frozen=True)
class PlayOffRecord:
    """play-off.json: the rounds in order; the first cell of the last is the winner."""

    rounds: tuple[PlayedRound, ...]

    @property
    def winner(self) -> Genotype:
        """The derived genotype."""
        return self.rounds[-1].cells[0].genotype


class PlayOffState(NamedTuple):
    """fields: choices (n, T, E) of the rounds so far, the last of which is being measured; raw: values (m, Q) of each
    round's parts, as far as they are measured; costs (K,): spent so far."""

    fields: tuple[Tensor, ...]
    raw: tuple[Tensor, ...]
    costs: Tensor


class PlayOff:
    """A play-off, as a process for `run_loop`; a step measures as many cells as there are cores.

    Args:
        supernet, theta: of the adaptation, with the task's head.
        q: the posterior over cells.
        draws: what the search measured.
        task: its training images train the cells, its validation images judge.
        config, evidence: the rounds; what counts.
        start_key: of everything random.
    """

    unit = "measurement"

    def __init__(
        self,
        supernet: Supernet,
        theta: Tensor,
        q: IndependentEdges,
        draws: Draws,
        task: Task,
        config: PlayOffConfig,
        evidence: CellEvidenceConfig,
        start_key: Tensor,
    ) -> None:
        self.supernet, self.theta, self.q, self.task = supernet, theta, q, task
        self.config, self.key = config, start_key
        self._first = _first_field(q, draws, config.cells)
        # From fresh weights: shared ones know the cells that q drew, and flatter their like.
        alone = replace(evidence, shared=0.0, own_steps=0.0, alone=1.0)
        self._judges = [
            evidence_on(replace(alone, fresh=replace(alone.fresh, steps=config.steps * 2**r)), supernet, theta, task)
            for r in range(config.rounds)
        ]
        self.chunk = max(torch.get_num_threads(), 1) * current().world

    @classmethod
    def of(
        cls, posterior: Posterior, draws: Draws, task: Task, config: PlayOffConfig, adapt_config: AdaptConfig
    ) -> PlayOff:
        """The play-off of an adaptation's posterior and its measured cells, with the adaptation's evidence and seed."""
        k = fold_in(key(adapt_config.seed), 1)
        q, evidence = posterior.architecture, adapt_config.inner.evidence
        supernet = Supernet.for_posterior(posterior).computing_in(adapt_config.precision)
        return cls(supernet, posterior.mu, q, draws, task, config, evidence, k)

    def start(self, clock: Clock) -> Step[PlayOffState]:
        judge = self._judges[0]
        raw = torch.empty(0, len(judge.quantities) - 1, dtype=torch.float64, device="cpu")
        return Step(
            PlayOffState((self._first,), (raw,), torch.zeros(len(judge.costs), dtype=torch.float64, device="cpu"))
        )

    def step(self, state: PlayOffState, clock: Clock) -> Step[PlayOffState]:
        number, field, raw = len(state.fields) - 1, state.fields[-1], state.raw[-1]
        judge = self._judges[number]
        cells = field[len(raw) : len(raw) + self.chunk]
        found = judge.measure(cells, fold_in(self.key, number))
        raw = torch.cat((raw, found.values[:, 1:]))
        state = PlayOffState(state.fields, (*state.raw[:-1], raw), state.costs + found.costs.sum(dim=0))
        if len(raw) < len(field):
            return Step(state, shown={"round": number + 1, "cells": len(field)})
        order = judge.combined(raw).argsort(descending=True, stable=True)
        winner = decode(field[order[0]].numpy(), self.supernet.space).compact()
        row = {"round": number + 1, "cells": len(field), "best": winner}
        if number + 1 < self.config.rounds:
            kept = field[order[: -(-len(field) // 2)]]
            if number == 0:
                kept = torch.cat((kept, self._neighbours(field[order[0]], torch.cat((kept, field)))))
            state = PlayOffState((*state.fields, kept), (*state.raw, raw[:0]), state.costs)
        # How many steps there are depends on the cores, and so may change when a run resumes: the play-off ends itself.
        stopped = "rounds" if number + 1 == self.config.rounds else None
        return Step(state, row, shown={"round": number + 1, "best": winner}, stopped=stopped)

    def _neighbours(self, winner: Tensor, seen: Tensor) -> Tensor:
        """The most probable single-edge changes of a cell, without those seen; (n, T, E), n ≤ config.neighbours."""
        near = torch.from_numpy(neighbours(winner.numpy(), self.supernet.space))
        new = ~(near.unsqueeze(1) == seen.unsqueeze(0)).flatten(2).all(dim=2).any(dim=1)
        near = near[new]
        best = self.q.log_prob(near).argsort(descending=True, stable=True)
        return near[best[: self.config.neighbours]]

    def record(self, state: PlayOffState) -> PlayOffRecord:
        """The rounds that are done."""
        rounds = []
        for number, (field, raw, judge) in enumerate(zip(state.fields, state.raw, self._judges, strict=False)):
            if len(raw) < len(field):
                break
            evidence = judge.combined(raw)
            names = [quantity.name for quantity in judge.quantities[1:]]
            probabilities = self.q.log_prob(field).exp().tolist()
            cells = []
            for i in evidence.argsort(descending=True, stable=True).tolist():
                genotype = decode(field[i].numpy(), self.supernet.space)
                assert isinstance(genotype, Genotype), "a space with cells has genotypes with cells"
                measured = dict(zip(names, raw[i].tolist(), strict=True))
                cells.append(Played(genotype, probabilities[i], measured, evidence[i].item()))
            rounds.append(PlayedRound(self.config.steps * 2**number, tuple(cells)))
        return PlayOffRecord(tuple(rounds))

    def spent(self, state: PlayOffState) -> dict[str, float]:
        """What it cost so far, by unit."""
        return self._judges[0].spent(state.costs.unsqueeze(0))

    def pack(self, state: PlayOffState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"field.{r}": x for r, x in enumerate(state.fields)}
        tensors |= {f"raw.{r}": x for r, x in enumerate(state.raw)}
        return tensors | {"costs": state.costs}, {"rounds": len(state.fields)}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> PlayOffState:
        fresh = self.start(Clock()).state
        rounds = range(int(header["rounds"]))
        fields = tuple(tensors[f"field.{r}"].clone() for r in rounds)
        raw = tuple(tensors[f"raw.{r}"].clone() for r in rounds)
        # Any number of rows, each like those of this play-off; the first field is the same.
        matching(
            {"field": fields[0], "raw": raw[0][:0], "costs": tensors["costs"]},
            {"field": fresh.fields[0], "raw": fresh.raw[0], "costs": fresh.costs},
        )
        return PlayOffState(fields, raw, tensors["costs"].clone())


def _first_field(q: IndependentEdges, draws: Draws, cells: int) -> Tensor:
    """(n, T, E): the most probable cells, and the best of the last draw beside them; n ≤ cells, all different.

    Of the last draw alone: evidence is comparable within a draw, and this one knew the most.
    """
    probable = [torch.from_numpy(encode(one.genotype, q.space)) for one in q.candidates(cells)]
    last = draws.draw == (draws.draw[-1] if len(draws.draw) else 0)
    order = draws.evidence[last].argsort(descending=True, stable=True)
    measured = list(draws.choices[last][order])
    field: list[Tensor] = []
    for source, size in ((probable, cells - cells // 2), (measured, cells), (probable, cells)):
        for cell in source:
            if len(field) < size and not any(torch.equal(cell, other) for other in field):
                field.append(cell)
    return torch.stack(field)


def play_off(
    adaptation: Adaptation,
    task: Task,
    config: PlayOffConfig | None = None,
    adapt_config: AdaptConfig | None = None,
    *,
    run: RunFolder | None = None,
    name: str = "play-off",
) -> PlayOffRecord:
    """Derive a genotype from an adaptation by a play-off.

    Args:
        adaptation: to `task`; its q(z) and its measured cells are the first field.
        config: the rounds.
        adapt_config: the adaptation's: what counts as evidence, and the seed.
        run: where to log (phase `name`) and keep checkpoints.

    Raises:
        Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
    """
    config, settings = config or PlayOffConfig(), adapt_config or AdaptConfig()
    process = PlayOff.of(adaptation.posterior, adaptation.draws, task, config, settings)
    finished = run_loop(process, name=name, unit=process.unit, run=run, checkpoint_every=1)
    return process.record(finished.state)


def derived(
    adaptation: Adaptation,
    task: Task,
    rule: Rule,
    config: PlayOffConfig | None = None,
    adapt_config: AdaptConfig | None = None,
    run: RunFolder | None = None,
    name: str = "play-off",
) -> Derivation:
    """The genotype of an adaptation: the winner of a play-off, or what a rule reads off q(z), with the most probable
    genotypes and the undecided edges. A play-off's record is written to the run as <name>.json.

    Raises:
        Interrupted: as `play_off`.
    """
    if rule != "play_off":
        return derive(adaptation.posterior, rule)
    record = play_off(adaptation, task, config, adapt_config, run=run, name=name)
    if run is not None:
        run.write(name, record)
    return replace(derive(adaptation.posterior), genotype=record.winner)
