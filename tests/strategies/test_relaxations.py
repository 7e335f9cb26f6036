"""What the one-shot searches that follow gradients say of z, each against its formula."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from base_fast import Supernet
from base_fast.errors import InputError
from base_fast.meta.config import Schedule
from base_fast.objectives import SharedTraining
from base_fast.random import fold_in, key
from base_fast.reference import philox
from base_fast.runs import Clock
from base_fast.space import NAS_BENCH_201, Space
from base_fast.strategies import Darts, DartsSecondOrder, DrNas, Gdas, SharedTrainingConfig, Snas
from base_fast.strategies.drnas import concentration, dirichlet
from base_fast.strategies.one_shot import first_order
from tests.meta import toys

TASK = toys.task(key(0), train=24, valid=12)
TRAINING = SharedTrainingConfig(steps=6, batch_size=4, lr=0.1, clip=1.0)
# Two edges. Without ReLUs on them, so that a difference quotient meets no kink.
TWO = Space("two", ("none", "skip_connect", "avg_pool_3x3"), 2, 1, ("normal",), (2,), 2)
BENCH = Supernet(NAS_BENCH_201, channels=4, layers=3, num_classes=3, reductions=(1,))
STRATEGIES = {"darts": Darts, "second": DartsSecondOrder, "snas": Snas, "gdas": Gdas, "drnas": DrNas}


def advanced(one, steps):
    state = one.start(Clock()).state
    for _ in range(steps):
        state = one.step(state, Clock()).state
    return state


@pytest.mark.parametrize("nesterov", [False, True])
def test_second_order_is_the_exact_gradient(nesterov):
    net = Supernet(TWO, channels=2, layers=1, num_classes=3, reductions=())
    prior = toys.prior(net)
    training = replace(TRAINING, nesterov=nesterov)
    one = DartsSecondOrder(training).on(prior, TASK, 0)
    state = advanced(one, 2)
    alpha = prior.alpha.clone().requires_grad_(True)

    def loss(batches, theta):
        x, y = batches.train.batch(batches.key, 2, 4)
        return F.cross_entropy(net(x.double(), theta, alpha.softmax(-1)), y)

    theta = state.theta.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(one.training, theta), theta, create_graph=True)
    decayed = gradient + 3e-4 * state.theta
    buffer = 0.9 * state.momentum + decayed
    ahead = state.theta - training.lr_at(2) * (decayed + 0.9 * buffer if nesterov else buffer)
    (exact,) = torch.autograd.grad(loss(one.valid, ahead), alpha)

    def error(of_batch):
        (found,) = torch.autograd.grad((alpha.softmax(-1) * of_batch.gradient).sum(), alpha)
        return ((found - exact).norm() / exact.norm()).item()

    at = one._point(state, alpha.softmax(-1))
    # Measured on x86-64: 3e-8, of the difference quotient with the published ε.
    assert error(one.settings.batch_gradient(at)) < 1e-6
    assert error(first_order(at)) > 0.1


def test_nesterov_is_that_of_sgd():
    config = replace(TRAINING, nesterov=True, clip=0.0)
    training = SharedTraining(BENCH, TASK.train, config, key(0))
    theta, gradients = torch.tensor([1.0, -2.0]).double(), torch.tensor([[0.5, 1.0], [-1.0, 0.25]]).double()
    own = theta.clone().requires_grad_(True)
    sgd = torch.optim.SGD([own], lr=0.1, momentum=0.9, weight_decay=3e-4, nesterov=True)
    momentum = torch.zeros_like(theta)
    for number, gradient in enumerate(gradients):
        sgd.param_groups[0]["lr"] = config.lr_at(number)
        own.grad = gradient.clone()
        sgd.step()
        theta, momentum = training.move(theta, momentum, gradient, number)
    torch.testing.assert_close(theta, own.detach(), rtol=0.0, atol=1e-15)
    assert config.response_at(0) == pytest.approx(0.19)


@pytest.mark.parametrize("net", [BENCH, toys.supernet()], ids=["nas_bench_201", "toy"])
def test_gdas_runs_one_path_and_its_gradient_reaches_all_logits(net):
    prior = toys.prior(net, dtype=torch.float32)
    one = Gdas(TRAINING).on(prior, TASK, 0)
    state = advanced(one, 1)
    alpha = state.variables[0].requires_grad_(True)
    z = one.z((alpha,), 1, "architecture")
    assert torch.equal(z.detach(), F.one_hot(z.argmax(-1), z.shape[-1]).float())
    at = one._point(state, z)
    of_batch = one.settings.batch_gradient(at)
    # The value is that of the path in the whole mixture, and so is the gradient of what runs.
    mixture = first_order(at._replace(hard=False))
    torch.testing.assert_close(of_batch.loss, mixture.loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(of_batch.gradient, mixture.gradient * z.detach(), rtol=1e-3, atol=1e-6)
    assert not torch.equal(mixture.gradient, mixture.gradient * z.detach())
    # dL/dφ_k = g_i s_i (δ_ik − s_k)/τ for the drawn i, g_i the gradient for its weight.
    tau = 10.0 - 9.9 / 6.0
    noise = philox.gumbel(fold_in(fold_in(one._noise_key, 1), 0), alpha.numel()).view(alpha.shape)
    soft = ((alpha + noise) / tau).softmax(-1).detach()
    drawn = (z.detach() * soft * of_batch.gradient).sum(-1, keepdim=True)
    (found,) = torch.autograd.grad((z * of_batch.gradient).sum(), alpha)
    torch.testing.assert_close(found, drawn * (z.detach() - soft) / tau, rtol=1e-4, atol=1e-8)
    assert (found[of_batch.gradient.abs().sum(-1) > 0] != 0).all()


def test_snas_draws_relaxed_samples_that_grow_sharp():
    one = Snas(TRAINING, tau=Schedule(1.0, 0.01, "exponential")).on(toys.prior(toys.supernet()), TASK, 0)
    alpha = one.start(Clock()).state.variables[0]
    for number, tau in ((0, 1.0), (3, 0.1)):
        noise = philox.gumbel(fold_in(fold_in(one._noise_key, number), 1), alpha.numel()).view(alpha.shape)
        expected = ((alpha + noise.double()) / tau).softmax(-1)
        torch.testing.assert_close(one.z((alpha,), number, "weights"), expected, rtol=1e-5, atol=1e-7)
    assert "valid_loss" not in one.step(one.start(Clock()).state, Clock()).row


def test_the_gradient_of_a_gamma_draw_is_the_implicit_one():
    """dg/dc = −(∂F/∂c)/(∂F/∂g), by finite differences of the regularized incomplete gamma function F(c, g)."""
    c = torch.tensor([0.3, 1.0, 2.5, 7.0], dtype=torch.float64, requires_grad=True)
    g = torch._standard_gamma(c, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(g.sum(), c)
    c, g, h = c.detach(), g.detach(), 1e-5
    slope = (torch.special.gammainc(c + h, g) - torch.special.gammainc(c - h, g)) / (2 * h)
    density = ((c - 1) * g.log() - g - torch.lgamma(c)).exp()
    # Measured on x86-64: 4e-6, PyTorch's rational approximation.
    torch.testing.assert_close(found, -slope / density, rtol=1e-4, atol=0.0)


def test_a_dirichlet_draw_has_the_moments_and_their_gradients():
    alpha = torch.tensor([-1.0, 0.0, 0.7, 2.0], dtype=torch.float64, requires_grad=True)
    n, c = 20_000, concentration(alpha)
    torch.testing.assert_close(c, F.elu(alpha) + 1.0)
    own = alpha.detach().repeat(n, 1).requires_grad_(True)
    z = dirichlet(concentration(own), key(5))
    torch.testing.assert_close(z.sum(-1), torch.ones(n, dtype=torch.float64))

    def near(values, exact):
        assert ((values.mean(0) - exact).abs() < 4.0 * values.std(0) / math.sqrt(n)).all()

    for power, exact in ((1, (c / c.sum())[2]), (2, (c * (c + 1) / (c.sum() * (c.sum() + 1)))[2])):
        values = z[:, 2] ** power
        near(values, exact)
        (expected,) = torch.autograd.grad(exact, alpha, retain_graph=True)
        near(torch.autograd.grad(values.sum(), own, retain_graph=True)[0], expected)
    assert torch.equal(z, dirichlet(concentration(own), key(5)))
    assert not torch.equal(dirichlet(c, key(5)), dirichlet(c, key(6)))


def test_drnas_starts_at_the_prior_and_is_held_near_the_flat_dirichlet():
    prior = toys.prior(toys.supernet())
    strategy = DrNas(TRAINING, kl=0.5)
    (alpha,) = strategy.initial(toys.TOY, prior.alpha, key(0))
    torch.testing.assert_close(strategy.mean(toys.TOY, (alpha,)), prior.alpha.softmax(-1), rtol=0.0, atol=5e-3)
    flat = strategy.penalty((torch.zeros(2, 4, dtype=torch.float64),))
    assert flat is not None and abs(flat.item()) < 1e-12
    # KL(Dir(2, 1) ‖ Dir(1, 1)) = ln Γ(3) + ψ(2) − ψ(3) = ln 2 − 1/2.
    some = strategy.penalty((torch.tensor([[1.0, 0.0]], dtype=torch.float64),))
    assert some is not None and some.item() == pytest.approx(0.5 * (math.log(2) - 0.5))
    assert DrNas(TRAINING).penalty((alpha,)) is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_continues_to_the_same_bits(name):
    settings = STRATEGIES[name](TRAINING, evaluate_every=2)
    net = toys.supernet()
    one = settings.on(net.prior(key(3)), TASK, 0)
    half = advanced(one, 3)
    other = settings.on(net.prior(key(3)), TASK, 0)
    resumed = other.unpack(*one.pack(half))
    for _ in range(3):
        half, resumed = one.step(half, Clock()).state, other.step(resumed, Clock()).state
    assert torch.equal(half.theta, resumed.theta) and torch.equal(half.variables[0], resumed.variables[0])
    assert half.history == resumed.history and [row["step"] for row in half.history] == [2, 4, 6]
    start = one.start(Clock()).state
    assert not torch.equal(half.variables[0], start.variables[0])
    one.result(half).genotype.validate(net.space)


def test_what_goes_wrong_is_said():
    for strategy in (Snas, Gdas):
        with pytest.raises(InputError, match="tau: got 1.0 → 0.0"):
            strategy(tau=Schedule(1.0, 0.0))
    with pytest.raises(InputError, match="kl: got -1.0"):
        DrNas(kl=-1.0)
