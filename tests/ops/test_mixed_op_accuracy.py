"""How far an edge in float32 is from float64, against PyTorch's own float32.

An error is one draw of roundings: in a single batch PyTorch's may be small by luck, and for a tensor of a few numbers
it often is. Errors are therefore averaged over batches of the same kind. One kind of rounding is no matter of accuracy:
where a hidden activation lies within a rounding of zero, either side may open the ReLU and change a gradient by a
percent. Batches in which that could happen are drawn again.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.reference.mixed_op import mixed_op as reference
from base_fast.reference.primitives import batch_norm, weight_shapes
from benchmarks import agreement
from benchmarks import mixed_op as mixed_op_benchmark
from benchmarks.plain_darts import PRIMITIVES
from tests import tolerances
from tests.ops.contract import gradients
from tests.ops.edges import draw, edge, names, plain
from tests.tolerances import assert_close

BATCHES = 12
SIZES = [(2, 3, 5, 6), (4, 6, 9, 7), (4, 16, 8, 8), (2, 33, 6, 6)]
MEANS = [0.0, 10.0, 1000.0]
# A ReLU could open on one side only below so many of PyTorch's largest errors.
CLEARANCE = 8


def hidden(primitives: tuple[str, ...], stride: int, x: Tensor, weights: list[Tensor]) -> Tensor:
    """What the second ReLUs of the separable convolutions see."""
    remaining = iter(weights)
    found = [torch.full_like(x[:1, :1, ::stride, ::stride], float("inf")).flatten()]
    for primitive in primitives:
        own = [next(remaining) for _ in weight_shapes(primitive, x.shape[1], stride)]
        if primitive.startswith("sep_conv"):
            depthwise, pointwise = own[:2]
            padding = depthwise.shape[-1] // 2
            y = F.conv2d(F.relu(x), depthwise, stride=stride, padding=padding, groups=x.shape[1])
            found.append(batch_norm(F.conv2d(y, pointwise)).flatten())
    return torch.cat(found[1:] or found)


def could_flip(primitives: tuple[str, ...], stride: int, single: list[Tensor], double: list[Tensor]) -> bool:
    exact = hidden(primitives, stride, double[0], double[2:])
    rounded = hidden(primitives, stride, single[0], single[2:])
    return bool(exact.abs().min() < CLEARANCE * (rounded - exact).abs().nan_to_num().max())


def batch(primitives: tuple[str, ...], stride: int, size: tuple[int, ...], mean: float, seed: int) -> list[Tensor]:
    inputs = draw(size, primitives, stride, torch.float32, seed)
    inputs[0] = inputs[0] + mean
    return inputs


def squared_error(found: Tensor, exact: Tensor) -> float:
    """Relative, in the Euclidean norm."""
    return float((found.double() - exact).norm() / exact.norm().clamp_min(1e-300)) ** 2


def errors(
    primitives: tuple[str, ...], stride: int, size: tuple[int, ...], mean: float
) -> dict[str, tuple[float, float]]:
    """The value's and every gradient's: ours, PyTorch's."""
    totals: dict[str, list[float]] = {name: [0.0, 0.0] for name in names(primitives, stride)}
    exactly, rounding = (plain(primitives, stride, size[1], dtype) for dtype in (torch.float64, torch.float32))
    seed, left = 0, BATCHES
    while left:
        seed += 1
        single = batch(primitives, stride, size, mean, seed)
        double = [t.double() for t in single]
        if could_flip(primitives, stride, single, double):
            continue
        left -= 1
        last = [single[0].contiguous(memory_format=torch.channels_last), *single[1:]]
        runs = (gradients(exactly, double), gradients(edge(primitives, stride), last), gradients(rounding, last))
        exact, *sides = ((y, *found) for y, found in runs)
        for name, e, *found in zip(totals, exact, *sides, strict=True):
            for side, f in enumerate(found):
                totals[name][side] += squared_error(f, e)
    return {name: (math.sqrt(ours / BATCHES), math.sqrt(theirs / BATCHES)) for name, (ours, theirs) in totals.items()}


def check(found: dict[str, tuple[float, float]]) -> None:
    for name, (ours, theirs) in found.items():
        assert ours <= tolerances.TIMES_PYTORCH * theirs, f"{name}: {ours:.2e}, PyTorch's own {theirs:.2e}"


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_errors_are_at_most_twice_those_of_pytorch(
    size: tuple[int, ...], stride: int, mean: float, instruction_set: str
) -> None:
    check(errors(PRIMITIVES, stride, size, mean))


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [*PRIMITIVES[1:], "sep_conv_7x7"])
def test_errors_of_one_primitive(name: str, stride: int, mean: float) -> None:
    found = errors((name,), stride, (4, 8, 7, 8), mean)
    # A single number, whose error in PyTorch may be nothing at all; above, z's gradient is that of all primitives.
    del found["z"]
    check(found)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_stored_bfloat16_are_those_of_rounded_values(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norms of values that were rounded, the rounding taken for the identity: no other error comes in."""

    def rounded(v: Tensor) -> Tensor:
        return batch_norm(v + (v.bfloat16().to(v) - v).detach())

    # The pools' values are not stored.
    stored = tuple(p for p in PRIMITIVES if "pool" not in p)
    inputs = draw((2, 5, 6, 6), stored, stride, torch.float32)
    value, found = gradients(edge(stored, stride, memory="store_bf16"), inputs)
    monkeypatch.setattr("base_fast.reference.primitives.batch_norm", rounded)
    exact, expected = gradients(
        lambda x, z, *w: reference(x, z, list(w), list(stored), stride, None), [t.double() for t in inputs]
    )
    assert_close(value, exact, tolerances.EDGE_FLOAT32)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerances.EDGE_GRADIENT_FLOAT32)


def test_bfloat16_gradients_as_good_as_autocasts() -> None:
    """Weight gradients sum what batch norm gives back: its mean of zero must outlive rounding, times a mean of inputs
    that is not zero. At this seed one channel's factor is nearly a power of two, and gradients are bfloat16 already."""
    torch.manual_seed(1)
    case = mixed_op_benchmark.Edge.of(32, 48, 28, stride=1)
    expected = mixed_op_benchmark.plain(case.double())
    found = agreement.errors(mixed_op_benchmark.ours(case.bfloat16())(), expected)
    theirs = agreement.errors(mixed_op_benchmark.autocast(case)(), expected)
    for name, one in found.items():
        assert one <= 2.0 * theirs[name], name
