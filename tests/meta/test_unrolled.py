"""The loss after the whole inner loop as a function of the prior and of the step sizes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from base_fast import MetaConfig, MetaTrainer
from base_fast.meta import InnerConfig, OuterConfig, Schedule, StepRule, Variables
from base_fast.meta.inner import InnerLoop
from base_fast.meta.variables import for_task
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.tasks import Task
from tests.meta import toys

BASE = InnerConfig(
    z="soft",
    batch_size=6,
    mu=StepRule("sgd", 0.05),
    rho=StepRule("sgd", 0.2),
    alpha=StepRule("sgd", 0.5),
    clip=0.0,
    beta_theta=0.05,
    beta_z=0.5,
    head="kept",
)
INNER = {
    "sgd": BASE,
    "clip": replace(BASE, clip=0.1),
    "zeroed": replace(BASE, head="zeroed"),
    "concrete": replace(BASE, kl_z="concrete"),
    "momentum": replace(BASE, mu=StepRule("sgd", 0.05, momentum=0.9), alpha=StepRule("sgd", 0.5, momentum=0.5)),
    "adam": replace(BASE, mu=StepRule("adam", 0.002), rho=StepRule("adam", 0.01), alpha=StepRule("adam", 0.02)),
    "adam-clip": replace(BASE, mu=StepRule("adam", 0.002), rho=StepRule("adam", 0.01), clip=0.1),
    "natural": replace(BASE, mu=StepRule("natural", 0.3), rho=StepRule("natural", 0.3, momentum=0.3)),
}
STEPS = 2


def loss_after(inner: InnerConfig, mu: Tensor, rho: Tensor, alpha: Tensor, *logs: Tensor) -> Tensor:
    net, start = for_task(toys.supernet(), Variables(mu, rho, alpha), inner.head, 3)
    task = toys.task(key(5))
    sizes = Variables(*(x.exp() for x in logs))
    loop = InnerLoop(net, start, task, key(6), inner, tau=0.8, noise=1.0, step_sizes=sizes, differentiable=True)
    state = loop.start()
    for _ in range(STEPS):
        state, _, norm = loop.step(state)
        assert inner.clip == 0.0 or norm > inner.clip
    return loop.loss(state.q, STEPS).loss


@pytest.mark.parametrize("name", INNER)
def test_gradcheck(name: str) -> None:
    inner = INNER[name]
    prior = toys.prior(toys.supernet())
    logs = [torch.tensor([math.log(r.lr), math.log(r.lr) + 0.3], dtype=torch.float64) for r in inner.rules.values()]
    inputs = [x.clone().requires_grad_() for x in (prior.mu, prior.rho, prior.alpha, *logs)]
    # Every input must matter, or the check would hold for zeros.
    gradients = torch.autograd.grad(loss_after(inner, *inputs), inputs)
    assert all(g.abs().max().item() > 1e-6 for g in gradients)
    # Along random directions: with some 300 inputs the whole Jacobian takes a minute.
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(
        lambda *x: loss_after(inner, *x), inputs, eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("name", INNER)
def test_the_differentiable_loop_takes_the_same_steps(name: str) -> None:
    prior = toys.prior(toys.supernet())
    net, start = for_task(toys.supernet(), Variables.of(prior).leaves(), INNER[name].head, 3)
    plain = InnerLoop(net, start, toys.task(key(5)), key(6), INNER[name], tau=0.8, noise=1.0)
    graph = replace(plain, differentiable=True)
    a, b = plain.start(), graph.start()
    for _ in range(3):
        a, terms_a, norm_a = plain.step(a)
        b, terms_b, norm_b = graph.step(b)
        assert math.isclose(norm_a, norm_b, rel_tol=1e-12)
        torch.testing.assert_close(terms_a.loss, terms_b.loss, rtol=1e-12, atol=1e-12)
    assert not any(x.requires_grad for x in a.q)
    for x, y in zip(a.q, b.q, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


class OneTask:
    """The same task each time."""

    def sample(self, task_key: Tensor) -> Task:
        return toys.task(key(1))


def test_learned_step_sizes_move_and_reduce_the_loss(tmp_path: Path) -> None:
    inner = InnerConfig(
        z="soft",
        beta_z=0.0,
        batch_size=12,
        mu=StepRule("sgd", 0.1),
        rho=StepRule("sgd", 0.0),
        alpha=StepRule("sgd", 0.1),
        clip=0.0,
        sample_theta=False,
    )
    # The prior is as good as fixed, there is no noise and a batch is everything: only the step sizes can help.
    config = MetaConfig(
        inner=inner,
        outer=OuterConfig("unrolled", lr=1e-12, step_size_lr=0.3),
        iterations=12,
        inner_steps=3,
        warmup=0,
        step_size=Schedule(),
    )
    net = toys.supernet()
    run = RunFolder.create(tmp_path / "run", "meta-train", config)
    MetaTrainer(config, net).fit(OneTask(), run=run, start=toys.prior(net))  # type: ignore[arg-type]
    losses = [row["loss_last"] for row in run.rows("meta")]
    assert losses[-1] < losses[0] - 0.1
    assert all(b < a for a, b in itertools.pairwise(losses[:4]))
    found = run.load_checkpoint("meta")
    assert found is not None
    mu, rho, alpha = (found[0][f"log_step_sizes.{group}"] for group in ("mu", "rho", "alpha"))
    assert mu.shape == (3,)
    assert bool((mu > math.log(0.1) + 0.5).all())
    # The head is zero at the first step, so nothing before it has a gradient.
    assert bool(((alpha[1:] - math.log(0.1)).abs() > 1e-3).all())
    assert torch.equal(rho, torch.zeros(3, dtype=torch.float64))


def test_unrolled_is_not_first_order() -> None:
    net = toys.supernet()
    start = toys.prior(net)
    config = MetaConfig(
        inner=BASE, iterations=1, inner_steps=3, warmup=0, noise=Schedule(1.0, 1.0), step_size=Schedule()
    )
    ends = [
        MetaTrainer(replace(config, outer=OuterConfig(rule)), net).fit(toys.Tasks(), start=start)  # type: ignore[arg-type]
        for rule in ("first_order", "unrolled", "reptile")
    ]
    for i, a in enumerate(ends):
        for b in ends[:i]:
            assert (a.mu - b.mu).abs().max().item() > 1e-3
            assert (a.alpha - b.alpha).abs().max().item() > 1e-4
