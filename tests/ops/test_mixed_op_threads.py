"""Supernets in several Python threads at once: each computes what it computes alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from base_fast.random import key
from base_fast.supernet import Supernet
from benchmarks.plain_darts import PRIMITIVES
from tests.ops.contract import gradients
from tests.ops.edges import draw, edge

ROUNDS = 6


def supernet_run(channels: int, size: int, seed: int, hard: bool = False) -> Callable[[], list[Tensor]]:
    supernet = Supernet("darts", channels, 3, 5)
    theta = supernet.prior(key(seed)).mu
    theta[supernet.head] = 0.1
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, size, size, generator=generator)
    z = torch.randn(2, 14, 8, generator=generator).softmax(-1)
    if hard:
        z = torch.nn.functional.one_hot(z.argmax(-1), 8).float()

    def run() -> list[Tensor]:
        value, found = gradients(lambda x, theta, z: supernet(x, theta, z, hard), [x, theta, z])
        return [value, *found]

    return run


def edge_run(size: tuple[int, ...], stride: int) -> Callable[[], list[Tensor]]:
    inputs = draw(size, PRIMITIVES, stride, torch.float32)

    def run() -> list[Tensor]:
        value, found = gradients(edge(PRIMITIVES, stride), inputs)
        return [value, *found]

    return run


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: [supernet_run(4, 16, 1), supernet_run(6, 9, 2)],
        lambda: [supernet_run(4, 12, 3), supernet_run(4, 12, 3, hard=True)],
        # Scratch memory that grows in one thread while another works in its own.
        lambda: [edge_run((3, 5, 8, 8), 1), edge_run((4, 40, 16, 16), 2), edge_run((8, 16, 12, 12), 1)],
    ],
    ids=["supernets", "soft and hard", "edges"],
)
def test_threads_do_not_meet(make: Callable[[], list[Callable[[], list[Tensor]]]], pool: int, threads: None) -> None:
    torch.set_num_threads(pool)
    runs = make()
    alone = [run() for run in runs]
    with ThreadPoolExecutor(len(runs)) as executor:
        together = [[executor.submit(run) for run in runs] for _ in range(ROUNDS)]
        for futures in together:
            for future, expected in zip(futures, alone, strict=True):
                for one, other in zip(future.result(), expected, strict=True):
                    assert torch.equal(one, other)
