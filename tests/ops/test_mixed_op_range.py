"""The ends of the range: what is not finite spreads through an edge as in PyTorch, and denormals vanish in it alone.

NaN and infinity in x, z, the weights or the upstream gradient: y and every gradient are finite exactly where PyTorch's
are. Of what is not finite, NaN in x and the weights gives NaN where PyTorch has it; infinities in z and the gradient
may come out as NaN, because they are folded into the factors of batch norm. `none` contributes nothing, so its entry of
z's gradient is 0, where PyTorch multiplies zeros with what came.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from base_fast.ops.memory import MEMORY
from benchmarks.plain_darts import PRIMITIVES
from tests import tolerances
from tests.ops.contract import gradients
from tests.ops.edges import draw, edge, names, plain
from tests.tolerances import assert_close

SIZE = (2, 6, 7, 8)
EDGES = [PRIMITIVES, *((p,) for p in (*PRIMITIVES[1:], "sep_conv_7x7"))]
TINY = torch.finfo(torch.float32).tiny


def with_gradient(f: Callable[..., Tensor], inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    y = f(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream, materialize_grads=True)]


def put(value: float, to: Tensor) -> Tensor:
    """In the middle, where a filter has its centre."""
    changed = to.clone()
    changed[tuple(n // 2 for n in to.shape)] = value
    return changed


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("primitives", EDGES, ids=lambda p: "-".join(p[:2]))
def test_what_is_not_finite_spreads_as_in_pytorch(
    primitives: tuple[str, ...], stride: int, value: float, memory: str, instruction_set: str
) -> None:
    inputs = draw(SIZE, primitives, stride, torch.float32)
    upstream = torch.randn(2, 6, *(-(-n // stride) for n in SIZE[2:]), generator=torch.Generator().manual_seed(0))
    everything = [*inputs, upstream]
    kept = torch.tensor([p != "none" for p in primitives])
    for i, place in enumerate([*names(primitives, stride)[1:], "upstream"]):
        changed = [put(value, t) if i == j else t for j, t in enumerate(everything)]
        expected, found = (
            with_gradient(f, changed[:-1], changed[-1])
            for f in (plain(primitives, stride, SIZE[1], torch.float32), edge(primitives, stride, memory=memory))
        )
        for name, one, other in zip(names(primitives, stride), found, expected, strict=True):
            if name == "z":
                assert not one[~kept].any()
                one, other = one[kept], other[kept]
            assert torch.equal(one.isfinite(), other.isfinite()), f"{name}, for {value} in {place}"
            if place not in ("z", "upstream"):
                assert torch.equal(one.isnan(), other.isnan()), f"{name}, for {value} in {place}"


@pytest.mark.parametrize("stride", [1, 2])
def test_denormal_gradients_may_vanish(stride: int, instruction_set: str) -> None:
    inputs = draw((4, 6, 9, 8), PRIMITIVES, stride, torch.float32)
    double = [t.double() for t in inputs]
    exactly, ours = plain(PRIMITIVES, stride, 6), edge(PRIMITIVES, stride)
    upstream = torch.randn_like(ours(*inputs)) * 0.1 * TINY
    assert ((upstream.abs() < TINY) & (upstream != 0)).all()
    expected, found = with_gradient(exactly, double, upstream.double()), with_gradient(ours, inputs, upstream)
    for name, one, other in zip(names(PRIMITIVES, stride), found, expected, strict=True):
        if name != "y":
            # No more is lost than what lies below the smallest normal number, once for every pixel.
            lost = (one.double() - other).abs().max()
            assert lost <= tolerances.FLUSHED * TINY * upstream[:, 0].numel(), name
    # And nothing where gradients are of ordinary size.
    upstream[:2] = torch.randn_like(upstream[:2])
    expected, found = with_gradient(exactly, double, upstream.double()), with_gradient(ours, inputs, upstream)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerances.EDGE_GRADIENT_FLOAT32)


def test_denormal_inputs_count_as_zero(instruction_set: str) -> None:
    inputs = draw((4, 6, 9, 8), PRIMITIVES, 1, torch.float32)
    inputs[0] = inputs[0] * 0.1 * TINY
    value, found = gradients(edge(PRIMITIVES, 1), inputs)
    assert_close(value, torch.zeros_like(value), tolerances.EDGE_FLOAT32)
    # The ReLUs are closed, as at zero, so this is not PyTorch's gradient; but it is one.
    assert all(g.isfinite().all() for g in found)


def test_pytorch_keeps_its_denormals(threads: None) -> None:
    torch.set_num_threads(2)
    gradients(edge(PRIMITIVES, 1), draw((8, 16, 16, 16), PRIMITIVES, 1, torch.float32))
    halves = torch.full((1 << 20,), TINY) * 0.5
    assert torch.equal(halves + halves, torch.full((1 << 20,), TINY))
