"""Searches with several goals: NSGA-II, and samples of what an earlier search left."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch

from base_fast.distributions import IndependentEdges, save_distribution
from base_fast.errors import InputError, Interrupted
from base_fast.objectives import Belief, Quantity, Table, Together, front, hypervolume, open_belief
from base_fast.posterior import Posterior
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, kept
from base_fast.strategies import AskTellSearch, Nsga2, RandomSearch, Sampled, search
from base_fast.supernet import Supernet, SupernetConfig
from tests.objectives import toys
from tests.strategies.test_ask_tell import Counted, bits

pytest.importorskip("pymoo")
CHOICES = toys.all_cells()
COST = torch.tensor([0.0, 0.1, 1.0, 3.0, 0.3], dtype=torch.float64)[CHOICES[:, 0]].sum(1)
TABLE = Table(
    NAS_BENCH_201,
    CHOICES,
    (Quantity("accuracy", "larger", "%"), Quantity("ms", "smaller", "ms")),
    torch.stack((toys.accuracy(CHOICES), COST), 1),
)


def volume(strategy, seed: int) -> float:
    history = search(AskTellSearch(strategy, TABLE, 100, key(seed), ("accuracy", "ms"))).history
    values = torch.tensor([[row["values"]["accuracy"], -row["values"]["ms"]] for row in history]).double()
    return hypervolume(values, [50.0, -18.0])


def test_nsga_ii_finds_a_larger_front_than_random_search():
    ours, random = ([volume(strategy, seed) for seed in range(3)] for strategy in (Nsga2(), RandomSearch()))
    assert sum(ours) > 1.03 * sum(random)


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_nsga_ii_in_every_space(space):
    result = search(AskTellSearch(Nsga2(6, 4), Counted(space), 25, key(0), ("error", "skips")))
    drawn = result.distribution.sample(key(1), 9)
    assert kept(drawn.numpy(), space).all() and len(result.history) == 25


def test_nsga_ii_survives_in_a_space_that_it_exhausts():
    tiny = replace(NAS_BENCH_MACRO, name="tiny", layers=1)
    assert len(search(AskTellSearch(Nsga2(3, 2), Counted(tiny), 20, key(0), ("error", "skips"))).history) == 20


def test_the_last_population_has_the_front_as_its_distribution():
    process = AskTellSearch(Nsga2(6, 4), TABLE, 30, key(0), ("accuracy", "ms"))
    from base_fast.runs import Clock

    state = process.start(Clock()).state
    for _ in range(30):
        state = process.step(state, Clock()).state
    population = state.strategy.population
    values = TABLE.measure(population, key(0)).values * torch.tensor([1.0, -1.0])
    assert torch.equal(values.flatten(), state.strategy.values)
    assert torch.equal(process.strategy.distribution(NAS_BENCH_201, state.strategy).choices, population[front(values)])


@pytest.fixture
def saved(tmp_path):
    logits = torch.zeros(1, 6, 5)
    logits[..., 3] = 1.0
    save_distribution(tmp_path / "d.safetensors", IndependentEdges(NAS_BENCH_201, logits))
    return tmp_path / "d.safetensors"


@pytest.mark.parametrize("name", ["nsga2", "sampled"])
def test_an_interrupted_search_resumes_to_the_same_bits(name, tmp_path, saved):
    strategy, goals = {"nsga2": Nsga2(6, 4), "sampled": Sampled(saved)}[name], ("error", "skips")
    with RunFolder.create(tmp_path / "whole", "search", Nsga2()) as run:
        whole = search(AskTellSearch(strategy, Counted(), 30, key(7), goals), run)
    with RunFolder.create(tmp_path / "cut", "search", Nsga2()) as run:
        stopping = Counted(at=17, action=lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            search(AskTellSearch(strategy, stopping, 30, key(7), goals), run)
        resumed = search(AskTellSearch(strategy, Counted(), 30, key(7), goals), run)
    assert bits(tmp_path / "whole") == bits(tmp_path / "cut")
    assert whole.history == resumed.history and whole.genotype == resumed.genotype


def test_samples_are_the_mode_then_others_each_once_and_a_longer_run_only_adds(saved, tmp_path):
    belief = Belief(open_belief(saved, NAS_BENCH_201, "belief"))
    objective = Together([belief, TABLE])
    goals = ("log_probability", "ms")
    short, long = (search(AskTellSearch(Sampled(saved), objective, n, key(4), goals)).history for n in (20, 60))
    assert long[:20] == short and len({row["genotype"] for row in long}) == 60
    assert short[0]["genotype"] == "|nor_conv_3x3~0|+" + "|nor_conv_3x3~0|nor_conv_3x3~1|+" + (
        "|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    p = torch.softmax(torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0]), 0)[3].double()
    assert short[0]["values"]["log_probability"] == pytest.approx(6 * p.log().item(), rel=1e-5)
    # A search that is finished goes on with more queries to the same.
    with RunFolder.create(tmp_path / "r", "search", Sampled(saved)) as run:
        search(AskTellSearch(Sampled(saved), objective, 20, key(4), goals), run)
        assert search(AskTellSearch(Sampled(saved), objective, 60, key(4), goals), run).history == long


def test_samples_of_a_posterior_and_of_one_that_is_sure(tmp_path):
    supernet = Supernet.from_config(SupernetConfig("nas_bench_201", channels=2, layers=2))
    posterior = supernet.prior(key(0))
    alpha = torch.full_like(posterior.alpha, -200.0)
    alpha[..., 3] = 0.0
    posterior.evolve((posterior.mu, posterior.rho, alpha), {}).save(tmp_path / "p.safetensors")
    assert isinstance(Posterior.load(tmp_path / "p.safetensors").architecture, IndependentEdges)
    history = search(AskTellSearch(Sampled(tmp_path / "p.safetensors"), TABLE, 3, key(0), ("accuracy", "ms"))).history
    assert len({row["genotype"] for row in history}) == 1
    with pytest.raises(InputError, match="sampled.saved: not given"):
        AskTellSearch(Sampled(), TABLE, 3, key(0))
    with pytest.raises(InputError, match="over genotypes of 'nas_bench_201', expected 'darts'"):
        open_belief(tmp_path / "p.safetensors", DARTS, "belief")
