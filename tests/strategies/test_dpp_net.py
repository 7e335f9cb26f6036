"""DPP-Net: growth, a regressor of what is not free, and a choice by dominance."""

from __future__ import annotations

import signal

import pytest
import torch

from base_fast.errors import InputError, Interrupted
from base_fast.objectives import Quantity, Table, Together, rank_correlation
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO
from base_fast.space.growth import extensions, stages, undecided
from base_fast.strategies import AskTellSearch, DppNet, RandomSearch, Surrogate, search
from tests.objectives import toys
from tests.strategies.test_ask_tell import Counted, bits
from tests.strategies.test_fronts import COST

pytest.importorskip("pymoo")
QUICK = DppNet(keep=8, surrogate=Surrogate(hidden=8, steps=20, members=2))
CHOICES = toys.all_cells()
ACCURACY, MS = (
    Table(NAS_BENCH_201, CHOICES, (quantity,), values.unsqueeze(1))
    for quantity, values in (
        (Quantity("accuracy", "larger", "%"), toys.accuracy(CHOICES)),
        (Quantity("ms", "smaller", "ms"), COST),
    )
)
BOTH = Together([ACCURACY, MS])


def test_a_regressor_learns_an_order_and_is_a_function_of_its_key():
    drawn = CHOICES[torch.randperm(len(CHOICES), generator=torch.Generator().manual_seed(0))]
    seen, others = drawn[:60], drawn[60:260]
    found = Surrogate().predict(NAS_BENCH_201, seen, toys.accuracy(seen), others, key(1))
    assert rank_correlation(found, toys.accuracy(others)).spearman > 0.75
    assert torch.equal(found, Surrogate().predict(NAS_BENCH_201, seen, toys.accuracy(seen), others, key(1)))
    assert not torch.equal(found, Surrogate().predict(NAS_BENCH_201, seen, toys.accuracy(seen), others, key(2)))


def test_rounds_extend_the_last_round_and_then_the_front():
    strategy = DppNet(keep=5, surrogate=Surrogate(hidden=4, steps=3, members=1))
    state = strategy.start(NAS_BENCH_201, key(0))
    last = torch.from_numpy(undecided(NAS_BENCH_201)).unsqueeze(0)
    for stage in stages(NAS_BENCH_201):
        candidates = strategy.candidates(NAS_BENCH_201, state)
        every = {tuple(z.flatten().tolist()) for z in torch.from_numpy(extensions(last.numpy(), stage))}
        assert {tuple(z.flatten().tolist()) for z in candidates} <= every
        known = torch.full((len(candidates), 2), torch.nan).double()
        known[:, 1] = -MS.measure(candidates, key(0)).values[:, 0]
        last = strategy.choose(NAS_BENCH_201, state, candidates, known)
        assert len(last) <= 5
        values = BOTH.measure(last, key(0)).values * torch.tensor([1.0, -1.0])
        state = strategy.tell(NAS_BENCH_201, state, last, values)
    # The four primitives from the input to the output; `none` connects nothing.
    assert state.choices[:4, 0, 3].tolist() == [1, 2, 3, 4] and len(state.choices) == 14
    measured = {tuple(z.flatten().tolist()) for z in state.choices}
    fresh = strategy.candidates(NAS_BENCH_201, state)
    assert not measured & {tuple(z.flatten().tolist()) for z in fresh}
    near = strategy.distribution(NAS_BENCH_201, state).choices
    assert all(bool(((z != near).flatten(1).sum(1) == 1).any()) for z in fresh)


def test_what_is_free_is_looked_up_and_counted_and_the_rest_is_not():
    dear = Counted()
    found = search(AskTellSearch(QUICK, Together([dear, MS]), 20, key(0), ("error", "ms"), ("ms",)))
    assert len(dear.asked) == 20 and found.spent["images"] == 40.0 and found.spent["look-ups"] > 100
    with pytest.raises(InputError, match="free: got 'skips', expected a quantity"):
        AskTellSearch(QUICK, Together([dear, MS]), 20, key(0), ("error", "ms"), ("skips",))
    with pytest.raises(InputError, match="RandomSearch, which looks at nothing"):
        AskTellSearch(RandomSearch(), Together([dear, MS]), 20, key(0), ("error", "ms"), ("ms",))


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_every_space_and_nothing_free(space):
    strategy = DppNet(keep=6, candidates_most=50, surrogate=Surrogate(hidden=4, steps=3, members=1))
    assert len(search(AskTellSearch(strategy, Counted(space), 30, key(0), ("error", "skips"))).history) == 30


def test_an_interrupted_search_resumes_to_the_same_bits(tmp_path):
    def objective(**options):
        return Together([Counted(**options), MS])

    with RunFolder.create(tmp_path / "whole", "search", QUICK) as run:
        whole = search(AskTellSearch(QUICK, objective(), 30, key(7), ("error", "ms"), ("ms",)), run)
    with RunFolder.create(tmp_path / "cut", "search", QUICK) as run:
        stopping = objective(at=17, action=lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            search(AskTellSearch(QUICK, stopping, 30, key(7), ("error", "ms"), ("ms",)), run)
        resumed = search(AskTellSearch(QUICK, objective(), 30, key(7), ("error", "ms"), ("ms",)), run)
    assert bits(tmp_path / "whole") == bits(tmp_path / "cut")
    assert whole.history == resumed.history and whole.spent == resumed.spent
