"""A study of NAO's parts on a table: what the predictor orders, the decoder gives back, and the gradient earns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from base_fast.arguments import integer, whole_numbers
from base_fast.errors import InputError, Interrupted
from base_fast.objectives import Table, TableConfig, pairwise_accuracy, rank_correlation
from base_fast.objectives.workers import one_thread
from base_fast.predictors.autoencoder import predicted, reconstruction_distance
from base_fast.random import fold_in, generator, key
from base_fast.runs import RunFolder, changeable, interruptible, progress
from base_fast.space import Space, get_any, neighbours
from base_fast.strategies import Nao

COMPARED = 2000
"""Held-out genotypes on which predictor and decoder are judged."""
TOP = 0.1
"""The share of them, the best, within which their order is judged as well."""
_STUDY = 4_000_000


@dataclass(frozen=True)
class NaoStudyConfig:
    """Rounds of NAO on random genotypes of a table."""

    table: Path | None = changeable(None)
    """A benchmark's table with all genotypes of the space."""
    query: str = "cifar10_valid"
    """Column that is seen."""
    judge: str = "cifar10_test"
    """Column by which predictions and proposals are judged."""
    genotypes: str = "arch"
    """Column of the genotypes."""
    space: str | Space = "nas_bench_201"
    """The table's space."""
    rows: int = 300
    """Genotypes that a model is fitted to."""
    seeds: int = 20
    """Repetitions, each with other genotypes."""
    nao: Nao = Nao()
    """The strategy, of which each repetition is one round."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        integer("rows", self.rows, 2)
        integer("seeds", self.seeds, 2)


@dataclass(frozen=True)
class NaoRound:
    """A repetition.

    Attributes:
        pairwise, spearman, top: of the prediction on held-out genotypes; top is Spearman's ρ among the best tenth.
        known, held_out: Hamming distance after encoding and decoding the fitted and the held-out genotypes.
        decoded: share of the proposals that came from the decoder; all of them are new.
        proposals, parents, mutations: mean values of the proposals, of the genotypes whose latent states they began at,
            and of all their neighbours, by the column that judges.
    """

    seed: int
    pairwise: float
    spearman: float
    top: float
    known: float
    held_out: float
    decoded: float
    proposals: float
    parents: float
    mutations: float


@dataclass(frozen=True)
class NaoStudy:
    """study.json."""

    rows: int
    rounds: tuple[NaoRound, ...]


def prepare_nao_study(config: NaoStudyConfig) -> Table:
    """Read the table.

    Raises:
        InputError: it is not given, cannot be read, or has too few genotypes.
    """
    if config.table is None:
        raise InputError("table: got none, expected a benchmark's table")
    columns = tuple(dict.fromkeys((config.query, config.judge)))
    table = TableConfig(config.table, columns, genotypes=config.genotypes).open(get_any(config.space))
    if config.rows >= len(table):
        raise InputError(f"rows: got {config.rows}, expected fewer than the {len(table)} of {config.table}")
    return table


def study_nao(config: NaoStudyConfig, run: RunFolder, table: Table | None = None) -> NaoStudy:
    """Do what `run` does not hold yet; write and return what is in `study.json`.

    Raises:
        Interrupted: SIGINT or SIGTERM; calling it again with the same run goes on.
        InputError: see `prepare_nao_study`.
    """
    table = table or prepare_nao_study(config)
    found: list[NaoRound] = []
    with interruptible() as interruption, one_thread(), progress("study", config.seeds) as bar:
        for seed in range(config.seeds):
            if interruption.requested:
                raise Interrupted(f"study: stopped after {len(found)} of {config.seeds} rounds")
            if not run.holds(f"rounds/seed{seed}"):
                run.write(f"rounds/seed{seed}", nao_round(config, table, seed))
            found.append(run.read(f"rounds/seed{seed}", NaoRound))
            study = NaoStudy(config.rows, tuple(found))
            run.write("study", study)
            bar.advance(1)
    return study


def nao_round(config: NaoStudyConfig, table: Table, seed: int) -> NaoRound:
    """Fit to random genotypes of the table, propose, and judge all parts on what was not seen."""
    draws = fold_in(key(_STUDY), seed)
    order = torch.randperm(len(table), generator=generator(draws), device="cpu")
    known, new = order[: config.rows], order[config.rows : config.rows + COMPARED]
    worth = table.values[:, 0] * table.quantities[0].sign
    judge = table.values[:, -1]
    truth = judge[new] * table.quantities[-1].sign
    proposed = config.nao.propose(table.space, table.choices[known], worth[known], fold_in(draws, 1))
    guess = predicted(proposed.model, table.choices[new])
    best = torch.argsort(truth, descending=True)[: max(int(TOP * len(new)), 2)]
    mutations = [torch.from_numpy(neighbours(z.numpy(), table.space)) for z in proposed.parents]
    return NaoRound(
        seed,
        pairwise_accuracy(guess, truth),
        rank_correlation(guess, truth).spearman,
        rank_correlation(guess[best], truth[best]).spearman,
        reconstruction_distance(proposed.model, table.choices[known]),
        reconstruction_distance(proposed.model, table.choices[new]),
        proposed.decoded / len(proposed.choices),
        judge[table.rows(proposed.choices)].mean().item(),
        judge[table.rows(proposed.parents)].mean().item(),
        judge[table.rows(torch.cat(mutations))].mean().item(),
    )
