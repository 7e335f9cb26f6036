"""How measured cells move q(z), and posteriors the prior."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.meta.architecture import (
    ArchitectureConfig,
    Draws,
    agreement,
    belief,
    draw_cells,
    moved_prior,
    posterior_logits,
)
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201

SPACE = NAS_BENCH_201
REGRESSION = ArchitectureConfig(cells=20, beta=5.0)
IMPORTANCE = ArchitectureConfig("importance", cells=20, effective=1e-6)
PRIOR = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def everything() -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(5), repeat=6))).view(-1, 1, 6)


def measured(choices: torch.Tensor, evidence: torch.Tensor, mixture: torch.Tensor | None = None) -> Draws:
    log_m = torch.zeros(len(choices), dtype=torch.float64) if mixture is None else mixture
    return Draws.none(SPACE).joined(choices, evidence, log_m, 10)


def test_regression_is_ridge_regression_by_hand() -> None:
    cells, _ = draw_cells(SPACE, PRIOR, 0.2, key(1), 20)
    evidence = torch.randn(20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = posterior_logits(SPACE, PRIOR, measured(cells, evidence), REGRESSION, 2.0).phi
    d = F.one_hot(cells, 5).double().flatten(1)
    d = d - d.mean(dim=0)
    # The same coefficients from the dual form of ridge regression.
    alpha = torch.linalg.solve(d @ d.T + 4.0 * torch.eye(20), (5.0 / 2.0) * (evidence - evidence.mean()))
    expected = torch.log_softmax(torch.log_softmax(PRIOR, -1) + (d.T @ alpha).view(1, 6, 5), dim=-1)
    assert torch.allclose(found, expected)


def test_regression_on_all_cells_finds_a_linear_worth() -> None:
    """With the worth linear in the primitives and every cell measured, φ = log p + β·w up to a constant per edge."""
    w = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    cells = everything()
    worth = w[torch.arange(6), cells[:, 0]].sum(dim=1)
    found = posterior_logits(SPACE, PRIOR, measured(cells, worth), replace(REGRESSION, beta=3.0), 1.0).phi
    expected = torch.log_softmax(PRIOR + 3.0 * w, dim=-1)
    assert (found - expected).abs().max() < 0.02


@pytest.mark.parametrize("config", [REGRESSION, IMPORTANCE], ids=["regression", "importance"])
def test_evidence_that_says_nothing_leaves_the_prior(config: ArchitectureConfig) -> None:
    cells = everything()
    log_m = torch.full((len(cells),), -math.log(len(cells)), dtype=torch.float64)
    found = posterior_logits(SPACE, PRIOR, measured(cells, torch.zeros(len(cells)).double(), log_m), config, 1.0)
    assert torch.allclose(found.phi.softmax(-1), PRIOR.softmax(-1), atol=1e-9)


def test_importance_weights_of_all_cells_are_the_posterior_itself() -> None:
    """Every cell once, as if drawn uniformly: the weights are exactly q ∝ p·exp(βℓ), and φ its marginals."""
    cells = everything()
    worth = torch.randn(len(cells), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    log_m = torch.full((len(cells),), -math.log(len(cells)), dtype=torch.float64)
    config = replace(IMPORTANCE, beta=1.5, ridge=1e-9)
    found = posterior_logits(SPACE, PRIOR, measured(cells, worth, log_m), config, 1.0)
    q = torch.softmax(IndependentEdges(SPACE, PRIOR).log_prob(cells) + 1.5 * worth, dim=0)
    expected = (q.view(-1, 1, 1, 1) * F.one_hot(cells, 5)).sum(dim=0)
    assert torch.allclose(found.phi.exp(), expected, atol=1e-9)
    assert found.effective == pytest.approx(1.0 / q.square().sum().item())
    assert found.beta == 1.5


def test_importance_lowers_beta_until_enough_cells_count() -> None:
    cells, log_m = draw_cells(SPACE, torch.zeros(1, 6, 5), 0.0, key(4), 20)
    worth = torch.linspace(-2.0, 2.0, 20, dtype=torch.float64)
    config = replace(IMPORTANCE, beta=50.0, effective=0.4)
    found = posterior_logits(SPACE, torch.zeros(1, 6, 5).double(), measured(cells, worth, log_m), config, 1.0)
    assert 0.0 < found.beta < 50.0
    assert found.effective == pytest.approx(8.0, rel=1e-3)


def test_a_heavier_kl_holds_the_posterior_to_the_prior() -> None:
    cells, _ = draw_cells(SPACE, PRIOR, 0.2, key(1), 20)
    worth = torch.linspace(-2.0, 2.0, 20, dtype=torch.float64)
    away = [
        (posterior_logits(SPACE, PRIOR, measured(cells, worth), REGRESSION, kappa).phi - PRIOR.log_softmax(-1)).norm()
        for kappa in (1.0, 4.0, 1e6)
    ]
    assert away[0] > away[1] > away[2]
    assert away[2] < 1e-4


def test_draws_are_standardized_each_by_itself() -> None:
    """A draw on which everything is worth more says nothing about its primitives."""
    cells, log_m = draw_cells(SPACE, PRIOR, 0.5, key(5), 40)
    worth = torch.randn(40, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    one = measured(cells[:20], worth[:20]).joined(cells[20:], worth[20:], log_m[20:], 10)
    other = measured(cells[:20], worth[:20]).joined(cells[20:], worth[20:] + 7.0, log_m[20:], 10)
    a, b = (posterior_logits(SPACE, PRIOR, draws, REGRESSION, 1.0).phi for draws in (one, other))
    assert torch.allclose(a, b)


def test_the_window_forgets_the_oldest_draws() -> None:
    draws = Draws.none(SPACE)
    for i in range(4):
        cells, log_m = draw_cells(SPACE, PRIOR, 0.5, key(i), 3)
        draws = draws.joined(cells, torch.full((3,), float(i)).double(), log_m, 2)
    assert draws.draw.tolist() == [2, 2, 2, 3, 3, 3]
    assert draws.evidence.tolist() == [2.0] * 3 + [3.0] * 3


@pytest.mark.parametrize("space", [SPACE, DARTS], ids=["nas_bench_201", "darts"])
def test_drawn_cells_have_the_density_of_the_mixture(space) -> None:
    shape = (len(space.cell_types), space.num_edges, space.num_primitives)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(6))
    cells, log_m = draw_cells(space, logits, 0.3, key(7), 50)
    p, u = IndependentEdges(space, logits).log_prob(cells).exp(), IndependentEdges.uniform(space).log_prob(cells).exp()
    assert torch.allclose(log_m.exp(), 0.7 * p + 0.3 * u)
    for share, q in ((0.0, IndependentEdges(space, logits)), (1.0, IndependentEdges.uniform(space))):
        drawn, density = draw_cells(space, logits, share, key(7), 50)
        assert torch.allclose(density, q.log_prob(drawn))


def test_the_prior_moves_in_probabilities_above_a_floor() -> None:
    sharp = torch.full((1, 6, 5), -30.0).double()
    sharp[..., 2] = 0.0
    p = moved_prior(PRIOR, [sharp, PRIOR], 0.5, 0.002).softmax(dim=-1)
    expected = 0.5 * PRIOR.softmax(-1) + 0.5 * (sharp.softmax(-1) + PRIOR.softmax(-1)) / 2
    assert torch.allclose(p, expected)
    p = moved_prior(PRIOR, [sharp], 1.0, 0.002).softmax(dim=-1)
    assert torch.allclose(p[..., 0], torch.tensor(0.002 / 1.008).double(), rtol=1e-6)


def test_a_full_step_maximizes_the_expected_log_prior() -> None:
    """Σ_tasks E_q[log p] is largest at the mean of the q: any other p has less."""
    posteriors = [torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(i)).double() for i in range(3)]
    best = moved_prior(PRIOR, posteriors, 1.0, 1e-9)

    def expected(logits: torch.Tensor) -> float:
        return sum(float((phi.softmax(-1) * logits.log_softmax(-1)).sum()) for phi in posteriors)

    for i in range(5):
        other = best + 0.1 * torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(10 + i)).double()
        assert expected(other) < expected(best)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cells": 1}, "cells: got 1, expected an integer ≥ 2"),
        ({"window": 0}, "window: got 0"),
        ({"every": 0}, "every: got 0"),
        ({"uniform": 1.5}, "uniform: got 1.5"),
        ({"beta": 0.0}, "beta: got 0.0"),
        ({"ridge": -1.0}, "ridge: got -1.0"),
        ({"effective": 1.5}, "effective: got 1.5"),
    ],
)
def test_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ArchitectureConfig(**wrong)  # type: ignore[arg-type]


def test_agreement_is_the_correlation_of_log_p_and_the_evidence_within_draws() -> None:
    cells, log_m = draw_cells(SPACE, PRIOR, 0.5, key(8), 40)
    log_p = IndependentEdges(SPACE, PRIOR).log_prob(cells)
    shift = torch.cat((torch.zeros(20), torch.full((20,), 50.0))).double()
    draws = measured(cells[:20], log_p[:20]).joined(cells[20:], log_p[20:] + 50.0, log_m[20:], 10)
    assert agreement(SPACE, PRIOR, draws) == pytest.approx(1.0)
    assert agreement(SPACE, PRIOR, draws._replace(evidence=-log_p - shift)) == pytest.approx(-1.0)
    assert agreement(SPACE, torch.zeros(1, 6, 5), draws) == 0.0


def test_belief_falls_from_one_towards_the_share_of_the_usual_agreement() -> None:
    assert belief(0.1, None, 50, 48.0) == 1.0
    assert belief(0.5, 0.4, 50, 48.0) == 1.0
    assert belief(0.1, 0.4, 0, 48.0) == 1.0
    assert belief(0.1, 0.4, 48, 48.0) == pytest.approx((1.0 + 0.25) / 2)
    assert belief(-0.3, 0.4, 10**9, 48.0) == pytest.approx(0.0, abs=1e-6)
