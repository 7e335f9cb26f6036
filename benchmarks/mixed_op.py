"""A search edge of the eight DARTS primitives with all gradients, beside the same edge in plain PyTorch.

An opponent is the published modules on channels-last images, the same compiled, the fastest rewrite found, that rewrite
compiled, and the modules under bfloat16 autocast. Ours also runs with less memory, in bfloat16, on one thread, and each
of its passes alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from base_fast.space import DARTS
from benchmarks import smart_mixed_op
from benchmarks.aims import Aim
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.plain_darts import PlainMixedOp
from benchmarks.targets import Faster, LessSaved, NearLimit
from benchmarks.threads import on_one_thread

SHAPES = ((64, 16, 32), (64, 32, 16), (64, 64, 8), (32, 48, 28))
# Blocks that are not full, sizes that are no powers of two; nothing is aimed at here.
OTHER_SHAPES = ((96, 24, 20), (8, 36, 56), (16, 80, 14))
QUICK = MappingProxyType({"batch": 4, "channels": 5, "height": 7})

MODULES, COMPILED, AUTOCAST = "channels-last modules", "torch.compile", "bfloat16 autocast"
REWRITE, COMPILED_REWRITE = "rewrite", "rewrite, torch.compile"
BF16, STORE_BF16, RECOMPUTE = "base_fast, bfloat16", "base_fast, store_bf16", "base_fast, recompute"
ONE_THREAD, FORWARD, BACKWARD = "base_fast, one thread", "base_fast, forward", "base_fast, backward"
# Errors of float32, where PyTorch's own happens to be smaller.
ROUNDING = 1e-6
# A ReLU that opens or closes by rounding moves a gradient; opponents are only to be sane.
SANE, SANE_BFLOAT16 = 3e-2, 0.5

# z's gradient is eight numbers: one draw's roundings in bfloat16 are chance.
DRAWS = 6


@dataclass(frozen=True)
class Edge:
    """x (B, C, H, W), z (8,), the modules that hold the weights, and the gradient of the output.

    Images have values of bfloat16, so that maxima are the same pixels in every precision.
    """

    x: Tensor
    z: Tensor
    modules: PlainMixedOp
    grad: Tensor
    stride: int

    @classmethod
    def of(cls, batch: int, channels: int, height: int, stride: int) -> Edge:
        def image(size: int) -> Tensor:
            values = torch.randn(batch, channels, size, size).bfloat16().float()
            return values.contiguous(memory_format=torch.channels_last)

        z = torch.softmax(torch.randn(len(DARTS.primitives)), 0).requires_grad_()
        modules = PlainMixedOp(channels, stride).to(memory_format=torch.channels_last)
        return cls(image(height).requires_grad_(), z, modules, image(-(-height // stride)), stride)

    @property
    def leaves(self) -> Mapping[str, Tensor]:
        return {"x": self.x, "z": self.z, **dict(self.modules.named_parameters())}

    def double(self) -> Edge:
        modules = copy.deepcopy(self.modules).double()
        x, z = (t.detach().double().requires_grad_() for t in (self.x, self.z))
        return Edge(x, z, modules, self.grad.double(), self.stride)

    def contiguous(self) -> Edge:
        modules = copy.deepcopy(self.modules).to(memory_format=torch.contiguous_format)
        return Edge(self.x.detach().contiguous().requires_grad_(), self.z, modules, self.grad.contiguous(), self.stride)

    def bfloat16(self) -> Edge:
        """The same images in bfloat16, weights as they are."""
        x = self.x.detach().bfloat16().requires_grad_()
        return Edge(x, self.z, self.modules, self.grad.bfloat16(), self.stride)

    def output(self, memory: str = "store") -> Tensor:
        weights = list(self.modules.parameters())
        return public("ops.mixed_op")(self.x, self.z, weights, DARTS.primitives, self.stride, memory=memory)


def all_gradients(e: Edge, y: Tensor) -> Outputs:
    return gradients({"y": y}, {"y": e.grad.to(y.dtype)}, e.leaves)


def plain(e: Edge) -> Outputs:
    return all_gradients(e, e.modules(e.x, e.z))


def eager(e: Edge) -> Run:
    return lambda: plain(e)


def by_inductor(e: Edge) -> Run:
    forward = compiled(e.modules)
    return lambda: all_gradients(e, forward(e.x, e.z))


def autocast(e: Edge) -> Run:
    """On contiguous images: of channels-last ones PyTorch's dilated weight gradients are wrong by any factor."""
    e = e.contiguous()

    def run() -> Outputs:
        with torch.autocast("cpu", torch.bfloat16):
            y = e.modules(e.x, e.z)
        return all_gradients(e, y)

    return run


def rewrite(e: Edge, compile: bool) -> Run:
    formula = compiled(smart_mixed_op.mixed_op) if compile else smart_mixed_op.mixed_op
    weights, averages = list(e.modules.parameters()), smart_mixed_op.averages(e.x, e.stride)
    return lambda: all_gradients(e, formula(e.x, e.z, weights, e.stride, averages))


def ours(e: Edge, memory: str = "store") -> Run:
    return lambda: all_gradients(e, e.output(memory))


def forward(e: Edge) -> Run:
    return lambda: {"y": e.output()}


def backward(e: Edge) -> Run:
    y, leaves = e.output(), e.leaves

    def run() -> Outputs:
        found = torch.autograd.grad(y, list(leaves.values()), e.grad, retain_graph=True)
        return {f"grad {name}": gradient for name, gradient in zip(leaves, found, strict=True)}

    return run


def multiply_adds(e: Edge, depthwise: int, pointwise: int) -> int:
    return e.grad.numel() * (depthwise + pointwise * e.x.shape[1])


# Per output pixel and channel. Forward: depthwise taps 2·9 + 2·25 + 9 + 25, and six pointwise products (at stride 2 the
# identity's two halves are a seventh). Backward: both gradients of each; and what goes into the pointwise weights'
# gradients, the depthwise outputs, once more.
TAPS = 102


def case(shape: tuple[int, int, int], stride: int, compile: bool = True) -> Case:
    products = 6 if stride == 1 else 7
    float32, bfloat16 = (MODULES, COMPILED), (AUTOCAST,)
    opponents = {
        MODULES: Contender(eager, tolerance=SANE),
        REWRITE: Contender(partial(rewrite, compile=False), tolerance=SANE),
        AUTOCAST: Contender(autocast, tolerance=SANE_BFLOAT16),
    }
    if compile:
        opponents[COMPILED] = Contender(by_inductor, tolerance=SANE)
        opponents[COMPILED_REWRITE] = Contender(partial(rewrite, compile=True), tolerance=SANE)
    return Case(
        op="mixed_op",
        name=f"forward + backward, stride {stride}",
        setup=partial(Edge.of, stride=stride),
        expected=lambda e: plain(e.double()),
        ours=Contender(ours, yardstick=float32),
        variants={
            STORE_BF16: Contender(partial(ours, memory="store_bf16"), yardstick=bfloat16, draws=DRAWS),
            RECOMPUTE: Contender(partial(ours, memory="recompute"), yardstick=float32),
            BF16: Contender(lambda e: ours(e.bfloat16()), yardstick=bfloat16, draws=DRAWS),
            ONE_THREAD: Contender(on_one_thread(ours), yardstick=float32),
            FORWARD: Contender(forward, other_work="the forward pass alone"),
            BACKWARD: Contender(backward, other_work="the backward pass alone"),
        },
        opponents=opponents,
        sizes=dict(zip(("batch", "channels", "height"), shape, strict=True)),
        quick=QUICK,
        tolerance=ROUNDING,
        multiply_adds={
            FORWARD: partial(multiply_adds, depthwise=TAPS, pointwise=products),
            BACKWARD: partial(multiply_adds, depthwise=3 * TAPS, pointwise=2 * products),
        },
    )


STRIDE_1 = tuple(case(shape, 1) for shape in SHAPES)
STRIDE_2 = tuple(case(shape, 2) for shape in SHAPES)
OTHERS = tuple(case(shape, stride, compile=False) for shape in OTHER_SHAPES for stride in (1, 2))
CASES = (*STRIDE_1, *STRIDE_2, *OTHERS)
PLAIN = (MODULES, COMPILED, REWRITE, COMPILED_REWRITE)
AIMS = (
    Aim("edge, stride 1", STRIDE_1, Faster(7.0, MODULES), beyond=8.0),
    Aim("edge, stride 1", STRIDE_1, Faster(5.5, PLAIN), beyond=6.5),
    Aim("edge, stride 2", STRIDE_2, Faster(10.0, MODULES), beyond=14.0),
    Aim("edge, stride 1, against float32", STRIDE_1, Faster(9.0, MODULES, by=BF16), beyond=12.0),
    Aim("edge, stride 1", STRIDE_1, LessSaved(4.3, MODULES)),
    Aim("edge, stride 1", STRIDE_1, LessSaved(7.5, MODULES, by=STORE_BF16)),
    Aim("edge, stride 1", STRIDE_1, LessSaved(28.0, MODULES, by=RECOMPUTE)),
    Aim("edge, stride 1", STRIDE_1, NearLimit(1.8, FORWARD), beyond=1.5),
    Aim("edge, stride 1", STRIDE_1, NearLimit(1.8, BACKWARD), beyond=1.5),
    Aim("edge, stride 1, on two threads", STRIDE_1, Faster(1.8, ONE_THREAD)),
)

test_mixed_op = pytest_benchmark(CASES)
