"""Linear probes on features whose content is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.experiments.probes import explained, held_out, majorities, probe_accuracies

DRAWS = torch.Generator().manual_seed(0)
CLASSES = torch.randint(4, (400,), generator=DRAWS)
NOISE = torch.randn(400, 6, generator=DRAWS).double()


def accuracy(features: torch.Tensor, noise: float) -> float:
    return probe_accuracies(features, CLASSES.unsqueeze(1), 4, noise)[0]


def hidden(scale: float) -> torch.Tensor:
    """The class in four directions at random, of this size, among noise of size 1 in others."""
    basis = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(1)).double()).Q
    return torch.cat((scale * F.one_hot(CLASSES, 4), NOISE), dim=1) @ basis + 3.0


def test_what_stands_out_is_read_and_what_does_not_is_not():
    assert accuracy(hidden(1.0), 0.1) == 1.0
    # A thousandth of the features: there, but only for who sees that far.
    assert accuracy(hidden(1e-3), 1e-5) == 1.0
    assert accuracy(hidden(1e-3), 0.1) < 0.4
    assert accuracy(NOISE, 1e-5) < 0.33


def test_units_and_directions_of_the_features_do_not_matter():
    x = hidden(0.05)
    turn = torch.linalg.qr(torch.randn(10, 10, generator=DRAWS).double()).Q
    assert torch.allclose(held_out(x, NOISE, 0.3), held_out(1e-6 * (x @ turn) - 4.0, NOISE, 0.3), rtol=1e-6, atol=1e-9)


def test_the_penalty_is_noise():
    """The same fit as plain least squares on many noisy copies."""
    x, y = NOISE[:200, :3] - NOISE[:200, :3].mean(0), NOISE[:200, 3:4]
    found = held_out(x, y, 0.5, folds=2)[1]
    train = torch.arange(200) % 2 == 0
    centred = x[train] - x[train].mean(0)
    centred = centred / centred.square().mean().sqrt()
    copies = centred.repeat(2000, 1)
    copies = copies + 0.5 * torch.randn(copies.shape, generator=DRAWS).double()
    target = (y[train] - y[train].mean()).repeat(2000, 1)
    weights = torch.linalg.lstsq(copies, target).solution
    scale = (x[train] - x[train].mean(0)).square().mean().sqrt()
    expected = (x[1] - x[train].mean(0)) / scale @ weights + y[train].mean()
    # 200,000 noisy rows: standard errors of a weight are about 1 / 450.
    assert found.item() == pytest.approx(expected.item(), abs=0.02)


def test_an_example_is_not_in_its_own_fit():
    y = NOISE[:, :1].clone()
    before = held_out(NOISE[:, 1:], y, 0.1)
    y[7] = 1e6
    after = held_out(NOISE[:, 1:], y, 0.1)
    own = torch.arange(400) % 5 == 7 % 5
    assert torch.equal(before[own], after[own]) and not torch.equal(before[~own], after[~own])


def test_explained_variance():
    values = NOISE @ torch.arange(6.0).double() + 2.0
    assert explained(NOISE, values, 1e-6) == pytest.approx(1.0)
    assert -0.2 < explained(NOISE[:, :2], torch.randn(400, generator=DRAWS), 0.1) < 0.02
    assert math.isnan(explained(NOISE, torch.ones(400), 0.1))
    # Features that are all alike: the mean is all there is.
    assert explained(torch.ones(400, 3), values, 0.1) == pytest.approx(0.0, abs=0.05)


def test_several_labels_at_once():
    both = torch.stack((CLASSES, CLASSES.flip(0)), dim=1)
    found = probe_accuracies(hidden(0.3), both, 4, 0.1)
    assert found == [accuracy(hidden(0.3), 0.1), probe_accuracies(hidden(0.3), both[:, 1:], 4, 0.1)[0]]
    assert found[0] == 1.0 and found[1] < 0.4


def test_majorities():
    assert majorities(torch.tensor([[2, 0], [0, 0], [2, 0], [1, 0]])) == [0.5, 1.0]


def test_refusals():
    with pytest.raises(InputError, match=r"got shapes \(3, 2\), \(3, 1\), expected .* n ≥ 5"):
        held_out(torch.ones(3, 2), torch.ones(3, 1), 0.1)
    with pytest.raises(InputError, match="noise: got 0"):
        held_out(NOISE, NOISE, 0.0)
