"""PARSEC's two promises: memory of one child whatever K is, and a bias of its estimate that falls as 1/K.

    python -m benchmarks.parsec

Memory is that of a step of a NAS-Bench-201 supernet, in fresh processes: what goes through PyTorch's allocator, which
is exact; and the largest resident size less that before the first step, the median of several processes that all train
as many different children. These have a convolution on every edge, 3×3 or 1×1: one is about as large as another.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import tyro
from torch.nn import functional as F

from base_fast.distributions import IndependentEdges
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.random import key
from base_fast.reports.tables import ResultTable, print_table
from base_fast.runs import Clock
from base_fast.space import NAS_BENCH_201
from base_fast.strategies import Parsec, ParsecSearch
from base_fast.supernet import Supernet
from base_fast.tasks import Split, Task
from benchmarks.listed import Listed
from benchmarks.memory import extra_bytes
from benchmarks.process_memory import largest_resident

ONE, MIXTURE = "one child", "mixture of all primitives"
PARSEC = {f"PARSEC, K = {k}": k for k in (4, 16)}
STEPS = {ONE: 16, MIXTURE: 4} | {name: 16 // k for name, k in PARSEC.items()}
CLASSES, LAYERS, REDUCTIONS = 10, 5, (1, 3)
CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
CERTAIN = 60.0
"""Logits of what is drawn, over those of what is not."""


@dataclass(frozen=True)
class Sizes:
    """Of the memory's steps, and of the estimates."""

    batch: int = 64
    """Images of a step."""
    channels: int = 16
    """Channels of the first cell."""
    pixels: int = 32
    """Height and width."""
    processes: int = 3
    """Processes of which the median is taken."""
    estimates: int = 200_000
    """Estimates of which the mean is taken."""


def step(name: str, sizes: Sizes) -> Callable[[int], object]:
    """A contender's step, by its number."""
    draws = torch.Generator().manual_seed(0)
    shape = (sizes.batch, 3, sizes.pixels, sizes.pixels)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=draws)
    split = Split(images, torch.arange(sizes.batch) % CLASSES, CLASSES, torch.full((3,), 0.5), torch.full((3,), 0.3))
    task = Task("noise", split, split, CLASSES, sizes.pixels, tuple(map(str, range(CLASSES))))
    supernet = Supernet(NAS_BENCH_201, sizes.channels, LAYERS, CLASSES, reductions=REDUCTIONS)
    prior = supernet.prior(key(0))
    training = SharedTrainingConfig(steps=1000, batch_size=sizes.batch)
    logits = torch.zeros_like(prior.alpha)
    for primitive in CONVOLUTIONS:
        logits[..., NAS_BENCH_201.primitives.index(primitive)] = CERTAIN
    if name in PARSEC:
        settings = Parsec(training, children=PARSEC[name], warm_up=0.0)
        search = ParsecSearch(settings, supernet, prior.mu, logits, task, key(0))
        state = search.start(Clock()).state
        return lambda number: search.step(state._replace(step=number), Clock())
    shared = SharedTraining(supernet, split, training, key(0))
    momentum = torch.zeros_like(prior.mu)
    if name == MIXTURE:
        z = torch.softmax(torch.zeros_like(logits), dim=-1).requires_grad_(True)
        return lambda number: shared.step(prior.mu, momentum, z, number, hard=False)
    children = IndependentEdges(NAS_BENCH_201, logits.double()).sample(key(0), STEPS[ONE])
    paths = F.one_hot(children, NAS_BENCH_201.num_primitives).to(prior.mu)
    return lambda number: shared.step(prior.mu, momentum, paths[number], number)


def resident(name: str, sizes: Sizes) -> int:
    """Bytes that a contender's steps take in this process, which should be a fresh one."""
    take = step(name, sizes)
    before = largest_resident()
    for number in range(STEPS[name]):
        take(number)
    return largest_resident() - before


def allocated(name: str, sizes: Sizes) -> int:
    """Bytes that go through PyTorch's allocator in a contender's step, at most at once."""
    take = step(name, sizes)
    return extra_bytes(lambda: take(0))


def memory(sizes: Sizes) -> ResultTable:
    """The peaks of all contenders, each in processes of its own."""
    measured = {}
    for name in STEPS:
        found = [_in_a_process("resident", name, sizes) for _ in range(sizes.processes)]
        measured[name] = (median(found), _in_a_process("allocated", name, sizes))
    one = measured[ONE]
    rows = tuple((name, x, x / one[0], y, y / one[1]) for name, (x, y) in measured.items())
    title = f"Peak memory of a step: batch {sizes.batch}, {sizes.channels} channels, {sizes.pixels} pixels"
    columns = ("step", "resident (MiB)", "of one child", "allocated (MiB)", "of one child's")
    return ResultTable(title, columns, rows)


def _in_a_process(measure: str, name: str, sizes: Sizes) -> float:
    """MiB."""
    code = f"from benchmarks.parsec import *; torch.set_num_threads(1); print({measure}({name!r}, {sizes!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / 2**20


def bias(sizes: Sizes) -> ResultTable:
    """How far the mean of many estimates is from the enumerated gradient, by K."""
    rows = []
    for primitives in (3, 5):
        listed = Listed(primitives, images=12)
        exact = listed.exact()
        for children in (1, 4, 16, 64):
            found = listed.estimates(children, sizes.estimates)
            off = (found.mean(dim=0) - exact).norm().item() / exact.norm().item()
            noise = (found.std(dim=0) / sizes.estimates**0.5).norm().item() / exact.norm().item()
            rows.append((primitives**2, children, 100.0 * off, 100.0 * noise, children * off))
    columns = ("architectures", "K", "bias (%)", "its noise (%)", "K · bias")
    return ResultTable("Mean of PARSEC's estimates against the enumerated gradient", columns, tuple(rows))


def main(sizes: Sizes) -> int:
    print_table(memory(sizes))
    print_table(bias(sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Sizes, description=__doc__)))
