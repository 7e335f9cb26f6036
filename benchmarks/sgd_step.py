"""A clipped gradient step on mu and rho, beside clip_grad_norm_ and torch.optim.SGD.

The optimizers work in place, on copies of their own; ours returns new vectors, since a task's first step starts from a
prior that other tasks share. Their first step is compared with ours, the later ones do the same work on other values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from benchmarks.case import Case, Contender, Outputs, Run, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark

LRS = [0.1, 0.01]
CLIP = 5.0
# PyTorch's norm of 10 million float32 is off by 3.6e-4, and its clipped step with it.
NORM_FLOAT32 = 1e-3


@dataclass(frozen=True)
class Step:
    """mu and rho (P,) with their gradients."""

    variables: list[Tensor]
    gradients: list[Tensor]

    @classmethod
    def of(cls, p: int) -> Step:
        return cls([torch.randn(p), torch.randn(p)], [torch.randn(p), torch.randn(p)])


def plain(variables: list[Tensor], gradients: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    scale = (CLIP / norm).clamp(max=1.0)
    return [x - lr * scale * g for x, lr, g in zip(variables, LRS, gradients, strict=True)], norm


def outputs(_s: Step, result: tuple[list[Tensor], Tensor]) -> Outputs:
    (mu, rho), norm = result
    return {"mu": mu, "rho": rho, "norm": norm}


def optimizer(s: Step, **options: Any) -> Run:
    variables = [x.clone().requires_grad_() for x in s.variables]
    for x, gradient in zip(variables, s.gradients, strict=True):
        x.grad = gradient.clone()
    groups = [{"params": [x], "lr": lr} for x, lr in zip(variables, LRS, strict=True)]
    sgd = torch.optim.SGD(groups, lr=0.0, **options)

    def step() -> tuple[list[Tensor], Tensor]:
        norm = clip_grad_norm_(variables, CLIP, foreach=True)
        sgd.step()
        return variables, norm

    return step


def ours(s: Step) -> Run:
    op = public("ops.sgd_step")
    return lambda: op(s.variables, s.gradients, LRS, CLIP)


def by_inductor(s: Step) -> Run:
    formula = compiled(plain)
    return lambda: formula(s.variables, s.gradients)


def expected(s: Step) -> Outputs:
    return outputs(s, plain([x.double() for x in s.variables], [g.double() for g in s.gradients]))


CASES = (
    Case(
        op="sgd_step",
        name="mu and rho, clipped",
        setup=Step.of,
        expected=expected,
        ours=Contender(ours, outputs),
        opponents={
            "SGD(foreach)": Contender(partial(optimizer, foreach=True), outputs, tolerance=NORM_FLOAT32),
            "SGD(fused)": Contender(partial(optimizer, fused=True), outputs, tolerance=NORM_FLOAT32),
            "torch.compile": Contender(by_inductor, outputs),
        },
        sizes={"p": 10_000_000},
        quick={"p": 10_000},
        # The gradients' norm has to be known before any of them is used: they are read twice.
        floor=lambda s: 8 * s.variables[0].nbytes,
    ),
)

test_sgd_step = pytest_benchmark(CASES)
