"""The preprocessing of a cell's inputs with all gradients, beside the same in ordinary modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from base_fast.reference.primitives import factorized_reduce, relu_conv_bn
from benchmarks.case import Case, Contender, Outputs, Run, bytes_of, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.plain_darts import FactorizedReduce, ReLUConvBN
from benchmarks.targets import Faster, SavedMemory

# (B, C_in, H = W), C_out of cells at 32², 16² and 8² pixels, by stride.
SHAPES = MappingProxyType(
    {
        1: (((64, 48, 32), 16), ((64, 64, 32), 16), ((64, 128, 16), 32), ((64, 256, 8), 64)),
        2: (((64, 64, 32), 32), ((64, 128, 16), 64)),
    }
)
QUICK = MappingProxyType({"batch": 4, "channels": 5, "height": 7})
AIM = 3.0


@dataclass(frozen=True)
class Inputs:
    """x (B, C_in, H, W), weight (C_out, C_in), the modules that hold it too, and the gradient of the output."""

    x: Tensor
    weight: Tensor
    modules: nn.Module
    grad: Tensor

    @classmethod
    def of(cls, batch: int, channels: int, height: int, out: int, stride: int) -> Inputs:
        def image(count: int, size: int) -> Tensor:
            return torch.randn(batch, count, size, size).contiguous(memory_format=torch.channels_last)

        modules = ReLUConvBN(channels, out, 1) if stride == 1 else FactorizedReduce(channels, out)
        weight = torch.cat([p.detach().flatten(1) for p in modules.parameters()]).requires_grad_()
        modules = modules.to(memory_format=torch.channels_last)
        return cls(image(channels, height).requires_grad_(), weight, modules, image(out, -(-height // stride)))

    @property
    def moved(self) -> int:
        """Bytes that forward and backward read and write when they touch every tensor as often as batch norm demands.

        Forward: x read, v written and read, y written. Backward: y and its gradient read twice, x read, dx written.
        """
        return 3 * bytes_of(self.x) + 7 * bytes_of(self.grad)


def by_modules(s: Inputs, forward: Callable[[Tensor], Tensor]) -> Outputs:
    filters = {str(i): w for i, w in enumerate(s.modules.parameters())}
    return gradients({"y": forward(s.x)}, {"y": s.grad}, {"x": s.x, **filters})


def read(s: Inputs, found: Outputs) -> Outputs:
    """The filters' gradients as those of one weight."""
    filters = [found[f"grad {i}"].flatten(1) for i, _ in enumerate(s.modules.parameters())]
    return {"y": found["y"], "grad x": found["grad x"], "grad weight": torch.cat(filters)}


def functional(x: Tensor, filters: list[Tensor]) -> Tensor:
    """In PyTorch's functions, the reduction by slices of the pixels instead of strides."""
    return factorized_reduce(x, filters) if len(filters) == 2 else relu_conv_bn(x, *filters)


def expected(s: Inputs) -> Outputs:
    x, *filters = (t.detach().double().requires_grad_() for t in (s.x, *s.modules.parameters()))
    leaves = {"x": x, **{str(i): w for i, w in enumerate(filters)}}
    return read(s, gradients({"y": functional(x, filters)}, {"y": s.grad.double()}, leaves))


def case(shape: tuple[int, int, int], out: int, stride: int) -> Case:
    def ours(s: Inputs) -> Run:
        op = public("ops.relu_conv_norm")
        return lambda: gradients({"y": op(s.x, s.weight, stride)}, {"y": s.grad}, {"x": s.x, "weight": s.weight})

    def eager(s: Inputs) -> Run:
        return lambda: by_modules(s, s.modules)

    def sliced(s: Inputs) -> Run:
        return lambda: by_modules(s, lambda x: functional(x, list(s.modules.parameters())))

    def by_inductor(s: Inputs) -> Run:
        forward = compiled(s.modules)
        return lambda: by_modules(s, forward)

    return Case(
        op="relu_conv_norm",
        name=f"forward + backward, stride {stride}, to {out} channels",
        setup=partial(Inputs.of, out=out, stride=stride),
        expected=expected,
        ours=Contender(ours),
        opponents={
            "channels-last modules": Contender(eager, read),
            **({"slices of pixels": Contender(sliced, read)} if stride == 2 else {}),
            "torch.compile": Contender(by_inductor, read),
        },
        sizes=dict(zip(("batch", "channels", "height"), shape, strict=True)),
        quick=QUICK,
        tolerance=5e-5,
        floor=lambda s: s.moved,
        targets=(Faster(AIM, "channels-last modules"), SavedMemory(0.75, "channels-last modules")),
    )


CASES = tuple(case(shape, out, stride) for stride, shapes in SHAPES.items() for shape, out in shapes)

test_relu_conv_norm = pytest_benchmark(CASES)
