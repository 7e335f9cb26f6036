"""The kernels of mixed_op against its reference in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor
from torch.nn.functional import pad

from base_fast.errors import InputError
from base_fast.kernels import _windows
from base_fast.kernels import mixed_op as kernel
from base_fast.reference.mixed_op import mixed_op as reference
from base_fast.reference.primitives import weight_shapes
from base_fast.space import DARTS
from base_fast.space.primitives import FUSED
from tests import tolerances
from tests.kernels.cases import assert_all_close, normal

NUMBERED = tuple(primitive.name for primitive in FUSED)
TOLERANCES = {
    torch.float32: tolerances.EDGE_KERNEL_FLOAT32,
    torch.float64: tolerances.EDGE_FLOAT64,
    torch.bfloat16: tolerances.EDGE_KERNEL_BFLOAT16,
}
SHAPE = (2, 5, 5, 4)
Result = tuple[Tensor, list[Tensor]]


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class Case:
    """An edge's inputs, a gradient, and what the reference makes of them."""

    def __init__(
        self,
        primitives: Sequence[str],
        shape: tuple[int, ...] = SHAPE,
        stride: int = 1,
        dtype: torch.dtype = torch.float32,
        layout: Callable[[Tensor], Tensor] = channels_last,
    ) -> None:
        self.primitives, self.stride = list(primitives), stride
        self.x, self.z = layout(normal(*shape, dtype=dtype)), normal(len(primitives), dtype=dtype, seed=1)
        shapes = [s for p in primitives for s in weight_shapes(p, shape[1], stride).values()]
        self.weights = [
            normal(*s, seed=2 + i).div(max(1, s[1] * s[2] * s[3]) ** 0.5).to(dtype) for i, s in enumerate(shapes)
        ]
        leaves = [t.double().requires_grad_() for t in (self.x, self.z, *self.weights)]
        y = reference(leaves[0], leaves[1], leaves[2:], self.primitives, stride, None)
        self.grad = channels_last(normal(*y.shape, dtype=dtype, seed=99))
        found = torch.autograd.grad(y, leaves, self.grad.double(), allow_unused=True, materialize_grads=True)
        self.expected: Result = y, list(found)

    def result(self, memory: int = kernel.STORE) -> Result:
        numbers = [NUMBERED.index(p) for p in self.primitives]
        arguments = self.x, self.z, self.weights, numbers, self.stride, memory
        y, values, statistics = kernel.mixed_op(*arguments)
        for made, empty in zip((y, values, statistics), kernel.empty(*arguments), strict=True):
            assert made.stride() == empty.stride() and made.dtype == empty.dtype
        assert y.is_contiguous(memory_format=torch.channels_last)
        return y, kernel.mixed_op_backward(self.grad, *arguments, values, statistics)

    def check(self, memory: int = kernel.STORE, tolerance: float | None = None) -> None:
        y, gradients = self.result(memory)
        tolerance = tolerance or TOLERANCES[self.x.dtype]
        assert_all_close([y, *gradients], [self.expected[0], *self.expected[1]], tolerance, self.x.dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("primitive", NUMBERED)
def test_a_primitive(primitive: str, stride: int) -> None:
    Case([primitive, "none"], stride=stride).check()


@pytest.mark.parametrize(
    ("stride", "dtype"), [(1, torch.float32), (2, torch.float32), (1, torch.float64), (2, torch.bfloat16)]
)
def test_all_primitives(stride: int, dtype: torch.dtype) -> None:
    Case(DARTS.primitives, stride=stride, dtype=dtype).check()


@pytest.mark.parametrize("stride", [1, 2])
def test_primitives_more_than_once(stride: int) -> None:
    chosen = ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "max_pool_3x3", "sep_conv_3x3", "skip_connect")
    Case(chosen, stride=stride).check()


@pytest.mark.parametrize("channels", [1, 16, 70])
def test_channels(channels: int) -> None:
    """Whole tiles; a factorized reduction with an empty half; more channels than a tile holds."""
    Case(("skip_connect", "dil_conv_3x3", "avg_pool_3x3"), (1, channels, 3, 3), 2).check()


@pytest.mark.parametrize(
    "layout", [lambda x: x.contiguous(), lambda x: channels_last(pad(x, (1, 2, 0, 1, 3, 8)))[:, 3:-8, :-1, 1:-2]]
)
def test_layouts(layout: Callable[[Tensor], Tensor]) -> None:
    Case(("sep_conv_3x3", "skip_connect", "max_pool_3x3"), layout=layout).check()


def test_programs_that_take_several_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_windows, "CONTRIBUTORS", 2)
    Case(("sep_conv_3x3", "max_pool_3x3", "skip_connect"), (1, 3, 11, 9)).check()


def test_computed_again_is_the_same() -> None:
    case = Case(("dil_conv_3x3", "sep_conv_3x3", "max_pool_3x3"))
    (y, stored), (other, again) = case.result(), case.result(kernel.RECOMPUTE)
    assert torch.equal(y, other) and all(torch.equal(a, b) for a, b in zip(stored, again, strict=True))


def test_values_stored_in_bfloat16() -> None:
    Case(("dil_conv_3x3", "sep_conv_3x3", "max_pool_3x3")).check(kernel.STORE_BFLOAT16, tolerances.STORED_IN_BFLOAT16)


def test_images_of_bfloat16_and_weights_of_float32() -> None:
    case = Case(("sep_conv_3x3", "skip_connect"), dtype=torch.bfloat16)
    case.z, case.weights = case.z.float(), [w.float() for w in case.weights]
    y, (d_x, d_z, *d_weights) = case.result()
    assert y.dtype == d_x.dtype == torch.bfloat16 and {d.dtype for d in (d_z, *d_weights)} == {torch.float32}
    assert_all_close([y, d_x, d_z, *d_weights], [case.expected[0], *case.expected[1]], TOLERANCES[torch.bfloat16])


def test_a_large_mean() -> None:
    case = Case(("max_pool_3x3", "avg_pool_3x3"), layout=lambda x: channels_last(x) + 1000.0)
    case.check(tolerance=tolerances.EDGE_KERNEL_FAR_FLOAT32)


def test_nan_reaches_every_branch() -> None:
    for primitive in ("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "skip_connect"):
        case = Case([primitive], stride=2)
        case.x[1, 3, 2, 2] = float("nan")
        y = reference(case.x, case.z, case.weights, case.primitives, 2, None)
        assert torch.equal(case.result()[0].isnan(), y.isnan()), primitive


@pytest.mark.parametrize("number", [-1, 9])
def test_an_unknown_number_is_an_error(number: int) -> None:
    """Left out, it would shift the weights of those behind it."""
    x, z, weights = normal(*SHAPE), normal(2), [normal(5, 1, 3, 3), normal(5, 5, 1, 1)]
    with pytest.raises(InputError, match=f"primitives: got the number {number}, expected one from 0 to 8"):
        kernel.mixed_op(x, z, weights, [number, 7], 1, kernel.STORE)
