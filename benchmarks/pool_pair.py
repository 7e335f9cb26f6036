"""3 × 3 maximum and average of channels-last images, alone and with their gradient, beside one pool after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.case import Case, Contender, Outputs, Run, bytes_of, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster

# B, C, H = W, stride
CASES_OF = ((64, 16, 32, 1), (64, 64, 8, 1), (32, 48, 28, 2))
QUICK = MappingProxyType({"batch": 3, "channels": 5, "height": 7})
Formula = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Pooled:
    """x (B, C, H, W), and the gradients of both outputs."""

    x: Tensor
    d_max: Tensor
    d_average: Tensor

    @classmethod
    def of(cls, batch: int, channels: int, height: int, stride: int) -> Pooled:
        def image(size: int) -> Tensor:
            return torch.randn(batch, channels, size, size).contiguous(memory_format=torch.channels_last)

        size = -(-height // stride)
        return cls(image(height).requires_grad_(), image(size), image(size))

    def double(self) -> Pooled:
        x, d_max, d_average = (t.detach().double() for t in (self.x, self.d_max, self.d_average))
        return replace(self, x=x.requires_grad_(), d_max=d_max, d_average=d_average)


def forward(s: Pooled, formula: Formula) -> Outputs:
    with torch.no_grad():
        return dict(zip(("maximum", "average"), formula(s.x), strict=True))


def forward_and_backward(s: Pooled, formula: Formula) -> Outputs:
    given = {"maximum": s.d_max, "average": s.d_average}
    return gradients(dict(zip(given, formula(s.x), strict=True)), given, {"x": s.x})


def case(shape: tuple[int, ...], backward: bool) -> Case:
    batch, channels, height, stride = shape
    work = forward_and_backward if backward else forward

    def eager(x: Tensor) -> tuple[Tensor, Tensor]:
        return F.max_pool2d(x, 3, stride, 1), F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)

    def ours(s: Pooled) -> Run:
        op = partial(public("ops.pool_pair"), stride=stride)
        return lambda: work(s, op)

    def by_inductor(s: Pooled) -> Run:
        formula = compiled(eager)
        return lambda: work(s, formula)

    return Case(
        op="pool_pair",
        name=f"{'forward + backward' if backward else 'forward'}, stride {stride}",
        setup=partial(Pooled.of, stride=stride),
        expected=lambda s: work(s.double(), eager),
        ours=Contender(ours),
        opponents={
            "channels-last eager": Contender(lambda s: lambda: work(s, eager)),
            "torch.compile": Contender(by_inductor),
        },
        sizes={"batch": batch, "channels": channels, "height": height},
        quick=QUICK,
        # Forward x and both outputs; backward x again, both gradients, and that of x.
        floor=lambda s: (3 if backward else 1) * bytes_of(s.x) + (4 if backward else 2) * bytes_of(s.d_max),
        targets=(Faster(2.0 if backward else 1.0),),
    )


CASES = tuple(case(shape, backward) for shape in CASES_OF for backward in (False, True))

test_pool_pair = pytest_benchmark(CASES)
