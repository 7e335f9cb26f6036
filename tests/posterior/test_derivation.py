"""Reading genotypes off a posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import base_fast as bf
from base_fast.errors import InputError
from base_fast.posterior import Posterior, derive
from base_fast.space import DARTS, NAS_BENCH_201

Make = Callable[..., Posterior]
MAX, SEP5, SKIP = (DARTS.primitives.index(p) for p in ("max_pool_3x3", "sep_conv_5x5", "skip_connect"))


@pytest.fixture
def leaning(make: Make) -> Posterior:
    """Each node leans to max pooling and then to a 5×5 convolution of input 0, and third to a skip of input 1."""
    alpha = torch.zeros(2, 14, 8)
    alpha[:, :, 0] = 9.0  # `none` never counts
    for node in DARTS.node_numbers:
        first = DARTS.incoming(node)[0]
        alpha[:, first, MAX], alpha[:, first, SEP5], alpha[:, first + 1, SKIP] = 8.0, 7.5, 6.0
    return replace(make(), alpha=alpha)


def test_darts_rule_takes_different_predecessors(leaning: Posterior) -> None:
    genotype = derive(leaning, "darts", samples=16).genotype
    assert genotype.normal == genotype.reduce == (("max_pool_3x3", 0), ("skip_connect", 1)) * 4
    assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)


def test_pairs_rule_may_share_the_predecessor(leaning: Posterior) -> None:
    genotype = derive(leaning, "pairs", samples=16).genotype
    assert genotype.normal == genotype.reduce == (("max_pool_3x3", 0), ("sep_conv_5x5", 0)) * 4


def test_the_cell_types_are_read_separately(leaning: Posterior) -> None:
    alpha = leaning.alpha.clone()
    alpha[1] = alpha[1].flip(-1)
    genotype = derive(replace(leaning, alpha=alpha), samples=16).genotype
    assert genotype.normal != genotype.reduce
    assert {name for name, _ in genotype.normal} == {"max_pool_3x3", "skip_connect"}


@pytest.mark.parametrize("rule", ["darts", "pairs"])
def test_a_confident_posterior_has_one_probable_genotype(make: Make, rule: str) -> None:
    p = make()
    p = replace(p, alpha=p.alpha * 1e3)
    found = derive(p, rule, k=3)
    assert set(found.candidates[0].genotype.normal) == set(found.genotype.normal)
    assert found.candidates[0].probability > 0.9
    assert found.undecided == [] or len(found.undecided) < 3


def test_an_uncertain_posterior_has_many(make: Make) -> None:
    p = replace(make(), alpha=torch.zeros(2, 14, 8))
    found = derive(p, k=5)
    assert len(found.candidates) == 5
    assert found.candidates[0].probability < 0.01
    assert len(found.undecided) == 28
    probabilities = [candidate.probability for candidate in found.candidates]
    assert probabilities == sorted(probabilities, reverse=True)


def test_the_margin_decides_what_is_undecided(leaning: Posterior) -> None:
    none, some, every = (len(derive(leaning, margin=m, samples=8).undecided) for m in (0.0, 0.2, 1.01))
    assert none <= some <= every == 28
    assert none < every


def test_the_seed_decides_the_draws(make: Make) -> None:
    p = make()
    assert derive(p, seed=1, samples=64) == derive(p, seed=1, samples=64)
    assert derive(p, seed=1, samples=64).candidates != derive(p, seed=2, samples=64).candidates
    assert derive(p, seed=1, samples=64).genotype == derive(p, seed=2, samples=64).genotype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nas_bench_201(make: Make, dtype: torch.dtype) -> None:
    p = make(dtype, NAS_BENCH_201)
    genotype = derive(p).genotype
    best = [NAS_BENCH_201.primitives[l] for l in p.alpha[0].argmax(-1).tolist()]
    assert [name for name, _ in genotype.normal] == best
    assert genotype.reduce == ()


def test_errors(make: Make) -> None:
    with pytest.raises(InputError, match="rule"):
        derive(make(), "best")
    with pytest.raises(InputError, match="pi"):
        derive(replace(make(), alpha=torch.full((2, 14, 8), float("nan"))))
    with pytest.raises(InputError, match="^k: got 0"):
        bf.derive(make(), k=0)
