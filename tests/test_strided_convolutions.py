"""No pass runs PyTorch's 1×1 convolution with a stride, whose backward writes outside its memory on some processors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import base_fast as bf
from base_fast import ops
from base_fast.nn import BayesianConv2d, MixedOp
from base_fast.reference import primitives as definitions
from base_fast.reference.convolution import conv2d
from base_fast.reference.mixed_cell import edge_shapes, strides
from base_fast.space import DARTS, NAS_BENCH_201, Genotype, Space
from base_fast.space.primitives import PRIMITIVES
from base_fast.supernet import Supernet
from benchmarks import plain_darts, smart_mixed_op
from tests import tolerances
from tests.tolerances import assert_close

ROOT = Path(__file__).resolve().parents[1]
ALL = tuple(PRIMITIVES)
# The primitives of NAS-Bench-201 in a reduction cell, which its own space has not.
REDUCING = replace(NAS_BENCH_201, name="reducing", cell_types=("normal", "reduce"))
POINTWISE = [("nor_conv_1x1", 0), ("skip_connect", 1)]
NETWORK = Genotype(POINTWISE, (2,), POINTWISE, (2,))


def images(channels: int = 3, size: tuple[int, int] = (16, 4)) -> Tensor:
    """Channels-last, as base_fast and a training of derived networks make them."""
    return torch.randn(3, channels, *size).contiguous(memory_format=torch.channels_last).requires_grad_()


def leaf(*shape: int) -> Tensor:
    return torch.randn(shape, requires_grad=True)


def edge_weights(primitives: tuple[str, ...]) -> list[Tensor]:
    return [leaf(*shape) for shape in edge_shapes(primitives, 3, 2)]


def mixed_op() -> Tensor:
    return ops.mixed_op(images(), leaf(len(ALL)), edge_weights(ALL), ALL, 2)


def mixed_cell() -> Tensor:
    edges = strides(1, REDUCING.num_edges, True)
    numel = sum(torch.Size(s).numel() for stride in edges for s in edge_shapes(REDUCING.primitives, 3, stride))
    z = leaf(REDUCING.num_edges, REDUCING.num_primitives)
    return ops.mixed_cell([images()], z, leaf(numel), REDUCING, True)


def twice() -> Tensor:
    """What an exact outer gradient differentiates: the gradients of every definition."""
    total = torch.zeros(())
    for primitive in ALL[1:]:
        own = [images(), *edge_weights((primitive,))]
        y = definitions.apply(primitive, own[0], own[1:], 2)
        gradients = torch.autograd.grad(y.square().sum(), own, create_graph=True)
        total = total + sum(g.square().sum() for g in gradients)
    return total


def supernet(space: Space) -> Tensor:
    net = Supernet(space, channels=2, layers=3, num_classes=2)
    z = leaf(len(space.cell_types), space.num_edges, space.num_primitives)
    return net(images(3, (8, 8)), leaf(net.layout.numel), z)


def network() -> Tensor:
    return bf.Network(NETWORK, 2, 3, 2).to(memory_format=torch.channels_last)(images(3, (32, 32)))


def plain_network() -> Tensor:
    net = plain_darts.PlainDarts(2, 3, 2, nodes=1).to(memory_format=torch.channels_last)
    return net(images(3, (8, 8)), leaf(2, 2, len(plain_darts.PRIMITIVES)))


def smart_edge() -> Tensor:
    x, primitives = images(), plain_darts.PRIMITIVES
    return smart_mixed_op.mixed_op(x, leaf(8), edge_weights(primitives), 2, smart_mixed_op.averages(x, 2))


PASSES: dict[str, Callable[[], Tensor]] = {
    "mixed_op": mixed_op,
    "mixed_cell": mixed_cell,
    "definitions, twice": twice,
    "relu_conv_norm": lambda: ops.relu_conv_norm(images(), leaf(4, 3), 2),
    "MixedOp": lambda: MixedOp(3, 2, ("none", "skip_connect", "nor_conv_1x1"))(images(), leaf(3)),
    "BayesianConv2d": lambda: BayesianConv2d(3, 3, 1, stride=2, padding=1)(images()),
    "Supernet of DARTS": lambda: supernet(DARTS.with_nodes(1)),
    "Supernet of NAS-Bench-201's primitives": lambda: supernet(REDUCING),
    "Network": network,
    "benchmarks: PlainDarts": plain_network,
    "benchmarks: PlainMixedOp": lambda: plain_darts.PlainMixedOp(3, 2, ALL)(images(), leaf(len(ALL))),
    "benchmarks: smart_mixed_op": smart_edge,
}


class Strided(TorchDispatchMode):
    """Notes the filters of PyTorch's strided 1×1 convolutions and of their gradients."""

    def __init__(self) -> None:
        super().__init__()
        # Where among the arguments the filter and the stride are.
        aten = torch.ops.aten
        self.places = {aten.convolution.default: (1, 3), aten.convolution_backward.default: (2, 4)}
        self.seen = 0
        self.found: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.places:
            weight, stride = (args[i] for i in self.places[func])
            self.seen += 1
            if weight.shape[2:] == (1, 1) and max(stride) > 1:
                self.found.append(weight.shape)
        return func(*args, **(kwargs or {}))


def run(name: str) -> None:
    PASSES[name]().sum().backward()


@pytest.mark.parametrize("name", PASSES)
def test_no_pass_runs_a_strided_1x1_convolution(name: str) -> None:
    with Strided() as strided:
        run(name)
    assert strided.found == []


def test_such_a_convolution_is_seen() -> None:
    x = leaf(3, 3, 16, 4)  # not channels-last: this one PyTorch survives everywhere
    with Strided() as strided:
        F.conv2d(x, leaf(3, 3, 1, 1), stride=2).sum().backward()
        F.conv2d(x, leaf(3, 3, 1, 1)).sum().backward()
        F.conv2d(x, leaf(3, 3, 3, 3), stride=2).sum().backward()
    assert strided.found == 2 * [(3, 3, 1, 1)]
    assert strided.seen == 6


def test_memory_stays_whole_where_pytorch_has_no_avx512() -> None:
    """40 backward passes: PyTorch's own convolution does not survive them with these instruction sets."""
    code = "from tests.test_strided_convolutions import PASSES, run; [run(name) for name in PASSES for _ in range(40)]"
    slower = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "BASE_FAST_ISA": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | slower | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("stride", [1, 2, (2, 1), (1, 3)])
@pytest.mark.parametrize("padding", [0, 1, (0, 2), "valid"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_the_values_and_gradients_are_those_of_pytorch(kernel: int, padding: Any, stride: Any) -> None:
    for shape in [(2, 3, 7, 8), (3, 7, 8)]:
        own = [torch.randn(s, dtype=torch.float64) for s in (shape, (4, 3, kernel, kernel), (4,))]
        results = []
        for function in (conv2d, F.conv2d):
            leaves = [x.clone().requires_grad_() for x in own]
            y = function(*leaves, stride=stride, padding=padding)
            results.append([y, *torch.autograd.grad(torch.cos(y).sum(), leaves)])
        for ours, theirs in zip(*results, strict=True):
            assert_close(ours, theirs, tolerances.EDGE_FLOAT64)


def test_what_pytorch_refuses_is_refused() -> None:
    for function in (conv2d, F.conv2d):
        with pytest.raises(RuntimeError, match="same"):
            function(images(), leaf(3, 3, 1, 1), stride=2, padding="same")
