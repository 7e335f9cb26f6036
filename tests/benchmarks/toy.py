"""A case of the harness's own tests: y = 2x, with contenders that are right, wrong, absent and broken."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.case import Absent, Case, Contender, Outputs, Run, gradients
from benchmarks.targets import Faster


@dataclass(frozen=True)
class Toy:
    x: Tensor
    grad: Tensor

    @classmethod
    def of(cls, p: int) -> Toy:
        return cls(torch.randn(p).requires_grad_(), torch.randn(p))


def times(factor: float) -> Contender:
    def build(s: Toy) -> Run:
        return lambda: gradients({"y": s.x * factor}, {"y": s.grad}, {"x": s.x})

    return Contender(build)


def wrong_gradient(s: Toy) -> Run:
    def run() -> Outputs:
        right = gradients({"y": s.x * 2.0}, {"y": s.grad}, {"x": s.x})
        return {**right, "grad x": 1.1 * right["grad x"]}

    return run


def absent(_s: Toy) -> Run:
    raise Absent("it is not made yet")


def broken(_s: Toy) -> Run:
    raise RuntimeError("two\nlines")


def expected(s: Toy) -> Outputs:
    return {"y": 2.0 * s.x.detach().double(), "grad x": 2.0 * s.grad.double()}


def case(ours: Contender | None = None, **opponents: Contender) -> Case:
    return Case(
        op="toy",
        name="double",
        setup=Toy.of,
        expected=expected,
        ours=ours or times(2.0),
        opponents=opponents or {"plain": times(2.0)},
        sizes={"p": 1000},
        quick={"p": 8},
        floor=lambda s: 4 * s.x.nbytes,
        targets=(Faster(3.0), Faster(2.0, "plain")),
    )
