"""NAO: new and valid proposals, better than where they began; the same bits from a checkpoint; its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from base_fast.distributions import Empirical
from base_fast.errors import InputError
from base_fast.objectives import Quantity, Table
from base_fast.predictors.autoencoder import AutoencoderConfig
from base_fast.random import key
from base_fast.runs import Clock, RunFolder, run_loop
from base_fast.space import DARTS, NAS_BENCH_201, kept
from base_fast.strategies import AskTellSearch, Nao, search
from base_fast.strategies.nao import _remembered

MODEL = AutoencoderConfig(embedding=8, hidden=16, steps=80, batch=40, lr=2e-2)
NAO = Nao(first=30, round=10, parents=6, model=MODEL)


def table() -> Table:
    cells = torch.cartesian_prod(*[torch.arange(5)] * 6).unsqueeze(1)
    worth = (cells == 3).flatten(1).sum(dim=1, keepdim=True).double()
    return Table(NAS_BENCH_201, cells, [Quantity("convolutions", "larger", "")], worth)


@pytest.fixture(scope="module")
def everything() -> Table:
    return table()


def test_it_climbs(everything: Table) -> None:
    result = search(AskTellSearch(NAO, everything, 50, key(0)))
    first = [row["values"]["convolutions"] for row in result.history[:30]]
    last = [row["values"]["convolutions"] for row in result.history[40:]]
    assert sum(last) / 10 > sum(first) / 30 + 0.5
    assert len({row["genotype"] for row in result.history[30:]}) == 20
    assert not {row["genotype"] for row in result.history[:30]} & {row["genotype"] for row in result.history[30:]}
    assert len(result.notes) == 2 and result.notes[0].startswith("Round 1: pairwise accuracy ")
    assert isinstance(result.distribution, Empirical)
    best = result.distribution.choices
    assert len(best) == 6 and len(best.unique(dim=0)) == 6


def test_proposals_are_new_valid_and_from_the_decoder(everything: Table) -> None:
    cells = everything.choices[:: 15625 // 40]
    values = everything.measure(cells, key(0)).values[:, 0]
    found = NAO.propose(NAS_BENCH_201, cells, values, key(1))
    assert len(found.choices) == 10 and found.decoded >= 5
    assert len(torch.cat((found.choices, cells)).unique(dim=0)) == 10 + len(cells.unique(dim=0))
    assert torch.equal(found.parents, NAO.best(cells, values))
    assert values[rows_of(cells, found.parents)].min() >= values.sort(descending=True).values[5]


def rows_of(cells: torch.Tensor, some: torch.Tensor) -> list[int]:
    return [int((cells == z).flatten(1).all(dim=1).nonzero()[0]) for z in some]


def test_a_search_resumes_in_a_round_to_the_same_bits(everything: Table, tmp_path: Path) -> None:
    nao = replace(NAO, model=replace(MODEL, steps=10))
    whole = search(AskTellSearch(nao, everything, 45, key(3)))
    process = AskTellSearch(nao, everything, 45, key(3))
    with RunFolder.create(tmp_path / "run", "search", nao) as run:
        state = run_loop(process, name="search", total=36, run=run).state
        tensors, header = process.pack(state)
    again = AskTellSearch(nao, everything, 45, key(3))
    state = again.unpack(tensors, header)
    _remembered.cache_clear()
    while len(state.choices) < 45:
        state = again.step(state, Clock()).state
    assert again.result(state).history == whole.history
    assert again.result(state).notes == whole.notes


def test_nodes_with_two_edges(everything: Table) -> None:
    nao = replace(NAO, first=8, round=4, model=replace(MODEL, steps=5))
    state = nao.start(DARTS, key(0))
    asked = nao.ask(DARTS, state)
    state = nao.tell(DARTS, state, asked, torch.arange(8.0).double().unsqueeze(1))
    proposed = nao.ask(DARTS, state)
    assert len(proposed) == 4 and kept(proposed.numpy(), DARTS).all()


def test_refusals() -> None:
    with pytest.raises(InputError, match="first: got 1"):
        Nao(first=1)
    with pytest.raises(InputError, match="largest_step: got 0"):
        Nao(largest_step=0.0)
