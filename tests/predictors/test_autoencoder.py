"""The autoencoder of NAO: valid decoding, exact reconstruction of what it learned, gradients, targets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.objectives import pairwise_accuracy
from base_fast.predictors.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    choices_of,
    fit_autoencoder,
    options_of,
    predicted,
    reconstruction_distance,
)
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, AnySpace, kept

CONFIG = AutoencoderConfig(embedding=8, hidden=16, steps=120, batch=40, lr=2e-2)


def test_it_learns_to_order_and_to_reconstruct() -> None:
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(0), 40).unique(dim=0)
    worth = (cells == 3).flatten(1).sum(dim=1).double()
    model = fit_autoencoder(NAS_BENCH_201, cells, worth, CONFIG, key(1))
    assert reconstruction_distance(model, cells) < 0.02
    assert pairwise_accuracy(predicted(model, cells), worth) > 0.95
    new = IndependentEdges.uniform(NAS_BENCH_201).sample(key(2), 200)
    assert pairwise_accuracy(predicted(model, new), (new == 3).flatten(1).sum(dim=1).double()) > 0.75
    again = fit_autoencoder(NAS_BENCH_201, cells, worth, CONFIG, key(1))
    assert torch.equal(predicted(again, new), predicted(model, new))


@pytest.mark.parametrize("space", [NAS_BENCH_201, DARTS, NAS_BENCH_MACRO])
def test_whatever_is_decoded_is_a_genotype(space: AnySpace) -> None:
    model = Autoencoder(space, CONFIG, key(0))
    states = torch.randn(30, model.length, CONFIG.hidden, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        options = model.decode(model.latent(states))
    choices = choices_of(space, options)
    assert kept(choices.numpy(), space).all()
    assert torch.equal(options_of(space, choices), options)
    cells = IndependentEdges.uniform(space).sample(key(1), 5)
    lost = model.reconstruction(model.encode(options_of(space, cells)), options_of(space, cells))
    assert bool(torch.isfinite(lost).all()) and bool((lost >= 0).all())


def test_the_likelihood_is_that_of_decoding_step_by_step() -> None:
    model = Autoencoder(NAS_BENCH_201, CONFIG, key(0))
    options = options_of(NAS_BENCH_201, IndependentEdges.uniform(NAS_BENCH_201).sample(key(1), 6))
    with torch.no_grad():
        latent = model.encode(options)
        greedy = model.decode(latent)
        best = model.reconstruction(latent, greedy)
        # At every decision no other option is more likely, given those before it.
        for s in range(model.length):
            for option in range(5):
                other = greedy.clone()
                other[:, s] = option
                assert bool((model.reconstruction(latent, other)[:, s] >= best[:, s] - 1e-6).all())


def test_the_gradient_is_that_of_the_prediction() -> None:
    model = Autoencoder(NAS_BENCH_201, CONFIG, key(0)).double()
    latent = model.encode(options_of(NAS_BENCH_201, IndependentEdges.uniform(NAS_BENCH_201).sample(key(1), 3)))
    slope = model.gradient(latent)
    step = torch.zeros_like(slope)
    step[1, 2, 5] = 1e-6
    with torch.no_grad():
        up, down = (model.predict(model.latent(latent.states + sign * step))[1] for sign in (1.0, -1.0))
    assert slope[1, 2, 5].item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-5)
    assert torch.allclose(latent.states.norm(dim=2), torch.ones(3, 6).double())
    assert torch.allclose(latent.vector.norm(dim=1), torch.ones(3).double())


def test_equal_values_are_no_trouble() -> None:
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(0), 6)
    config = replace(CONFIG, steps=3)
    model = fit_autoencoder(NAS_BENCH_201, cells, torch.ones(6).double(), config, key(1))
    assert bool(torch.isfinite(predicted(model, cells)).all())
    with pytest.raises(InputError, match="trade_off: got 1"):
        replace(CONFIG, trade_off=1.0)


def test_pairwise_accuracy_counts_pairs() -> None:
    truth = torch.tensor([1.0, 2.0, 3.0, 3.0])
    assert pairwise_accuracy(torch.tensor([1.0, 2.0, 3.0, 4.0]), truth) == 1.0
    assert pairwise_accuracy(torch.tensor([4.0, 3.0, 2.0, 1.0]), truth) == 0.0
    # Five pairs differ; of (2, 1, 1, 3) two are right, one is a tie, two are wrong.
    assert pairwise_accuracy(torch.tensor([2.0, 1.0, 1.0, 3.0]), truth) == pytest.approx(2.5 / 5)
