"""Whether two contenders computed the same: without that, no speed-up is printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from benchmarks.case import Outputs

Norm: TypeAlias = Callable[[Tensor, Tensor], float]
# A mean or variance of other noise lies within this number of standard errors.
STANDARD_ERRORS = 6.0
# An error may be this many times another implementation's.
YARDSTICKS = 2.0


@dataclass(frozen=True)
class Agreement:
    """The largest error of the outputs compared value by value, None without any, and the first problem, if any."""

    error: float | None
    problem: str = ""


def error(actual: Tensor, expected: Tensor) -> float:
    """The largest difference relative to the largest expected magnitude; infinite for NaN and for other shapes."""
    if actual.shape != expected.shape:
        return math.inf
    if not actual.numel():
        return 0.0
    a, e = actual.detach().double(), expected.detach().double()
    largest = float(e.abs().max())
    difference = float((a - e).abs().nan_to_num_(nan=math.inf, posinf=math.inf).max())
    return difference / largest if largest > 0.0 else difference


def mean_error(actual: Tensor, expected: Tensor) -> float:
    """The difference's norm relative to the expected one's: for gradients through hundreds of ReLUs.

    Which of them opens or closes by rounding is chance, and with it the largest difference; the mean over all is not.
    """
    if actual.shape != expected.shape:
        return math.inf
    a, e = actual.detach().double(), expected.detach().double()
    norm = float(e.norm())
    difference = float((a - e).norm())
    return math.inf if math.isnan(difference) else difference / norm if norm > 0.0 else difference


def standard_errors(actual: Tensor, expected: Tensor) -> float:
    """How far apart mean and variance are over the elements of two tensors with noise of their own.

    Elements of different spread make the standard error too large, never too small.
    """
    if actual.shape != expected.shape:
        return math.inf
    a, e = actual.detach().double().flatten(), expected.detach().double().flatten()
    squares_a, squares_e = (a - a.mean()).square(), (e - e.mean()).square()
    found = max(_distance(a, e), _distance(squares_a, squares_e))
    return math.inf if math.isnan(found) else found


def _distance(a: Tensor, e: Tensor) -> float:
    if a.numel() < 2:
        return 0.0 if torch.equal(a, e) else math.inf
    scale = math.sqrt(float(a.var() + e.var()) / a.numel())
    difference = abs(float(a.mean() - e.mean()))
    return difference / scale if scale > 0.0 else (0.0 if difference == 0.0 else math.inf)


def errors(actual: Outputs, expected: Outputs, norm: Norm = error) -> dict[str, float]:
    """Of every expected output."""
    return {name: norm(actual[name], value) if name in actual else math.inf for name, value in expected.items()}


def over_draws(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The root mean square of every output's errors.

    Where an output is a few numbers, one draw of roundings is chance.
    """
    return {name: math.sqrt(sum(draw[name] ** 2 for draw in draws) / len(draws)) for name in draws[0]}


def within(found: Mapping[str, float], tolerance: float, yardsticks: Sequence[Mapping[str, float]] = ()) -> Agreement:
    """Whether errors are tolerable: by themselves, or beside twice the largest of others', where that is more."""
    problem = ""
    for name, own in found.items():
        # An infinite error, of NaN or a missing output, measures nothing.
        sane = [other[name] for other in yardsticks if math.isfinite(other.get(name, math.inf))]
        allowed = max([tolerance, *(YARDSTICKS * other for other in sane)])
        if not own <= allowed:
            problem = problem or f"{name} is off by {own:.2g}, allowed {allowed:.2g}"
    return Agreement(max(found.values(), default=None), problem)


def compare(
    actual: Outputs,
    expected: Outputs,
    tolerance: float,
    noisy: AbstractSet[str] = frozenset(),
    yardsticks: Sequence[Mapping[str, float]] = (),
    norm: Norm = error,
) -> Agreement:
    """Compare all `expected` outputs by `norm`; those in `noisy` by mean and variance only.

    Where others' errors are given, an output may be off by twice the largest of them, if that exceeds the tolerance.
    """
    found: dict[str, float] = {}
    strange = ""
    for name, value in expected.items():
        if name not in actual:
            return Agreement(math.inf, f"{name} is missing")
        if name not in noisy:
            found[name] = norm(actual[name], value)
            continue
        distance = standard_errors(actual[name], value)
        if not distance <= STANDARD_ERRORS:
            strange = strange or f"{name} is distributed otherwise, by {distance:.3g} standard errors"
    agreement = within(found, tolerance, yardsticks)
    return Agreement(agreement.error, strange or agreement.problem)
