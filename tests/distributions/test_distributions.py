"""By enumeration: all genotypes of NAS-Bench-201, of NAS-Bench-Macro, and of a cell whose nodes keep two edges each."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from base_fast.distributions import Empirical, IndependentEdges, load_distribution, save_distribution
from base_fast.errors import InputError
from base_fast.posterior import derive
from base_fast.random import key
from base_fast.runs import save_tensors
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, Space, configurations, decode, encode, most_probable
from tests.distributions.autoregressive import Chain

PAIRS = Space("pairs", DARTS.primitives, 2, 2, ("normal",), (2, 3), 2)
SPACES = (NAS_BENCH_201, PAIRS, NAS_BENCH_MACRO)
SIZES = {"nas_bench_201": 5**6, "pairs": 7**2 * 3 * 7**2, "nas_bench_macro": 3**8}


def everything(space) -> torch.Tensor:
    """All genotypes of a space with one cell type, (n, 1, E)."""
    rows = [np.concatenate(parts) for parts in itertools.product(*(rows for _, rows in configurations(space)))]
    return torch.tensor(np.array(rows)).unsqueeze(1)


def edges(space, seed=0, scale=1.5) -> IndependentEdges:
    draws = torch.Generator().manual_seed(seed)
    shape = (len(space.cell_types), space.num_edges, space.num_primitives)
    return IndependentEdges(space, scale * torch.randn(shape, generator=draws))


@pytest.fixture(scope="module", params=SPACES, ids=lambda space: space.name)
def listed(request):
    """A distribution, all genotypes of its space, and their probabilities from the definition."""
    distribution, choices = edges(request.param), everything(request.param)
    pi = distribution.logits.double().softmax(-1)[0]
    weights = pi[torch.arange(request.param.num_edges), choices[:, 0]].prod(dim=1)
    return distribution, choices, weights / weights.sum()


def test_the_probabilities_of_all_genotypes_sum_to_one(listed):
    distribution, choices, expected = listed
    p = distribution.log_prob(choices).exp()
    assert len(choices) == SIZES[distribution.space.name]
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    torch.testing.assert_close(p, expected, rtol=1e-9, atol=1e-15)


def test_entropy_marginals_mode_and_candidates_agree_with_the_list(listed):
    distribution, choices, p = listed
    assert distribution.entropy().item() == pytest.approx(-(p * p.log()).sum().item(), rel=1e-9)
    hot = torch.nn.functional.one_hot(choices, distribution.space.num_primitives).double()
    torch.testing.assert_close(distribution.marginals(), (hot * p.view(-1, 1, 1, 1)).sum(0), rtol=1e-9, atol=1e-12)
    order = p.argsort(descending=True)
    assert torch.equal(distribution.mode(), choices[order[0]])
    found = distribution.candidates(7)
    assert [c.probability for c in found] == pytest.approx(p[order[:7]].tolist(), rel=1e-9)
    assert [c.genotype for c in found] == [decode(choices[i].numpy(), distribution.space) for i in order[:7]]
    assert all(c.standard_error == 0.0 for c in found)


def test_samples_have_the_frequencies_of_the_list(listed):
    distribution, choices, p = listed
    n = 40_000
    drawn = distribution.sample(key(3), n)
    # Of what a cell starts with: few enough outcomes to count.
    columns = [0, 1]
    codes = drawn[:, 0, columns] @ torch.tensor([distribution.space.num_primitives, 1])
    expected = torch.zeros(distribution.space.num_primitives**2, dtype=torch.float64)
    expected.index_add_(0, choices[:, 0, columns] @ torch.tensor([distribution.space.num_primitives, 1]), p)
    counts = torch.bincount(codes, minlength=len(expected)).double()
    error = (expected * (1 - expected) / n).sqrt()
    assert ((counts / n - expected).abs() <= 4.5 * error + 1e-12).all()
    assert torch.isfinite(distribution.log_prob(drawn)).all()
    assert torch.equal(drawn, distribution.sample(key(3), n))
    assert not torch.equal(drawn, distribution.sample(key(4), n))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_uniform_logits_give_every_genotype_the_same_probability(space):
    uniform = IndependentEdges.uniform(space)
    assert uniform.entropy().item() == pytest.approx(math.log(SIZES[space.name]), rel=1e-12)
    score = uniform.log_prob(everything(space))
    torch.testing.assert_close(score, torch.full_like(score, -math.log(SIZES[space.name])))


def test_the_score_is_differentiable():
    q = edges(PAIRS)
    q.logits.requires_grad_(True)
    choices = q.sample(key(0), 3)

    def score(logits):
        return torch.stack(
            (IndependentEdges(PAIRS, logits).log_prob(choices).sum(), IndependentEdges(PAIRS, logits).entropy())
        )

    assert torch.autograd.gradcheck(score, q.logits.detach().double().requires_grad_(True))


def test_what_is_no_genotype_has_no_probability():
    q = edges(DARTS)
    choices = q.sample(key(1), 2)
    choices[1, 0, 0] = DARTS.primitives.index("none")
    assert q.log_prob(choices).isneginf().tolist() == [False, True]
    for c in q.candidates(3):
        c.genotype.validate(DARTS)
        assert q.log_prob(torch.from_numpy(encode(c.genotype, DARTS)[None])).exp().item() == pytest.approx(
            c.probability
        )


@pytest.fixture(scope="module")
def chain():
    distribution, choices = Chain(0), everything(NAS_BENCH_201)
    return distribution, choices, distribution.log_prob(choices).exp()


def test_a_controller_needs_draws_and_scores_only(chain):
    distribution, choices, p = chain
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    score = p.log()
    spread = ((p * score.square()).sum() - (p * score).sum().square()).sqrt().item() / 64
    assert abs(distribution.entropy().item() + (p * score).sum().item()) < 4 * spread
    hot = torch.nn.functional.one_hot(choices, 5).double()
    assert (distribution.marginals() - (hot * p.view(-1, 1, 1, 1)).sum(0)).abs().max() < 0.04
    best = p.argsort(descending=True)[:5]
    assert [c.probability for c in distribution.candidates(5)] == pytest.approx(p[best].tolist())
    assert torch.equal(distribution.mode(), choices[best[0]])


@pytest.mark.parametrize("distribution", [edges(NAS_BENCH_201), Chain(1)], ids=["edges", "controller"])
def test_a_genotype_is_read_off_any_distribution(distribution):
    found = derive(distribution, k=4, margin=0.5)
    expected = distribution.marginals().argmax(-1)
    assert torch.equal(torch.from_numpy(encode(found.genotype, NAS_BENCH_201)), expected)
    assert [c.genotype for c in found.candidates] == [c.genotype for c in distribution.candidates(4)]
    pi = distribution.marginals()[0].sort(descending=True).values
    assert len(found.undecided) == int((pi[:, 0] - pi[:, 1] < 0.5 * pi[:, 0]).sum())


def test_exact_candidates_are_those_of_the_logits():
    q = edges(NAS_BENCH_201, 5)
    rule = most_probable(q.logits.double().numpy(), NAS_BENCH_201, k=5)
    assert [c.genotype for c in q.candidates(5)] == [c.genotype for c in rule]
    assert [c.probability for c in q.candidates(5)] == pytest.approx([c.probability for c in rule])


def test_a_stack_has_no_cells_to_derive():
    with pytest.raises(InputError, match="nas_bench_macro"):
        derive(edges(NAS_BENCH_MACRO))


def test_a_population_is_a_distribution():
    members = edges(NAS_BENCH_201).sample(key(0), 3)[[0, 1, 1, 2]]
    population = Empirical(NAS_BENCH_201, members)
    assert population.log_prob(members).exp().tolist() == pytest.approx([0.25, 0.5, 0.5, 0.25])
    other = (members[:1] + 1) % 5
    assert population.log_prob(other).isneginf().all()
    assert torch.equal(population.mode(), members[1])
    assert population.entropy().item() == pytest.approx(1.5 * math.log(2))
    assert [c.probability for c in population.candidates(9)] == pytest.approx([0.5, 0.25, 0.25])
    assert torch.allclose(population.marginals().sum(-1), torch.ones(1, 6, dtype=torch.float64))
    drawn = population.sample(key(1), 4000)
    assert (population.log_prob(drawn).exp() > 0).all()
    assert abs((drawn == members[1]).all(-1).all(-1).double().mean().item() - 0.5) < 0.04
    with pytest.raises(InputError, match="at least one"):
        Empirical(NAS_BENCH_201, members[:0])


@pytest.mark.parametrize(
    "distribution",
    [edges(DARTS), edges(NAS_BENCH_MACRO), Empirical(NAS_BENCH_201, edges(NAS_BENCH_201).sample(key(0), 3))],
    ids=lambda d: f"{d.kind}-{d.space.name}",
)
def test_files_keep_bits(distribution, tmp_path):
    save_distribution(tmp_path / "d.safetensors", distribution)
    back = load_distribution(tmp_path / "d.safetensors")
    assert type(back) is type(distribution) and back.space == distribution.space
    assert all(torch.equal(back.tensors()[name], x) for name, x in distribution.tensors().items())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "d.safetensors"
    save_tensors(path, {"logits": torch.zeros(1, 6, 5)}, {"kind": "posterior"})
    with pytest.raises(InputError, match="posterior"):
        load_distribution(path)
    space = NAS_BENCH_201.to_dict()
    save_tensors(
        path, {"logits": torch.zeros(1, 6, 4)}, {"kind": "distribution.independent_edges", "format": 1, "space": space}
    )
    with pytest.raises(InputError, match=r"d\.safetensors.*\(1, 6, 4\)"):
        load_distribution(path)


def test_bad_arguments():
    q = edges(NAS_BENCH_201)
    with pytest.raises(InputError, match="logits"):
        IndependentEdges(DARTS, q.logits)
    with pytest.raises(InputError, match="NaN"):
        IndependentEdges(NAS_BENCH_201, q.logits * math.nan)
    with pytest.raises(InputError, match="expected int64"):
        q.log_prob(torch.zeros(2, 6, dtype=torch.int64))
    with pytest.raises(InputError, match="expected 0 to 4"):
        q.log_prob(torch.full((1, 1, 6), 5))
    for distribution in (q, Chain(0), Empirical(NAS_BENCH_201, q.sample(key(0), 1))):
        with pytest.raises(InputError, match="k: got 0"):
            distribution.candidates(0)
