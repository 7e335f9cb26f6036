"""Σ_l w_l·x_l with all gradients, beside the chain that DARTS code writes and what a careful user would write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.branches import LAYOUTS, QUICK, SIZES, Branches
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster

Formula = Callable[[list[Tensor], Tensor], Tensor]


def chain(branches: list[Tensor], weights: Tensor) -> Tensor:
    total = weights[0] * branches[0]
    for i in range(1, len(branches)):
        total = total + weights[i] * branches[i]
    return total


def foreach(branches: list[Tensor], weights: Tensor) -> Tensor:
    first, *others = torch._foreach_mul(branches, list(weights.unbind()))
    for other in others:
        first = first + other
    return first


def einsum(branches: list[Tensor], weights: Tensor) -> Tensor:
    return torch.einsum("l,lbchw->bchw", weights, torch.stack(branches))


def stacked(branches: list[Tensor], weights: Tensor) -> Tensor:
    return (torch.stack(branches) * weights.view(-1, 1, 1, 1, 1)).sum(0)


def work(s: Branches, formula: Formula) -> Outputs:
    return gradients({"y": formula(s.branches, s.weights)}, {"y": s.grad}, s.leaves)


def ours(s: Branches) -> Run:
    op = public("ops.mixed_sum")
    return lambda: work(s, op)


def opponent(formula: Formula) -> Contender:
    return Contender(lambda s: lambda: work(s, formula))


def by_inductor(s: Branches) -> Run:
    formula = compiled(chain)
    return lambda: work(s, formula)


def case(layout: str) -> Case:
    return Case(
        op="mixed_sum",
        name=f"forward + backward, {layout}",
        setup=partial(Branches.of, layout=LAYOUTS[layout]),
        expected=lambda s: work(s.double(), chain),
        ours=Contender(ours),
        opponents={
            "eager chain": opponent(chain),
            "foreach": opponent(foreach),
            "stack + einsum": opponent(einsum),
            "stack + sum": opponent(stacked),
            "torch.compile": Contender(by_inductor),
        },
        sizes=SIZES,
        quick=QUICK,
        tolerance=2e-5,
        floor=lambda s: s.moved,
        targets=(Faster(3.0, "eager chain"),),
    )


CASES = tuple(case(layout) for layout in LAYOUTS)

test_mixed_sum = pytest_benchmark(CASES)
