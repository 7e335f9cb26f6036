"""PARSEC's estimates against the marginal likelihood of spaces small enough to list."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from base_fast.distributions import IndependentEdges
from base_fast.errors import Diverged
from base_fast.random import fold_in, key
from base_fast.strategies.likelihood_weights import architecture_gradient, likelihood_weights
from benchmarks.listed import Listed


def test_the_mean_of_many_estimates_is_the_gradient():
    # Two images: the likelihoods differ by some hundredths, and the bias at K = 64 stays below the noise of the mean.
    for primitives in (3, 5):
        listed = Listed(primitives, images=2)
        found, exact = listed.estimates(64, 10_000), listed.exact()
        error = found.std(dim=0) / math.sqrt(len(found))
        assert (exact.abs() > 10 * error).any()
        assert ((found.mean(dim=0) - exact).abs() <= 3 * error).all()


def test_the_bias_is_one_over_the_number_of_children():
    listed = Listed(5, images=12)
    exact = listed.exact()
    # The mean score of a draw is zero, so that the bias of K = 1 is the whole gradient; then K · bias stays as it is:
    # 1.007, 0.942, 0.967 of the gradient, the noise of the last being 3 %.
    for k in (1, 4, 16):
        bias = listed.estimates(k, 100_000).mean(dim=0) - exact
        assert k * bias.norm().item() == pytest.approx(exact.norm().item(), rel=0.15)


def test_the_gradient_is_the_weighted_sum_of_scores():
    listed = Listed(3, images=2)
    drawn = IndependentEdges(listed.space, listed.logits).sample(key(2), 8)
    weights = torch.softmax(torch.randn(8, generator=torch.Generator().manual_seed(0)).double(), dim=0)
    found = architecture_gradient(listed.space, listed.logits, drawn, weights)
    # Of a softmax, one by one: one-hot − π.
    expected = (weights.view(8, 1, 1, 1) * F.one_hot(drawn, 3)).sum(dim=0) - torch.softmax(listed.logits, dim=-1)
    torch.testing.assert_close(found, expected)


def test_one_child_gives_the_score_of_the_draw():
    listed = Listed(5, images=2)
    for i in range(5):
        child = IndependentEdges(listed.space, listed.logits).sample(fold_in(key(3), i), 1)
        weighed = likelihood_weights(torch.tensor([-70.0 - i]), share=0.5)
        assert weighed.weights.tolist() == [1.0] and weighed.effective == weighed.temperature == 1.0
        logits = listed.logits.clone().requires_grad_(True)
        (score,) = torch.autograd.grad(IndependentEdges(listed.space, logits).log_prob(child).sum(), logits)
        assert torch.equal(architecture_gradient(listed.space, logits, child, weighed.weights), score)


def test_weights_are_the_normalized_likelihoods_where_enough_children_count():
    log_likelihoods = torch.tensor([-10.0, -10.5, -9.8, -10.1])
    found = likelihood_weights(log_likelihoods, share=0.5)
    assert found.temperature == 1.0 and found.effective > 2.0
    torch.testing.assert_close(found.weights, torch.softmax(log_likelihoods.double(), dim=0))
    assert likelihood_weights(100 * log_likelihoods).temperature == 1.0


@pytest.mark.parametrize("spread", [3.0, 60.0, 1e5])
def test_tempering_holds_the_effective_sample_size(spread):
    log_likelihoods = -150.0 + spread * torch.randn(16, generator=torch.Generator().manual_seed(2)).double()
    assert likelihood_weights(log_likelihoods).effective < 4.0
    found = likelihood_weights(log_likelihoods, share=0.5)
    assert found.effective == pytest.approx(8.0, rel=1e-3) and found.temperature > 1.0
    torch.testing.assert_close(found.weights, torch.softmax(log_likelihoods / found.temperature, dim=0))


@pytest.mark.parametrize("wrong", [math.nan, -math.inf])
def test_a_likelihood_that_is_no_number_is_divergence(wrong):
    with pytest.raises(Diverged, match="log-likelihoods"):
        likelihood_weights(torch.tensor([-1.0, wrong]))
