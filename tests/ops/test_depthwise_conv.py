"""A depthwise convolution, with and without the ReLU before it, against torch's modules."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.ops import depthwise_conv
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.ops.samples import channels_last
from tests.tolerances import assert_close

# Sizes below the filter, of one row or column, odd ones, and channels around the blocks that kernels work on.
SHAPES = [(2, 3, 9, 8), (1, 1, 1, 1), (2, 16, 5, 7), (3, 17, 1, 6), (1, 2, 6, 1), (2, 33, 3, 2), (1, 4, 13, 12)]
# k, stride, dilation, relu
SETTINGS = list(product((3, 5, 7), (1, 2), (1, 2), (False, True)))


def draw(*shape: int, k: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, weight = (torch.randn(s, dtype=torch.float64, generator=generator) for s in (shape, (shape[1], 1, k, k)))
    return x.to(dtype), weight.to(dtype)


def by_torch(stride: int, dilation: int, relu: bool) -> Callable[..., Tensor]:
    def f(x: Tensor, weight: Tensor) -> Tensor:
        padding = dilation * (weight.shape[-1] // 2)
        x = F.relu(x) if relu else x
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])

    return f


def ours(stride: int, dilation: int, relu: bool) -> Callable[..., Tensor]:
    return lambda x, weight: depthwise_conv(x, weight, stride, dilation, relu)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("k", "stride", "dilation", "relu"), SETTINGS)
def test_value_and_gradients(k: int, stride: int, dilation: int, relu: bool, shape: tuple[int, ...]) -> None:
    x, weight = draw(*shape, k=k)
    expected, expected_gradients = gradients(by_torch(stride, dilation, relu), [x, weight])
    for lay in (torch.Tensor.contiguous, channels_last):
        value, found = gradients(ours(stride, dilation, relu), [lay(x), weight])
        for one, other in zip((value, *found), (expected, *expected_gradients), strict=True):
            assert_close(one, other, tolerances.FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
def test_low_precision(dtype: torch.dtype, relu: bool) -> None:
    inputs = draw(4, 16, 16, 16, k=5, dtype=dtype)
    value, found = gradients(ours(1, 1, relu), inputs)
    expected, expected_gradients = gradients(by_torch(1, 1, relu), [x.double() for x in inputs])
    tolerance = tolerances.DEPTHWISE_FLOAT32 if dtype == torch.float32 else tolerances.DEPTHWISE_BFLOAT16
    for one, other in zip((value, *found), (expected, *expected_gradients), strict=True):
        assert one.dtype == dtype
        assert_close(one, other, tolerance)


@pytest.mark.parametrize(("k", "stride", "dilation", "relu"), [(3, 1, 1, True), (5, 2, 1, False), (3, 2, 2, True)])
def test_derivatives(k: int, stride: int, dilation: int, relu: bool) -> None:
    check_twice_differentiable(ours(stride, dilation, relu), draw(2, 2, 4, 5, k=k))


@pytest.mark.parametrize("lay", [torch.Tensor.contiguous, channels_last])
def test_registration(lay: Callable[[Tensor], Tensor]) -> None:
    for stride, dilation, relu in ((1, 1, True), (2, 1, False), (2, 2, True)):
        x, weight = draw(2, 3, 5, 6, k=3)
        arguments = (lay(x).requires_grad_(), weight.requires_grad_(), stride, dilation, relu)
        check_registration("depthwise_conv", arguments)
        grad = torch.ones_like(torch.ops.base_fast.depthwise_conv(*arguments)).requires_grad_()
        check_registration("depthwise_conv_backward", (grad, *arguments))


def test_compiled() -> None:
    x, weight = draw(2, 4, 6, 7, k=5, dtype=torch.float32)
    check_compiled(ours(2, 1, True), [x, weight])
    check_compiled(ours(1, 2, True), [channels_last(x), weight])


def test_no_images() -> None:
    x, weight = draw(0, 4, 6, 5, k=3)
    value, (d_x, d_weight) = gradients(ours(2, 1, True), [x, weight])
    assert (value.shape, d_x.shape) == ((0, 4, 3, 3), (0, 4, 6, 5))
    assert not d_weight.any()


def test_memory_format_is_that_of_x() -> None:
    x, weight = draw(2, 6, 5, 7, k=3, dtype=torch.float32)
    for stride in (1, 2):
        for image in (x, channels_last(x)):
            leaf = image.requires_grad_()
            y = depthwise_conv(leaf, weight, stride)
            (d_x,) = torch.autograd.grad(y.sum(), leaf)
            assert y.is_contiguous(memory_format=torch.channels_last) != y.is_contiguous()
            assert y.is_contiguous() == d_x.is_contiguous() == image.is_contiguous()


def test_strides_do_not_matter() -> None:
    x, weight = draw(2, 6, 5, 8, k=3)
    expected, expected_gradients = gradients(ours(1, 1, True), [x, weight])
    wide = torch.full((2, 6, 5, 16), float("nan"), dtype=torch.float64)
    wide[..., ::2] = x
    filters = weight.mT.contiguous().mT
    value, found = gradients(ours(1, 1, True), [wide[..., ::2], filters])
    for one, other in zip((value, *found), (expected, *expected_gradients), strict=True):
        assert torch.equal(one, other)


def test_what_is_saved() -> None:
    x, weight = (t.requires_grad_() for t in draw(2, 6, 5, 8, k=3))
    assert [t.data_ptr() for t in saved(depthwise_conv(x, weight, relu=True))] == [x.data_ptr(), weight.data_ptr()]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_spreads_as_in_pytorch(value: float, relu: bool) -> None:
    for stride, dilation in product((1, 2), repeat=2):
        x, weight = draw(2, 6, 9, 8, k=5)
        x[1, 2, 3, 4] = value
        expected, expected_gradients = gradients(by_torch(stride, dilation, relu), [x, weight])
        found, found_gradients = gradients(ours(stride, dilation, relu), [channels_last(x), weight])
        for one, other in zip((found, *found_gradients), (expected, *expected_gradients), strict=True):
            assert torch.equal(one.isfinite(), other.isfinite())
            assert torch.equal(one.isnan(), other.isnan())


def test_a_relu_is_closed_at_zero() -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 1.0]).view(1, 1, 2, 2)
    _, (d_x, _) = gradients(ours(1, 1, True), [x, torch.ones(1, 1, 3, 3)])
    assert (d_x != 0).flatten().tolist() == [False, False, False, True]


def test_the_weight_follows_x_under_autocast() -> None:
    x, weight = draw(2, 6, 5, 8, k=3, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = depthwise_conv(x.bfloat16(), weight)
    assert torch.equal(y, depthwise_conv(x.bfloat16(), weight.bfloat16()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(3, 4, 4)}, r"x: got float32 tensor of shape \(3, 4, 4\) on cpu, expected 4 dimension"),
        ({"x": torch.zeros(2, 3, 0, 4)}, r"x: got .* expected shape \(B, C, H, W\) with C, H, W ≥ 1"),
        ({"x": torch.zeros(2, 3, 4, 4).int()}, r"x: got int32 .* expected a floating-point tensor"),
        ({"weight": torch.zeros(3, 3, 3)}, r"weight: got .* expected 4 dimension"),
        ({"weight": torch.zeros(2, 1, 3, 3)}, r"weight: got .* expected shape \(3, 1, k, k\), k 3, 5 or 7"),
        ({"weight": torch.zeros(3, 1, 4, 4)}, r"weight: got .* expected shape \(3, 1, k, k\)"),
        ({"weight": torch.zeros(3, 1, 3, 5)}, r"weight: got .* expected shape \(3, 1, k, k\)"),
        ({"weight": torch.zeros(3, 3, 3, 3)}, r"weight: got .* expected shape \(3, 1, k, k\)"),
        ({"weight": torch.zeros(3, 1, 3, 3).double()}, "weight: got float64 .* expected torch.float32 on cpu, as x"),
        ({"stride": 3}, "stride: got 3, expected 1 or 2"),
        ({"dilation": 0}, "dilation: got 0, expected 1 or 2"),
    ],
)
def test_errors(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": torch.zeros(2, 3, 4, 4), "weight": torch.zeros(3, 1, 3, 3)} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        depthwise_conv(**arguments)
