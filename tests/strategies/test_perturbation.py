"""SDARTS's perturbation, against its definition step by step and on a supernet."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from base_fast.errors import InputError
from base_fast.random import key
from base_fast.reference import philox
from base_fast.strategies import Perturbation
from tests.meta import toys

Z = torch.softmax(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)
SLOPE = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear(z):
    return (SLOPE * z).sum()


def projected(rows, sums):
    """The source's projection, an edge at a time."""
    out = rows.clone()
    for row, total in zip(out.view(-1, rows.shape[-1]), sums.flatten().tolist(), strict=True):
        best = int(row.argmax())
        row.clamp_(0.0, total)
        if row.sum() == 0.0:
            row[best] = total
        row *= total / row.sum()
    return out


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_an_attack_is_signed_steps_in_the_box_and_the_simplex(steps):
    epsilon = 0.1
    at = projected(Z + epsilon * (2.0 * philox.uniform(key(5), 24).view(2, 3, 4).double() - 1.0), Z.sum(-1))
    for _ in range(steps):
        at = at + 2 * epsilon / steps * SLOPE.sign()
        at = projected(Z + (at - Z).clamp(-epsilon, epsilon), Z.sum(-1))
    expected = at if linear(at) >= linear(Z) else Z
    found = Perturbation(0.1, 0.1, steps).perturbed(Z, linear, key(5), 0.5)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert linear(found) > linear(Z) and not found.requires_grad


def test_a_random_perturbation_stays_near_and_asks_for_no_loss():
    def never(z):
        raise AssertionError("a loss was asked for")

    found = Perturbation(0.01, 0.05, 0).perturbed(Z, never, key(1), 0.25)
    assert 0 < (found - Z).abs().max() < 0.025, "ε is 0.02 after a quarter, and scaling adds little to it"
    torch.testing.assert_close(found.sum(-1), Z.sum(-1))
    assert (found >= 0).all()
    assert torch.equal(found, Perturbation(0.02, 0.02, 0).perturbed(Z, never, key(1), 0.9))
    assert not torch.equal(found, Perturbation(0.02, 0.02, 0).perturbed(Z, never, key(2), 0.9))


def test_edges_keep_what_they_weigh():
    weights = Z * torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64).view(1, 3, 1)
    found = Perturbation(0.5, 0.5, 3).perturbed(weights, linear, key(3), 0.0)
    torch.testing.assert_close(found.sum(-1), weights.sum(-1))
    assert (found >= 0).all()


def test_an_attack_that_lowers_the_loss_is_dropped():
    """At a maximum every way is down."""
    found = Perturbation(0.1, 0.1, 3).perturbed(Z, lambda z: -((z - Z) ** 2).sum(), key(0), 0.0)
    assert torch.equal(found, Z)


def test_on_a_supernet_the_attack_raises_the_loss_of_its_own_batch():
    net, task = toys.supernet(), toys.task(key(0))
    theta = toys.prior(net).mu
    x, y = task.train.batch(key(1), 0, 8)
    z = torch.full((2, net.space.num_edges, 4), 0.25, dtype=torch.float64)

    def loss(z):
        return F.cross_entropy(net(x.double(), theta, z), y)

    rises = [float(loss(Perturbation(0.1, 0.1, n).perturbed(z, loss, key(4), 0.0)) - loss(z)) for n in (0, 1, 7)]
    assert min(rises[1:]) > max(rises[0], 0.0)


def test_bad_settings_are_refused():
    for wrong in ({"radius": -0.1}, {"last_radius": float("nan")}, {"steps": -1}, {"steps": 1.5}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Perturbation(**wrong)
