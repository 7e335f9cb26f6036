"""Algorithm 1 against a computation that is written out from the formulas and shares no code with base_fast.meta."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from base_fast import MetaConfig, MetaTrainer, Supernet, ops
from base_fast.meta import InnerConfig, OuterConfig, Schedule, StepRule
from base_fast.random import fold_in, key
from base_fast.reference.philox import words
from base_fast.tasks import Task
from tests.meta import toys

TOLERANCE = 1e-10
# Noise is float32, and kernels may differ in its last bits; what is computed from it is compared at TOLERANCE.
NOISE = 3e-6
ETA_MU, ETA_RHO, ETA_ALPHA = 0.05, 0.3, 0.8

Weights = list[Tensor]
"""[mu, rho, alpha]"""


def uniform(k: Tensor, count: int) -> Tensor:
    return ((words(k, count) >> 9).float() + 0.5) * 2.0**-23


def gumbel_noise(k: Tensor, shape: torch.Size) -> Tensor:
    """ξ as the kernel in use draws it, up to a constant per row, which no softmax sees: the logarithm of softmax(ξ)."""
    xi = torch.log(ops.gumbel_softmax(torch.zeros(shape, dtype=torch.float64), k))
    expected = -torch.log(-torch.log(uniform(k, shape.numel()))).double().view(shape)
    torch.testing.assert_close(xi - xi.mean(-1, True), expected - expected.mean(-1, True), rtol=0, atol=NOISE)
    return xi


def gaussian_noise(k: Tensor, count: int) -> Tensor:
    """ε as the kernel in use draws it: a sample with μ = 0 and σ = 1."""
    zero = torch.zeros(count, dtype=torch.float64)
    noise = ops.gaussian_sample(zero, torch.full_like(zero, math.log(math.expm1(1.0))), k)
    u = uniform(k, count + count % 2)
    radius, angle = torch.sqrt(-2 * torch.log(u[0::2])), 2 * math.pi * u[1::2]
    expected = torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), -1).flatten()[:count]
    torch.testing.assert_close(noise, expected.double(), rtol=0, atol=NOISE)
    return noise


def sigma_of(rho: Tensor) -> Tensor:
    return torch.log1p(torch.exp(rho))


def normalize(logits: Tensor) -> Tensor:
    e = torch.exp(logits)
    return e / e.sum(dim=-1, keepdim=True)


@dataclass
class Hand:
    """What the loss of a task depends on besides the variables."""

    inner: InnerConfig
    tau: float
    noise: float

    def loss(self, net: Supernet, q: Weights, p: Weights, x: Tensor, y: Tensor, k: Tensor, n: int) -> Tensor:
        (mu, rho, phi), (mu0, rho0, alpha) = q, p
        inner, tau = self.inner, self.tau
        sigma, sigma0 = sigma_of(rho), sigma_of(rho0)
        theta = mu + sigma * gaussian_noise(fold_in(k, 0), mu.numel()) if inner.sample_theta else mu
        z = normalize((phi + self.noise * gumbel_noise(fold_in(k, 1), phi.shape)) / tau)
        logits = net(x, theta, z)
        nll = -torch.log(normalize(logits))[torch.arange(len(y)), y].mean()
        kl_theta = (torch.log(sigma0 / sigma) + (sigma**2 + (mu - mu0) ** 2) / (2 * sigma0**2) - 0.5).sum()
        pi, pi0 = normalize(phi), normalize(alpha)
        if inner.kl_z == "categorical":
            kl_z = (pi * (torch.log(pi) - torch.log(pi0))).sum()
        else:
            # log of Γ(L) τ^(L-1) Π_l π_l z_l^(-τ-1) / (Σ_l π_l z_l^(-τ))^L; Γ(L) τ^(L-1) cancels in the ratio.
            def log_density(pi: Tensor) -> Tensor:
                return torch.log((pi * z ** (-tau - 1)).prod(-1) / (pi * z**-tau).sum(-1) ** pi.shape[-1])

            kl_z = (log_density(pi) - log_density(pi0)).sum()
        return nll + inner.beta_z / n * kl_z + inner.beta_theta / n * kl_theta

    def start(self, net: Supernet, w: Weights, task: Task) -> tuple[Supernet, Weights]:
        if self.inner.head == "kept":
            return net, w
        mu, rho, alpha = w
        body, head_rho = net.head.start, rho[net.head.start :]
        if self.inner.head == "own" and task.num_classes != net.config.num_classes:
            net = net.with_classes(task.num_classes)
            head_rho = head_rho.mean() * torch.ones(net.layout.numel - body, dtype=torch.float64)
        zeros = torch.zeros(net.layout.numel - body, dtype=torch.float64)
        return net, [torch.cat([mu[:body], zeros]), torch.cat([rho[:body], head_rho]), alpha]

    def adapt(
        self, net: Supernet, start: Weights, task: Task, k: Tensor, steps: int, moving: tuple[bool, ...]
    ) -> tuple[Weights, Tensor]:
        """[ψᵀ, φᵀ] as a function of the start, and the loss of the first batch after them."""
        n = len(task.train)
        # A node of its own for each q: the inner gradient is the one with respect to q alone, also where q = p.
        q = [x.view_as(x) for x in start]
        memory: list[Any] = [None] * 3
        for t in range(steps + 1):
            x, y = task.train.batch(fold_in(k, 0), t, self.inner.batch_size)
            loss = self.loss(net, q, start, x.double(), y, fold_in(fold_in(k, 1), t), n)
            if t == steps:
                return q, loss
            gradients = list(torch.autograd.grad(loss, q, create_graph=True))
            norm = torch.sqrt(torch.stack([(gradients[i] ** 2).sum() for i in (0, 1) if moving[i]]).sum())
            if self.inner.clip and norm > self.inner.clip:
                gradients[:2] = [g * self.inner.clip / norm for g in gradients[:2]]
            rho = q[1]
            for i, rule in enumerate((self.inner.mu, self.inner.rho, self.inner.alpha)):
                if moving[i]:
                    g = gradients[i]
                    if rule.rule == "natural":
                        # Fisher information of N(μ, σ²): 1/σ² for μ, 2/σ² (dσ/dρ)² for ρ.
                        slope = torch.exp(rho) / (1 + torch.exp(rho))
                        fisher = 1 / sigma_of(rho) ** 2 if i == 0 else 2 * slope**2 / sigma_of(rho) ** 2
                        g = g / fisher
                    q[i], memory[i] = self.move(rule, rule.lr, q[i], g, memory[i], t)
        raise AssertionError("unreachable")

    @staticmethod
    def move(rule: StepRule, lr: float, x: Tensor, g: Tensor, memory: Any, t: int) -> tuple[Tensor, Any]:
        if rule.rule != "adam":
            velocity = g if memory is None else rule.momentum * memory + g
            return x - lr * velocity, velocity
        m, v = (0.0, 0.0) if memory is None else memory
        m, v = rule.beta1 * m + (1 - rule.beta1) * g, rule.beta2 * v + (1 - rule.beta2) * g**2
        m_hat, v_hat = m / (1 - rule.beta1 ** (t + 1)), v / (1 - rule.beta2 ** (t + 1))
        return x - lr * m_hat / torch.sqrt(v_hat + 1e-16), (m, v)


def by_hand(config: MetaConfig, net: Supernet, w: Weights, classes: tuple[int, ...]) -> Weights:
    outer_memory: list[Any] = [None] * 3
    outer_steps = [0] * 3
    outer_rule = StepRule(config.outer.optimizer, config.outer.lr)
    drawn = 0
    for e in range(config.iterations):
        moving = (config.inner.mu.lr > 0, config.inner.rho.lr > 0, config.inner.alpha.lr > 0 and e >= config.warmup)
        past = min(max((e - config.warmup) / max(config.iterations - config.warmup - 1, 1), 0), 1)
        tau = config.tau.start + past * (config.tau.end - config.tau.start)
        noise = config.noise.start + past * (config.noise.end - config.noise.start)
        hand = Hand(config.inner, tau, noise)
        total = [torch.zeros_like(x) for x in w]
        for c in range(config.tasks):
            k = fold_in(fold_in(fold_in(key(config.seed), 1), e), c)
            task = toys.task(fold_in(k, 0), classes[drawn % len(classes)])
            drawn += 1
            leaves = [x.detach().requires_grad_() for x in w]
            own, start = hand.start(net, leaves, task)
            unrolled = config.outer.rule == "unrolled"
            if not unrolled:
                start = [x.detach().requires_grad_() for x in start]
            adapted, loss = hand.adapt(own, start, task, fold_in(k, 1), config.inner_steps, moving)
            if config.outer.rule == "reptile":
                found = [a - b for a, b in zip(start, adapted, strict=True)]
            elif unrolled:
                found = list(torch.autograd.grad(loss, leaves, allow_unused=True))
            else:
                # dψᵀ/dW is taken as the identity; the prior in the KL terms is W as well.
                here = [x.detach().requires_grad_() for x in adapted]
                there = [x.detach().requires_grad_() for x in start]
                x, y = task.train.batch(fold_in(fold_in(k, 1), 0), config.inner_steps, config.inner.batch_size)
                noise_key = fold_in(fold_in(fold_in(k, 1), 1), config.inner_steps)
                loss = hand.loss(own, here, there, x.double(), y, noise_key, len(task.train))
                found = [
                    a + b
                    for a, b in zip(
                        torch.autograd.grad(loss, here, retain_graph=True),
                        torch.autograd.grad(loss, there, allow_unused=True, materialize_grads=True),
                        strict=True,
                    )
                ]
            body = net.layout.numel if config.inner.head == "kept" else net.head.start
            for i in range(3):
                if moving[i]:
                    kept = slice(0, body) if i < 2 else slice(None)
                    total[i][kept] += found[i].detach()[kept] / config.tasks
        for i in range(3):
            if moving[i]:
                w[i], outer_memory[i] = Hand.move(
                    outer_rule, config.outer.lr, w[i], total[i], outer_memory[i], outer_steps[i]
                )
                outer_steps[i] += 1
    return w


BASE = InnerConfig(
    z="soft",
    batch_size=5,
    mu=StepRule("sgd", ETA_MU),
    rho=StepRule("sgd", ETA_RHO),
    alpha=StepRule("sgd", ETA_ALPHA),
    clip=0.0,
    beta_theta=0.1,
    beta_z=0.7,
    head="kept",
)
INNER = {
    "plain": BASE,
    "clipped": replace(BASE, clip=0.05),
    "clip-not-reached": replace(BASE, clip=1e6),
    "zeroed": replace(BASE, head="zeroed", clip=0.5),
    "own": replace(BASE, head="own"),
    "concrete": replace(BASE, kl_z="concrete"),
    "mean-weights": replace(BASE, sample_theta=False, rho=StepRule("adam", 0.0)),
    "no-kl": replace(BASE, beta_theta=0.0, beta_z=0.0),
    "frozen-rho": replace(BASE, rho=StepRule("adam", 0.0), clip=0.3),
    "frozen-mu": replace(BASE, mu=StepRule("sgd", 0.0)),
    "momentum": replace(
        BASE,
        mu=StepRule("sgd", ETA_MU, momentum=0.9),
        rho=StepRule("sgd", ETA_RHO, momentum=0.5),
        alpha=StepRule("sgd", ETA_ALPHA, momentum=0.2),
    ),
    "adam": replace(
        BASE, mu=StepRule("adam", 0.003), rho=StepRule("adam", 0.01, beta1=0.5), alpha=StepRule("adam", 0.02, beta2=0.9)
    ),
    "natural": replace(
        BASE, mu=StepRule("natural", 0.5), rho=StepRule("natural", 0.4, momentum=0.5), alpha=StepRule("adam", 0.02)
    ),
}
CONFIG = MetaConfig(
    iterations=1,
    tasks=2,
    inner_steps=2,
    warmup=0,
    tau=Schedule(0.7, 0.7),
    noise=Schedule(1.0, 1.0),
    seed=3,
    outer=OuterConfig(lr=0.8),
    step_size=Schedule(),
)


def agree(config: MetaConfig) -> None:
    classes = (3, 2) if config.inner.head == "own" else (3,)
    net = toys.supernet()
    start = toys.prior(net)
    expected = by_hand(config, net, [start.mu, start.rho, start.alpha], classes)
    got = MetaTrainer(config, net).fit(toys.Tasks(classes), start=start)  # type: ignore[arg-type]
    moved = config.inner.mu.lr > 0, config.inner.rho.lr > 0, config.inner.alpha.lr > 0
    for before, a, b, moves in zip(
        (start.mu, start.rho, start.alpha), (got.mu, got.rho, got.alpha), expected, moved, strict=True
    ):
        assert a.dtype == torch.float64
        assert (a - b).abs().max().item() < TOLERANCE
        # Far above the tolerance: a step that did nothing would agree as well.
        assert (a - before).abs().max().item() > 1e-4 if moves else torch.equal(a, before)


@pytest.mark.parametrize("rule", ["reptile", "first_order", "unrolled"])
@pytest.mark.parametrize("inner", INNER)
def test_one_meta_iteration(inner: str, rule: Any) -> None:
    agree(replace(CONFIG, inner=INNER[inner], outer=OuterConfig(rule, lr=0.8)))


@pytest.mark.parametrize("rule", ["reptile", "first_order", "unrolled"])
def test_schedules_warmup_and_adam_outside(rule: Any) -> None:
    agree(
        replace(
            CONFIG,
            inner=INNER["zeroed"],
            outer=OuterConfig(rule, "adam", 0.01),
            iterations=4,
            warmup=1,
            tau=Schedule(1.0, 0.5),
            noise=Schedule(0.0, 1.0),
        )
    )


def test_reptile_at_lambda_one_ends_at_the_mean_of_the_adapted_posteriors() -> None:
    """One task: W is then ψᵀ itself, whatever the inner rule."""
    config = replace(CONFIG, inner=BASE, outer=OuterConfig("reptile", lr=1.0), tasks=1)
    net = toys.supernet()
    start = toys.prior(net)
    k = fold_in(fold_in(fold_in(key(config.seed), 1), 0), 0)
    leaves = [x.clone().requires_grad_() for x in (start.mu, start.rho, start.alpha)]
    task = toys.task(fold_in(k, 0))
    adapted, _ = Hand(BASE, 0.7, 1.0).adapt(net, leaves, task, fold_in(k, 1), 2, (True, True, True))
    got = MetaTrainer(config, net).fit(toys.Tasks(), start=start)  # type: ignore[arg-type]
    for a, b in zip((got.mu, got.rho, got.alpha), adapted, strict=True):
        assert (a - b).abs().max().item() < TOLERANCE
