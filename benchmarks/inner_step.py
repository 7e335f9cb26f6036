"""One search step of the supernet on flat weights, beside the same network in ordinary modules with torch.optim.SGD.

The opponent runs channels-last, its fastest eager form on CPUs with AVX-512. Both take the gradient of the same loss at
the same weights; the opponent's step size is 0, so that it stays there, at the same cost.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.meta import InnerConfig, StepRule
from base_fast.meta.elbo import Elbo
from base_fast.meta.inner import InnerLoop, InnerState
from base_fast.meta.variables import Variables
from base_fast.random import fold_in, key
from base_fast.supernet import Supernet
from base_fast.tasks import Split, Task
from benchmarks.case import Case, Contender, Outputs, Run
from benchmarks.harness import pytest_benchmark
from benchmarks.plain_darts import PlainDarts, name_in_supernet

LR = 0.3
CLASSES = 10


@dataclass(frozen=True)
class Networks:
    """Our inner loop and the ordinary modules, with the same weights and data."""

    loop: InnerLoop
    plain: PlainDarts
    alpha: Tensor

    @classmethod
    def of(cls, channels: int, layers: int, batch: int, height: int) -> Networks:
        supernet = Supernet("darts", channels, layers, CLASSES)
        prior = Variables.of(supernet.prior(key(0)))
        images = torch.randint(0, 256, (4 * batch, 3, height, height), dtype=torch.uint8)
        labels = torch.arange(len(images)) % CLASSES
        split = Split(images, labels, CLASSES, torch.full((3,), 0.5), torch.full((3,), 0.25))
        config = InnerConfig(
            z="soft",
            beta_z=0.0,
            batch_size=batch,
            mu=StepRule("sgd", LR),
            alpha=StepRule("sgd", LR),
            clip=0.0,
            sample_theta=False,
        )
        plain = PlainDarts(channels, layers, CLASSES)
        named = supernet.layout.named(prior.mu)
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                parameter.copy_(named[name_in_supernet(name)])
        task = Task("noise", split, split, CLASSES, height, tuple(map(str, range(CLASSES))))
        loop = InnerLoop(supernet, prior, task, key(1), config)
        return cls(loop, plain.to(memory_format=torch.channels_last), prior.alpha.clone().requires_grad_())


def ours(n: Networks) -> Run:
    state = n.loop.start()

    def step() -> tuple[InnerState, Elbo, float]:
        return n.loop.step(state)

    return step


def read_ours(n: Networks, result: tuple[InnerState, Elbo, float]) -> Outputs:
    """The gradients from the step that was taken."""
    (after, *_), terms, _ = result
    before = n.loop.start().q
    taken = {name: (getattr(before, name) - getattr(after, name)) / LR for name in ("mu", "alpha")}
    return {"loss": terms.loss, **taken}


def modules(n: Networks) -> Run:
    optimizer = torch.optim.SGD([*n.plain.parameters(), n.alpha], lr=0.0, foreach=True)

    def step() -> Tensor:
        x, y = n.loop.task.train.batch(fold_in(n.loop.key, 0), 0, n.loop.config.batch_size)
        loss = F.cross_entropy(n.plain(x, torch.softmax(n.alpha, dim=-1)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def read_modules(n: Networks, loss: Tensor) -> Outputs:
    assert n.alpha.grad is not None
    mu = torch.zeros_like(n.loop.prior.mu)
    named = n.loop.supernet.layout.named(mu)
    for name, parameter in n.plain.named_parameters():
        if parameter.grad is not None:
            named[name_in_supernet(name)].copy_(parameter.grad)
    return {"loss": loss, "mu": mu, "alpha": n.alpha.grad}


def expected(n: Networks) -> Outputs:
    """The modules in float64."""
    x, y = n.loop.task.train.batch(fold_in(n.loop.key, 0), 0, n.loop.config.batch_size)
    double = Networks(n.loop, copy.deepcopy(n.plain).double(), n.alpha.detach().double().requires_grad_())
    loss = F.cross_entropy(double.plain(x.double(), torch.softmax(double.alpha, dim=-1)), y)
    loss.backward()
    return read_modules(double, loss)


def case(channels: int, batch: int) -> Case:
    return Case(
        op="inner_step",
        name="loss, gradients, step",
        setup=Networks.of,
        expected=expected,
        ours=Contender(ours, read_ours),
        opponents={"modules": Contender(modules, read_modules)},
        sizes={"channels": channels, "layers": 3, "batch": batch, "height": 16},
        quick={"channels": 2, "layers": 3, "batch": 4, "height": 16},
        # Three cells deep, and our gradient is a difference of weights divided by the step size.
        tolerance=2e-3,
    )


CASES = (case(8, 16), case(16, 32))

test_inner_step = pytest_benchmark(CASES)
