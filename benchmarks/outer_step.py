"""W + λ·(mean of the adapted − W), beside the foreach functions over the tensors of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.case import Case, Contender, Outputs, Run, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster, NearFloor

Foreach = Callable[[list[Tensor], list[list[Tensor]]], list[Tensor]]
STEP_SIZE = 0.1
# A model of a hundred tensors, as foreach functions take it.
PIECES = 100


@dataclass(frozen=True)
class Tasks:
    """The prior (P,) and what C tasks made of it."""

    prior: Tensor
    adapted: list[Tensor]

    @classmethod
    def of(cls, tasks: int, p: int) -> Tasks:
        prior = torch.randn(p)
        return cls(prior, [prior + 0.1 * torch.randn(p) for _ in range(tasks)])


def plain(prior: Tensor, adapted: list[Tensor]) -> Tensor:
    return prior + STEP_SIZE * (sum(adapted) / len(adapted) - prior)


def in_place(prior: Tensor, adapted: list[Tensor]) -> Tensor:
    total = adapted[0] + adapted[1]
    for other in adapted[2:]:
        total += other
    return total.div_(len(adapted)).sub_(prior).mul_(STEP_SIZE).add_(prior)


def stacked(prior: Tensor, adapted: list[Tensor]) -> Tensor:
    return prior.lerp(torch.stack(adapted).mean(0), STEP_SIZE)


def foreach(prior: list[Tensor], adapted: list[list[Tensor]]) -> list[Tensor]:
    total = torch._foreach_add(adapted[0], adapted[1])
    for other in adapted[2:]:
        torch._foreach_add_(total, other)
    torch._foreach_div_(total, float(len(adapted)))
    return list(torch._foreach_lerp(prior, total, STEP_SIZE))


def differences(prior: list[Tensor], adapted: list[list[Tensor]]) -> list[Tensor]:
    """As the formula is often written: the mean of the tasks' changes, then a step along it."""
    total = torch._foreach_sub(adapted[0], prior)
    for other in adapted[1:]:
        torch._foreach_add_(total, torch._foreach_sub(other, prior))
    return list(torch._foreach_add(prior, total, alpha=STEP_SIZE / len(adapted)))


def over_tensors(s: Tasks, formula: Foreach) -> Run:
    def pieces(x: Tensor) -> list[Tensor]:
        return list(x.chunk(PIECES))

    prior, adapted = pieces(s.prior), [pieces(x) for x in s.adapted]
    return lambda: formula(prior, adapted)


def joined(_s: Tasks, result: list[Tensor]) -> Outputs:
    return {"prior": torch.cat(result)}


def theirs(formula: Callable[[Tensor, list[Tensor]], Tensor]) -> Contender:
    return Contender(lambda s: lambda: {"prior": formula(s.prior, s.adapted)})


def ours(s: Tasks) -> Run:
    op = public("ops.outer_step")
    return lambda: {"prior": op(s.prior, s.adapted, STEP_SIZE)}


def by_inductor(s: Tasks) -> Run:
    formula = compiled(plain)
    return lambda: {"prior": formula(s.prior, s.adapted)}


def expected(s: Tasks) -> Outputs:
    return {"prior": plain(s.prior.double(), [x.double() for x in s.adapted])}


CASES = (
    Case(
        op="outer_step",
        name="one step",
        setup=Tasks.of,
        expected=expected,
        ours=Contender(ours),
        opponents={
            "foreach": Contender(partial(over_tensors, formula=foreach), joined),
            "foreach, differences": Contender(partial(over_tensors, formula=differences), joined),
            "in place": theirs(in_place),
            "stack + lerp": theirs(stacked),
            "torch.compile": Contender(by_inductor),
        },
        sizes={"tasks": 8, "p": 10_000_000},
        quick={"tasks": 3, "p": 10_000},
        # Prior and adapted read, the new prior written.
        floor=lambda s: (len(s.adapted) + 2) * s.prior.nbytes,
        targets=(Faster(3.0, "foreach"), NearFloor(1.5)),
    ),
)

test_outer_step = pytest_benchmark(CASES)
