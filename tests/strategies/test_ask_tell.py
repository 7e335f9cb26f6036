"""The searches that see values only, on a table of all genotypes of NAS-Bench-201."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from base_fast.distributions import Distribution, Empirical, IndependentEdges
from base_fast.errors import InputError, Interrupted
from base_fast.objectives import Measurements, Objective, Quantity
from base_fast.predictors.autoencoder import AutoencoderConfig
from base_fast.random import key
from base_fast.runs import Clock, RunFolder, load_tensors
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, encode, kept, neighbours
from base_fast.strategies import (
    AskTell,
    AskTellSearch,
    Enas,
    Evolution,
    Nao,
    PolicyGradient,
    RandomSearch,
    Reinforce,
    search,
)
from base_fast.strategies.memory import Memory
from tests.objectives import toys

TABLE = toys.table()
STRATEGIES = {
    "random": RandomSearch(),
    "evolution": Evolution(),
    "reinforce": Reinforce(),
    "enas": Enas(),
    "nao": Nao(20, 20, 5, model=AutoencoderConfig(4, 4, steps=3)),
    "enas, memory": Enas(PolicyGradient(aggregate=3, hidden=8, memory=Memory(weight=1.0, size=9, batch=4))),
}


class Counted(Objective):
    """The toy's accuracy, negated so that smaller is better, and how often it was asked for what."""

    def __init__(self, space=NAS_BENCH_201, at: int = -1, action=lambda: None) -> None:
        self.space = space
        self.quantities = (Quantity("skips", "larger", ""), Quantity("error", "smaller", "%"))
        self.costs = ("images",)
        self.asked: list[Tensor] = []
        self.at, self.action = at, action

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        if len(self.asked) == self.at:
            self.action()
        self.asked.append(choices)
        skips = (choices == 1).flatten(1).sum(1).double()
        error = -choices.flatten(1).double().sum(1)
        return Measurements(torch.stack((skips, error), 1), torch.full((len(choices), 1), 2.0, dtype=torch.float64))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_leaves_a_distribution_a_genotype_and_its_history(name):
    result = search(AskTellSearch(STRATEGIES[name], TABLE, 60, key(0)))
    assert [row["step"] for row in result.history] == list(range(1, 61))
    values = [row["values"]["valid"] for row in result.history]
    assert [row["best"] for row in result.history] == [max(values[: i + 1]) for i in range(60)]
    assert result.genotype.compact() == result.history[values.index(max(values))]["genotype"]
    for row in result.history[::7]:
        choices = torch.from_numpy(encode(row["genotype"], NAS_BENCH_201)).unsqueeze(0)
        assert TABLE.measure(choices, key(0)).values[0].tolist() == [row["values"]["valid"], row["values"]["test"]]
    assert kept(result.distribution.sample(key(1), 9).numpy(), NAS_BENCH_201).all()
    different = len({row["genotype"] for row in result.history})
    assert result.spent == {"queries": 60.0, "genotypes": different, "look-ups": different}
    json.dumps(result.history)


def test_evolution_and_reinforce_beat_random_search():
    def mean(strategy, queries=100, seeds=6):
        found = [
            search(AskTellSearch(strategy, TABLE, queries, key(seed))).history[-1]["best"] for seed in range(seeds)
        ]
        return sum(found) / seeds

    best, random = TABLE.values[:, 0].max().item(), mean(RandomSearch())
    assert random < best - 4
    assert mean(Evolution()) > random + 2
    assert mean(Reinforce(lr=0.2)) > random + 0.5


def test_random_search_draws_uniformly():
    result = search(AskTellSearch(RandomSearch(), TABLE, 400, key(3)))
    mean = sum(row["values"]["valid"] for row in result.history) / 400
    column = TABLE.values[:, 0]
    assert abs(mean - column.mean().item()) < 4 * column.std().item() / 20
    assert isinstance(result.distribution, IndependentEdges)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_every_space(name, space):
    result = search(AskTellSearch(STRATEGIES[name], Counted(space), 25, key(0)))
    if space is DARTS:
        result.genotype.validate(DARTS)
    assert len(result.history) == 25


def test_a_repeated_query_counts_but_is_not_measured():
    @dataclass(frozen=True)
    class Stubborn(RandomSearch):
        def ask(self, space, state):
            return torch.full((1, 1, 6), state.asked // 4 % 5)

    objective = Counted()
    result = search(AskTellSearch(Stubborn(), objective, 10, key(0)))
    assert len(objective.asked) == 3
    assert result.spent == {"queries": 10.0, "genotypes": 3.0, "images": 6.0}
    assert [row["values"]["skips"] for row in result.history] == [0.0] * 4 + [6.0] * 4 + [0.0] * 2


def test_what_is_smaller_can_be_better():
    result = search(AskTellSearch(Evolution(), Counted(), 80, key(0), ("error",)))
    errors = [row["values"]["error"] for row in result.history]
    assert [row["best"] for row in result.history] == [min(errors[: i + 1]) for i in range(80)]
    assert result.history[-1]["best"] <= -20
    assert [quantity.name for quantity in result.quantities] == ["error", "skips"]


def test_goals_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="'latency', expected some of skips, error"):
        AskTellSearch(RandomSearch(), Counted(), 5, key(0), ("latency",))
    with pytest.raises(InputError, match="skips, error for Evolution, which optimizes 1"):
        AskTellSearch(Evolution(), Counted(), 5, key(0), ("skips", "error"))
    with pytest.raises(InputError, match="queries: got 0"):
        AskTellSearch(RandomSearch(), Counted(), 0, key(0))


class PairState(NamedTuple):
    seen: Tensor


@dataclass(frozen=True)
class Pairs(AskTell[PairState]):
    """Asks for two at once, and keeps both values of what it was told."""

    goals = None

    def start(self, space, key) -> PairState:
        return PairState(torch.empty(0, 2, dtype=torch.float64))

    def ask(self, space, state: PairState) -> Tensor:
        return torch.tensor([0, 1]).view(2, 1, 1).expand(2, 1, 6) + len(state.seen) // 2

    def tell(self, space, state: PairState, choices, values) -> PairState:
        return PairState(torch.cat((state.seen, values)))

    def distribution(self, space, state) -> Distribution:
        return IndependentEdges.uniform(space)


def test_what_is_asked_at_once_is_told_at_once():
    process = AskTellSearch(Pairs(), Counted(), 5, key(0), ("error", "skips"))
    state = process.start(Clock()).state
    seen = []
    for _ in range(5):
        state = process.step(state, Clock()).state
        seen.append(state.strategy.seen.tolist())
    # Larger is better for what a strategy is told: the error comes with its sign turned.
    assert seen[0] == []
    assert seen[1] == seen[2] == [[0.0, 0.0], [6.0, 6.0]]
    assert seen[3] == seen[4] == [*seen[1], [6.0, 6.0], [12.0, 0.0]]


def bits(folder):
    tensors, header = load_tensors(folder / "checkpoints/search.safetensors")
    rows = [{k: v for k, v in row.items() if k != "time"} for row in RunFolder.open(folder).rows("search")]
    return {name: x.tolist() for name, x in tensors.items()}, header["process"], rows


@pytest.mark.parametrize("name", [*STRATEGIES, "pairs"])
def test_an_interrupted_search_resumes_to_the_same_bits(name, tmp_path):
    strategy = STRATEGIES.get(name, Pairs())
    # Pairs has five genotypes at most; the third query lies between the two that it waits for.
    queries, at, goals = (6, 2, ("error", "skips")) if name == "pairs" else (40, 17, ("error",))
    with RunFolder.create(tmp_path / "whole", "search", Evolution()) as run:
        whole = search(AskTellSearch(strategy, Counted(), queries, key(7), goals), run)
    with RunFolder.create(tmp_path / "cut", "search", Evolution()) as run:
        stopping = Counted(at=at, action=lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted, match=f"of {queries} quer"):
            search(AskTellSearch(strategy, stopping, queries, key(7), goals), run)
        resumed = search(AskTellSearch(strategy, Counted(), queries, key(7), goals), run)
    assert bits(tmp_path / "whole") == bits(tmp_path / "cut")
    assert (whole.history, whole.spent, whole.genotype) == (resumed.history, resumed.spent, resumed.genotype)
    for one, other in zip(whole.distribution.tensors().values(), resumed.distribution.tensors().values(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_another_search_is_refused(tmp_path):
    one = Counted()
    with RunFolder.create(tmp_path / "r", "search", Evolution()) as run:
        search(AskTellSearch(Evolution(), TABLE, 3, key(0)), run)
        for other in (RandomSearch(), Evolution(population=9)):
            with pytest.raises(InputError, match=r"expected Evolution\(population=10, sample=3\) for valid"):
                search(AskTellSearch(other, TABLE, 3, key(0)), run)
        one.quantities = (Quantity("valid", "larger", "%"), *one.quantities)
        with pytest.raises(InputError, match=r"got torch.float64 \(3, 2\) for values, expected torch.float64 \(n, 3\)"):
            search(AskTellSearch(Evolution(), one, 3, key(0)), run)


def test_the_oldest_leaves_and_the_best_of_a_sample_has_a_child():
    strategy = Evolution(population=4, sample=50)
    state = strategy.start(NAS_BENCH_201, key(0))
    for i in range(9):
        choices = strategy.ask(NAS_BENCH_201, state)
        if i >= 4:
            # Fifty draws of four find the best one.
            best = state.population[state.values.argmax()]
            assert any((choices[0].numpy() == n).all() for n in neighbours(best.numpy(), NAS_BENCH_201))
        before = state.population
        state = strategy.tell(NAS_BENCH_201, state, choices, -torch.ones(1, 1, dtype=torch.float64) * i)
        assert torch.equal(state.population, torch.cat((before, choices))[-4:])
    assert state.values.tolist() == [-5.0, -6.0, -7.0, -8.0]
    population = strategy.distribution(NAS_BENCH_201, state)
    assert isinstance(population, Empirical) and torch.equal(population.choices, state.population)


def test_reinforce_is_adam_on_the_score():
    strategy = Reinforce(lr=0.05, decay=0.8)
    state = strategy.start(NAS_BENCH_201, key(2))
    logits = state.logits.clone().requires_grad_(True)
    adam = torch.optim.Adam([logits], lr=0.05)
    rewards: list[float] = []
    for i in range(6):
        choices = strategy.ask(NAS_BENCH_201, state)
        reward = 70.0 + 3.0 * (i % 4)
        state = strategy.tell(NAS_BENCH_201, state, choices, torch.tensor([[reward]], dtype=torch.float64))
        rewards.append(reward)
        weights = torch.tensor([0.8 ** (i - j) for j in range(i + 1)], dtype=torch.float64)
        baseline = (weights * torch.tensor(rewards)).sum() / weights.sum()
        adam.zero_grad()
        score = logits.log_softmax(-1).gather(-1, choices.permute(1, 2, 0)).sum()
        (-score * (reward - baseline)).backward()
        adam.step()
        torch.testing.assert_close(state.logits, logits.detach(), rtol=1e-6, atol=1e-9)


def test_the_score_points_where_the_expected_reward_grows():
    """Σ_z p(z) R(z) ∇ log p(z) = ∇ Σ_z p(z) R(z), over all genotypes."""
    logits = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(True)
    score = IndependentEdges(NAS_BENCH_201, logits).log_prob(TABLE.choices)
    reward = TABLE.values[:, 0]
    (exact,) = torch.autograd.grad((score.exp() * reward).sum(), logits, retain_graph=True)
    (estimate,) = torch.autograd.grad((score.exp().detach() * (reward - 80.0) * score).sum(), logits)
    torch.testing.assert_close(estimate, exact)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Evolution(population=0), "population"),
        (lambda: Evolution(sample=0), "sample"),
        (lambda: Reinforce(lr=0.0), "lr"),
        (lambda: Reinforce(decay=1.0), "decay"),
    ],
)
def test_bad_settings(make, says):
    with pytest.raises(InputError, match=says):
        make()
