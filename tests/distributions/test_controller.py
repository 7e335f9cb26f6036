"""The controller by enumeration: all genotypes of small spaces, and of NAS-Bench-201."""

from __future__ import annotations

import math

import pytest
import torch

from base_fast.distributions import Controller, load_distribution, save_distribution
from base_fast.errors import InputError
from base_fast.posterior import derive
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, Space, decisions, kept, to_decisions
from tests.distributions.test_distributions import everything

# Nodes that keep two of two, three and four edges; and three of three and four, so that inputs are drawn one by one.
PAIRS = Space("pairs", ("none", "skip_connect", "max_pool_3x3"), 2, 3, ("normal",), (2, 3, 4), 2)
TRIPLES = Space("triples", ("none", "skip_connect", "max_pool_3x3"), 3, 2, ("normal",), (3, 4), 3)
TWO_CELLS = Space("two_cells", ("none", "skip_connect", "max_pool_3x3"), 2, 2, ("normal", "reduce"), (2, 3), 2)
SMALL = (PAIRS, TRIPLES, NAS_BENCH_MACRO)


def controller(space, seed=0, spread=30.0, hidden=6) -> Controller:
    """Far from uniform: weights many times as large as fresh ones."""
    fresh = Controller.fresh(space, key(seed), hidden=hidden)
    return fresh.with_weights(spread * fresh.weights)


def all_of(space) -> torch.Tensor:
    if space is not TWO_CELLS:
        return everything(space)
    cell = everything(Space("one", space.primitives, 2, 2, ("normal",), (2, 3), 2))
    return torch.stack([torch.cat((a, b)) for a in cell for b in cell])


@pytest.mark.parametrize("space", [*SMALL, TWO_CELLS], ids=lambda space: space.name)
def test_the_probabilities_of_all_genotypes_sum_to_one(space):
    q, choices = controller(space), all_of(space)
    p = q.log_prob(choices).exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-9)
    assert p.max() > 5 * p.median()
    # The states of a run know nothing of what comes after.
    hidden = q.hidden(choices)
    assert hidden.shape == (len(choices), len(decisions(space)), 6)
    assert torch.equal(hidden[:, 0], hidden[:1, 0].expand(len(choices), -1))


def test_all_cells_of_nas_bench_201_sum_to_one():
    p = controller(NAS_BENCH_201, hidden=16).log_prob(everything(NAS_BENCH_201)).exp()
    assert len(p) == 15_625 and p.sum().item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("space", SMALL, ids=lambda space: space.name)
def test_without_weights_all_genotypes_are_equally_probable(space):
    choices = everything(space)
    q = controller(space, spread=0.0)
    score = q.log_prob(choices)
    torch.testing.assert_close(score, torch.full_like(score, -math.log(len(choices))))
    assert q.entropy().item() == pytest.approx(math.log(len(choices)), abs=0.02)


@pytest.mark.parametrize("space", [PAIRS, TRIPLES, TWO_CELLS], ids=lambda space: space.name)
def test_samples_have_the_frequencies_of_the_list(space):
    q, choices = controller(space, spread=10.0), all_of(space)
    n = 20_000
    drawn = q.sample(key(3), n)
    assert kept(drawn.numpy(), space).all()
    p = q.log_prob(choices).exp()
    codes = space.num_primitives ** torch.arange(choices[0].numel())
    order = (choices.flatten(1) * codes).sum(1).sort()
    places = torch.searchsorted(order.values, (drawn.flatten(1) * codes).sum(1))
    counts = torch.bincount(order.indices[places], minlength=len(choices)).double()
    # Each bin by itself, and all together: the sum of squares is that of chi-squared.
    assert ((counts / n - p).abs() <= 6.0 * (p * (1 - p) / n).sqrt() + 3 / n).all()
    chi = ((counts - n * p).square() / (n * p)).sum().item() / len(choices)
    assert abs(chi - 1.0) < 0.5
    assert torch.equal(drawn, q.sample(key(3), n)) and not torch.equal(drawn, q.sample(key(4), n))
    exact = -(p * p.log()).sum().item()
    assert q.entropy().item() == pytest.approx(exact, abs=0.05)


def test_a_run_that_is_traced_is_the_run_that_drew_it():
    q = controller(DARTS, hidden=8)
    choices = q.sample(key(1), 5)
    trace = q.trace(choices)
    assert trace.options.tolist() == to_decisions(choices.numpy(), DARTS).tolist()
    assert torch.equal(q.log_prob(choices), trace.log_probs.sum(1))
    assert torch.equal(q.hidden(choices), trace.hidden)
    given = q.complete(trace.options[:, :20], key(2))
    assert torch.equal(given[:, :20], trace.options[:, :20]) and not torch.equal(given, trace.options)
    assert torch.equal(q.complete(trace.options, key(2)), trace.options)


def test_the_score_and_the_states_are_differentiable():
    q = controller(PAIRS, hidden=2, spread=3.0)
    choices = q.sample(key(0), 2)

    def of(weights):
        trace = q.with_weights(weights).trace(choices)
        return trace.log_probs.sum(), trace.entropies.sum(), trace.hidden.sum()

    assert torch.autograd.gradcheck(of, q.weights.clone().requires_grad_(True))


def test_bounds_hold():
    """The largest ratio of two probabilities of one decision is e^2c."""
    q = Controller(NAS_BENCH_201, 100.0 * controller(NAS_BENCH_201).weights, 6, 5.0, 1.5)
    log_p = q.trace(everything(NAS_BENCH_201)[::25]).log_probs
    assert (log_p >= -math.log(1.0 + 4.0 * math.exp(3.0)) - 1e-9).all()
    assert (log_p <= -math.log(1.0 + 4.0 * math.exp(-3.0)) + 1e-9).all()
    assert log_p.min() < -3.5


def test_what_is_no_genotype_has_no_probability():
    q = controller(DARTS)
    choices = q.sample(key(1), 3)
    choices[1, 0, 0] = DARTS.primitives.index("none")
    assert q.log_prob(choices).isneginf().tolist() == [False, True, False]
    assert len(q.log_prob(choices[:0])) == 0
    with pytest.raises(InputError, match="expected 2 edges other than 'none' at every node"):
        q.trace(choices)


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_files_keep_bits(space, tmp_path):
    q = Controller(space, controller(space).weights, 6, 4.0, 1.1)
    save_distribution(tmp_path / "d.safetensors", q)
    back = load_distribution(tmp_path / "d.safetensors")
    assert isinstance(back, Controller) and back.space == space and back.settings() == q.settings()
    assert torch.equal(back.weights, q.weights)
    if space is not NAS_BENCH_MACRO:
        assert len(derive(back, k=3).candidates) == 3


def test_bad_arguments():
    weights = controller(NAS_BENCH_201).weights
    with pytest.raises(
        InputError, match=r"weights: got torch.float64 \(\d+,\), expected floats .* controller of darts"
    ):
        Controller(DARTS, weights, 6)
    with pytest.raises(InputError, match="NaN"):
        Controller(NAS_BENCH_201, weights * math.nan, 6)
    with pytest.raises(InputError, match="temperature: got 0"):
        Controller(NAS_BENCH_201, weights, 6, temperature=0.0)
    with pytest.raises(InputError, match="bound: got inf"):
        Controller(NAS_BENCH_201, weights, 6, bound=math.inf)
    with pytest.raises(InputError, match="hidden: got 0"):
        Controller.fresh(NAS_BENCH_201, key(0), hidden=0)
