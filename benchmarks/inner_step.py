"""One search step of the supernet on flat weights, beside the same network in ordinary modules with torch.optim.SGD.

The opponent runs channels-last, its fastest eager form on these CPUs. Both take the same step from the same weights,
and are timed only where they agree.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional as F

from base_fast.meta import InnerConfig, StepRule
from base_fast.meta.inner import InnerLoop
from base_fast.meta.variables import Variables
from base_fast.random import fold_in, key
from base_fast.supernet import Supernet
from base_fast.tasks import Split
from benchmarks.plain_darts import PlainDarts, name_in_supernet

LR = 0.3
CLASSES = 10


def setup(channels: int, layers: int, batch: int, resolution: int) -> tuple[InnerLoop, PlainDarts]:
    """Our inner loop and the ordinary modules, with the same weights and data."""
    supernet = Supernet("darts", channels, layers, CLASSES)
    prior = Variables.of(supernet.prior(key(0)))
    images = torch.randint(0, 256, (4 * batch, 3, resolution, resolution), dtype=torch.uint8)
    labels = torch.arange(len(images)) % CLASSES
    split = Split(images, labels, CLASSES, torch.full((3,), 0.5), torch.full((3,), 0.25))
    config = InnerConfig(
        batch_size=batch, mu=StepRule("sgd", LR), alpha=StepRule("sgd", LR), clip=0.0, sample_theta=False
    )
    loop = InnerLoop(supernet, prior, split, key(1), config)
    plain = PlainDarts(channels, layers, CLASSES)
    named = supernet.layout.named(prior.mu)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(named[name_in_supernet(name)])
    return loop, plain.to(memory_format=torch.channels_last)


def ours(loop: InnerLoop) -> Callable[[], float]:
    state = loop.start()

    def step() -> float:
        return loop.step(state)[1].loss.item()

    return step


def theirs(loop: InnerLoop, plain: PlainDarts) -> Callable[[], float]:
    alpha = loop.prior.alpha.clone().requires_grad_()
    optimizer = torch.optim.SGD([*plain.parameters(), alpha], lr=0.0, foreach=True)

    def step() -> float:
        x, y = loop.train.batch(fold_in(loop.key, 0), 0, loop.config.batch_size)
        loss = F.cross_entropy(plain(x, torch.softmax(alpha, dim=-1)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


@pytest.mark.parametrize("side", ["base_fast", "modules"])
@pytest.mark.parametrize(("channels", "layers", "batch", "resolution"), [(8, 3, 16, 16), (16, 3, 32, 16)])
def test_inner_step(
    benchmark: BenchmarkFixture, side: str, channels: int, layers: int, batch: int, resolution: int
) -> None:
    loop, plain = setup(channels, layers, batch, resolution)
    steps = {"base_fast": ours(loop), "modules": theirs(loop, plain)}
    assert steps["base_fast"]() == pytest.approx(steps["modules"](), rel=1e-4)
    benchmark.extra_info["threads"] = torch.get_num_threads()
    benchmark.pedantic(steps[side], rounds=10, warmup_rounds=2)
