"""What a benchmark is: one set-up, from which values, speed and memory are all taken.

Every file of an op lists its `CASES`. A contender builds, from the set-up, a call without arguments that does the whole
work and returns what it computed, by name; gradients are named "grad ...".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor

import base_fast
from benchmarks.targets import OURS, Target
from benchmarks.timing import Run

Outputs: TypeAlias = Mapping[str, Tensor]

PROSE = MappingProxyType({"p": "P", "batch": "B", "channels": "C", "height": "H = W", "rows": "rows", "l": "L"})


class Absent(Exception):
    """A contender that this machine or this version does not have, with the reason."""


def public(path: str, *arguments: str) -> Callable[..., Any]:
    """`base_fast.<path>`, looked up when it is needed; `Absent` where it does not exist or lacks an argument."""
    try:
        found: Callable[..., Any] = reduce(getattr, path.split("."), base_fast)
    except AttributeError:
        raise Absent(f"base_fast.{path} does not exist") from None
    missing = [name for name in arguments if name not in inspect.signature(found).parameters]
    if missing:
        raise Absent(f"base_fast.{path} has no argument {', '.join(missing)}")
    return found


def gradients(outputs: Mapping[str, Tensor], given: Mapping[str, Tensor], leaves: Mapping[str, Tensor]) -> Outputs:
    """`outputs`, and the gradients of `leaves` where `given` holds the gradients of some outputs."""
    found = torch.autograd.grad([outputs[name] for name in given], list(leaves.values()), list(given.values()))
    return {**outputs, **{f"grad {name}": gradient for name, gradient in zip(leaves, found, strict=True)}}


def as_is(_setup: Any, result: Any) -> Outputs:
    return result


@dataclass(frozen=True)
class Contender:
    """One way to do the work: ours, a variant of ours, an opponent of others', or a yardstick that is not timed.

    Attributes:
        build: from the set-up to the call that is timed. May raise `Absent`.
        read: from the set-up and what the call returned to named outputs, not timed.
        other_work: why this contender computes something else, so that its outputs are not compared.
        tolerance: instead of the case's, for a contender that rounds more than others may.
        yardstick: contenders whose errors measure this one's: every output may be off by twice as much as the worst of
            them, or by the tolerance where that is more.
        draws: number of set-ups over which it is compared, the one that is timed among them, by the root mean square of
            the errors of either side.
    """

    build: Callable[[Any], Run]
    read: Callable[[Any, Any], Outputs] = as_is
    other_work: str = ""
    tolerance: float | None = None
    yardstick: tuple[str, ...] = ()
    draws: int = 1


@dataclass(frozen=True, eq=False)
class Case:
    """One row of the table.

    Attributes:
        op: the column it belongs to.
        name: what is done, for instance "forward + backward".
        setup: from `sizes` to tensors that all contenders share and none changes.
        expected: what ours has to return: the reference on the same key, or the formula in float64.
        ours, opponents, variants: the contenders. Variants are other ways of ours, checked and timed like the others;
            the best opponent is never one of them.
        yardsticks: called once, for errors that contenders may have (`Contender.yardstick`), and not timed.
        tolerance: largest error allowed, relative to the largest expected magnitude.
        by_mean: compare every output's root mean square instead (`agreement.mean_error`).
        noisy: outputs in which the opponents' own noise stands; those are compared by mean and variance.
        floor: bytes that any implementation has to read and write; None where arithmetic is the bound.
        multiply_adds: how many of them ours computes, for contenders that are held against arithmetic.
        rounds: the least number of them.
        in_process: False where the call is too slow to be repeated for an account of its allocations.
        processes: contenders whose peak memory is that of a process of its own.
        quick: sizes at which the case takes a moment, for a check of the harness; targets do not apply there.
    """

    op: str
    name: str
    setup: Callable[..., Any]
    expected: Callable[[Any], Outputs]
    ours: Contender
    opponents: Mapping[str, Contender]
    sizes: Mapping[str, int]
    quick: Mapping[str, int]
    tolerance: float = 1e-5
    by_mean: bool = False
    noisy: frozenset[str] = frozenset()
    floor: Callable[[Any], int] | None = None
    variants: Mapping[str, Contender] = field(default_factory=dict)
    yardsticks: Mapping[str, Contender] = field(default_factory=dict)
    multiply_adds: Mapping[str, Callable[[Any], int]] = field(default_factory=dict)
    rounds: int = 5
    in_process: bool = True
    processes: tuple[str, ...] = ()
    targets: tuple[Target, ...] = field(default=())

    @property
    def contenders(self) -> dict[str, Contender]:
        return {OURS: self.ours, **self.variants, **self.opponents}

    def title(self, quick: bool = False) -> str:
        sizes = self.quick if quick else self.sizes
        return ", ".join([f"{self.op}: {self.name}", *(f"{PROSE.get(k, k)} = {v:,}" for k, v in sizes.items())])

    def __str__(self) -> str:
        return self.title()


def bytes_of(*tensors: Tensor) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
