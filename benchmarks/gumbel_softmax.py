"""Gumbel-Softmax with its gradient, beside torch.nn.functional.gumbel_softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.random import key
from base_fast.reference.gumbel_softmax import gumbel_softmax as reference
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster

Formula = Callable[[Tensor], Tensor]
TAU = 1.0


@dataclass(frozen=True)
class Logits:
    """logits and grad (rows, L)."""

    logits: Tensor
    grad: Tensor
    key: Tensor

    @classmethod
    def of(cls, rows: int, l: int) -> Logits:
        return cls(torch.randn(rows, l).requires_grad_(), torch.randn(rows, l), key(0))


def plain(logits: Tensor) -> Tensor:
    return F.gumbel_softmax(logits, tau=TAU)


def work(s: Logits, sample: Formula) -> Outputs:
    return gradients({"z": sample(s.logits)}, {"z": s.grad}, {"logits": s.logits})


def expected(s: Logits) -> Outputs:
    double = Logits(s.logits.detach().double().requires_grad_(), s.grad.double(), s.key)
    return work(double, lambda logits: reference(logits, s.key, TAU, False, 1.0))


def ours(s: Logits) -> Run:
    op = public("ops.gumbel_softmax")
    return lambda: work(s, lambda logits: op(logits, s.key, TAU))


def by_inductor(s: Logits) -> Run:
    formula = compiled(plain)
    return lambda: work(s, formula)


def case(rows: int, quick: int, ratio: float) -> Case:
    return Case(
        op="gumbel_softmax",
        name="forward + backward",
        setup=Logits.of,
        expected=expected,
        ours=Contender(ours),
        opponents={"eager": Contender(lambda s: lambda: work(s, plain)), "torch.compile": Contender(by_inductor)},
        sizes={"rows": rows, "l": 8},
        quick={"rows": quick, "l": 8},
        noisy=frozenset({"z", "grad logits"}),
        # Logits read, z written; z and its gradient read, the logits' gradient written.
        floor=lambda s: 5 * s.logits.nbytes,
        targets=(Faster(ratio, "eager"),),
    )


CASES = (case(1_000_000, 1_000, 12.0), case(14, 14, 1.0))

test_gumbel_softmax = pytest_benchmark(CASES)
