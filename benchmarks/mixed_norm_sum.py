"""Σ_l w_l·BatchNorm(x_l) with all gradients, beside batch norms, products and sums one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.branches import LAYOUTS, QUICK, SIZES, Branches
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster, SavedMemory, Target

Formula = Callable[[list[Tensor], Tensor], Tensor]
EPS = 1e-5
# What is kept for backward -> largest error: statistics and noise of float32, or branches rounded to 8 bits.
MEMORY = MappingProxyType({"store": 5e-5, "store_bf16": 2e-2})


def normalize(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True, eps=EPS)


def chain(branches: list[Tensor], weights: Tensor) -> Tensor:
    total = weights[0] * normalize(branches[0])
    for i in range(1, len(branches)):
        total = total + weights[i] * normalize(branches[i])
    return total


def concatenated(branches: list[Tensor], weights: Tensor) -> Tensor:
    """One batch norm over all branches' channels; the weights enter as its scale."""
    channels = branches[0].shape[1]
    scale = weights.repeat_interleave(channels)
    y = F.batch_norm(torch.cat(branches, 1), None, None, weight=scale, training=True, eps=EPS)
    return y.unflatten(1, (len(branches), channels)).sum(1)


def scaled(branches: list[Tensor], weights: Tensor) -> Tensor:
    """The weight of a branch as the scale of its batch norm, which saves the product."""
    channels = branches[0].shape[1]
    total: Tensor | None = None
    for x, weight in zip(branches, weights.unbind(), strict=True):
        y = F.batch_norm(x, None, None, weight=weight.expand(channels).contiguous(), training=True, eps=EPS)
        total = y if total is None else total + y
    assert total is not None
    return total


def work(s: Branches, formula: Formula) -> Outputs:
    return gradients({"y": formula(s.branches, s.weights)}, {"y": s.grad}, s.leaves)


def theirs(formula: Formula) -> Contender:
    return Contender(lambda s: lambda: work(s, formula))


def by_inductor(s: Branches) -> Run:
    formula = compiled(chain)
    return lambda: work(s, formula)


def case(layout: str, memory: str) -> Case:
    def ours(s: Branches) -> Run:
        op = partial(public("ops.mixed_norm_sum"), eps=EPS, memory=memory)
        return lambda: work(s, op)

    targets: tuple[Target, ...] = (Faster(4.0, "eager chain"),)
    if memory == "store_bf16":
        targets += (SavedMemory(0.25, "eager chain"),)
    return Case(
        op="mixed_norm_sum",
        name=f"forward + backward, {layout}, {memory}",
        setup=partial(Branches.of, layout=LAYOUTS[layout]),
        expected=lambda s: work(s.double(), chain),
        ours=Contender(ours),
        opponents={
            "eager chain": theirs(chain),
            "scale in batch norm": theirs(scaled),
            "one batch norm": theirs(concatenated),
            "torch.compile": Contender(by_inductor),
        },
        sizes=SIZES,
        quick=QUICK,
        tolerance=MEMORY[memory],
        floor=lambda s: s.moved,
        targets=targets,
    )


CASES = tuple(case(layout, memory) for layout in LAYOUTS for memory in MEMORY)

test_mixed_norm_sum = pytest_benchmark(CASES)
