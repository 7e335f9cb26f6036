"""ReLU and depthwise convolution of channels-last images, alone and with all gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.case import Case, Contender, Outputs, Run, bytes_of, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster

# B, C, H = W, then kernel, stride, dilation: those of a search edge.
CASES_OF = (
    (64, 16, 32, 3, 1, 1),
    (64, 16, 32, 5, 1, 1),
    (64, 64, 8, 5, 1, 2),
    (32, 48, 28, 5, 2, 1),
)
QUICK = MappingProxyType({"batch": 3, "channels": 5, "height": 7})
Formula = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Filtered:
    """x (B, C, H, W), weight (C, 1, k, k), the gradient of the output, and what convolves."""

    x: Tensor
    weight: Tensor
    grad: Tensor
    stride: int
    dilation: int

    @classmethod
    def of(cls, batch: int, channels: int, height: int, k: int, stride: int, dilation: int) -> Filtered:
        def image(size: int) -> Tensor:
            return torch.randn(batch, channels, size, size).contiguous(memory_format=torch.channels_last)

        weight = torch.randn(channels, 1, k, k).requires_grad_()
        return cls(image(height).requires_grad_(), weight, image(-(-height // stride)), stride, dilation)

    def double(self) -> Filtered:
        x, weight = (t.detach().double().requires_grad_() for t in (self.x, self.weight))
        return replace(self, x=x, weight=weight, grad=self.grad.double())

    @property
    def settings(self) -> Mapping[str, Any]:
        padding = self.dilation * (self.weight.shape[-1] // 2)
        return {"stride": self.stride, "padding": padding, "dilation": self.dilation, "groups": len(self.weight)}

    def eager(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(F.relu(x), weight, **self.settings)


class Rewritten(torch.autograd.Function):
    """Both gradients as convolutions forward: that of x with the filters turned around, and that of the weight with the
    gradient as the filter of every image, stride and dilation exchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, settings: Mapping[str, Any]) -> Tensor:
        v = F.relu(x)
        ctx.save_for_backward(v, weight)
        ctx.settings = settings
        return F.conv2d(v, weight, **settings)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        v, weight = ctx.saved_tensors
        k, planes, settings = weight.shape[-1], v.shape[0] * v.shape[1], ctx.settings
        if settings["stride"] == 1:
            d_x = F.conv2d(g, weight.flip(2, 3), **settings)
        else:
            rest = [n - 2 * (m - 1) - 1 for n, m in zip(v.shape[2:], g.shape[2:], strict=True)]
            d_x = F.conv_transpose2d(g, weight, output_padding=rest, **settings)
        exchanged = {**settings, "stride": settings["dilation"], "dilation": settings["stride"], "groups": planes}
        images, filters = v.reshape(1, planes, *v.shape[2:]), g.reshape(planes, 1, *g.shape[2:])
        d_weight = F.conv2d(images, filters, **exchanged)[:, :, :k, :k].reshape(v.shape[0], *weight.shape).sum(0)
        return torch.where(v > 0, d_x, 0.0), d_weight, None


def forward(s: Filtered, formula: Formula) -> Outputs:
    with torch.no_grad():
        return {"y": formula(s.x, s.weight)}


def forward_and_backward(s: Filtered, formula: Formula) -> Outputs:
    return gradients({"y": formula(s.x, s.weight)}, {"y": s.grad}, {"x": s.x, "weight": s.weight})


def case(shape: tuple[int, ...], backward: bool) -> Case:
    batch, channels, height, k, stride, dilation = shape
    work = forward_and_backward if backward else forward

    def ours(s: Filtered) -> Run:
        op = partial(public("ops.depthwise_conv"), stride=stride, dilation=dilation, relu=True)
        return lambda: work(s, op)

    def by_inductor(s: Filtered) -> Run:
        formula = compiled(s.eager)
        return lambda: work(s, formula)

    opponents = {
        "channels-last eager": Contender(lambda s: lambda: work(s, s.eager)),
        "torch.compile": Contender(by_inductor),
    }
    if backward:
        opponents["gradients as convolutions"] = Contender(
            lambda s: lambda: work(s, lambda x, w: Rewritten.apply(x, w, s.settings))
        )
    return Case(
        op="depthwise_conv",
        name=f"{'forward + backward' if backward else 'forward'}, k = {k}, stride {stride}, dilation {dilation}",
        setup=partial(Filtered.of, k=k, stride=stride, dilation=dilation),
        expected=lambda s: work(s.double(), s.eager),
        ours=Contender(ours),
        opponents=opponents,
        sizes={"batch": batch, "channels": channels, "height": height},
        quick=QUICK,
        # x and y once each; and again with their gradients.
        floor=lambda s: (2 if backward else 1) * bytes_of(s.x, s.grad) + (bytes_of(s.x) if backward else 0),
        targets=(Faster(1.0),),
    )


CASES = tuple(case(shape, backward) for shape in CASES_OF for backward in (False, True))

test_depthwise_conv = pytest_benchmark(CASES)
