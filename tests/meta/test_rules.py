"""Optimizer steps against torch.optim, and the natural gradient against an explicit Fisher matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from base_fast.meta import StepRule, rules

LR = 0.07


def ours(rule: StepRule, x: Tensor, targets: list[Tensor]) -> Tensor:
    slots = rules.initial_slots(rule, x)
    for target in targets:
        x, slots = rules.step(rule, LR, x, gradient(x, target), slots)
    return x


def theirs(optimizer: torch.optim.Optimizer, x: Tensor, targets: list[Tensor]) -> Tensor:
    for target in targets:
        x.grad = gradient(x.detach(), target)
        optimizer.step()
    return x.detach()


def gradient(x: Tensor, target: Tensor) -> Tensor:
    return torch.tanh(x - target) * (1.0 + x.square())


@pytest.fixture
def start() -> Tensor:
    return torch.randn(17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets() -> list[Tensor]:
    return list(torch.randn(12, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_sgd(start: Tensor, targets: list[Tensor], momentum: float) -> None:
    parameter = start.clone().requires_grad_()
    expected = theirs(torch.optim.SGD([parameter], lr=LR, momentum=momentum), parameter, targets)
    got = ours(StepRule("sgd", LR, momentum=momentum), start, targets)
    assert (got - start).abs().max().item() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.0, 0.9), (0.5, 0.0)])
def test_adam(start: Tensor, targets: list[Tensor], beta1: float, beta2: float) -> None:
    parameter = start.clone().requires_grad_()
    # torch adds ε to the root, here ε² is added inside: the two agree where ε does not matter.
    expected = theirs(torch.optim.Adam([parameter], lr=LR, betas=(beta1, beta2), eps=1e-20), parameter, targets)
    got = ours(StepRule("adam", LR, beta1=beta1, beta2=beta2), start, targets)
    assert (got - start).abs().max().item() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_adam_at_a_gradient_of_zero_stays_and_has_finite_derivatives(start: Tensor) -> None:
    rule = StepRule("adam", LR)
    zero = torch.zeros_like(start, requires_grad=True)
    x, _ = rules.step(rule, LR, start, zero, rules.initial_slots(rule, start))
    assert torch.equal(x, start)
    (derivative,) = torch.autograd.grad(x.sum(), zero)
    assert bool(torch.isfinite(derivative).all())


def test_momentum_of_a_natural_step(start: Tensor, targets: list[Tensor]) -> None:
    a = ours(StepRule("natural", LR, momentum=0.9), start, targets)
    b = ours(StepRule("sgd", LR, momentum=0.9), start, targets)
    assert torch.equal(a, b)


def test_a_step_does_not_change_its_arguments(start: Tensor) -> None:
    for rule in (StepRule("sgd", LR, momentum=0.5), StepRule("adam", LR)):
        slots = rules.initial_slots(rule, start)
        copies = [x.clone() for x in (start, *slots)]
        rules.step(rule, LR, start, torch.ones_like(start), slots)
        assert all(torch.equal(a, b) for a, b in zip((start, *slots), copies, strict=True))


def test_natural_gradient_is_the_inverse_fisher_matrix_times_the_gradient() -> None:
    """F = ∂²KL(q‖q')/∂ψ'² at ψ' = ψ, by automatic differentiation of torch's own KL."""
    mu = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)
    rho = torch.tensor([-3.0, 0.1, 2.0], dtype=torch.float64)
    normal = torch.distributions.Normal

    def kl(psi: Tensor) -> Tensor:
        q, other = normal(mu, softplus(rho)), normal(psi[:3], softplus(psi[3:]))
        return torch.distributions.kl_divergence(q, other).sum()

    fisher = torch.autograd.functional.hessian(kl, torch.cat((mu, rho)))
    g = torch.tensor([0.5, -0.2, 1.1, 0.7, 0.4, -0.9], dtype=torch.float64)
    expected = torch.linalg.solve(fisher, g)
    got = torch.cat((rules.natural_gradient("mu", rho, g[:3]), rules.natural_gradient("rho", rho, g[3:])))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
