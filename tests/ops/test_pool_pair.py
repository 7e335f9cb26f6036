"""3 × 3 maxima and averages against torch's pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.ops import pool_pair
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.ops.samples import channels_last
from tests.tolerances import assert_close

SHAPES = [(2, 3, 9, 8), (1, 1, 1, 1), (2, 16, 5, 7), (3, 17, 1, 6), (1, 2, 6, 1), (2, 33, 3, 2), (1, 4, 2, 2)]
INF = float("inf")
NAN = float("nan")


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).to(dtype)


def ours(stride: int) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.cat(pool_pair(x, stride))


def by_torch(stride: int) -> Callable[[Tensor], Tensor]:
    def f(x: Tensor) -> Tensor:
        return torch.cat((F.max_pool2d(x, 3, stride, 1), F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)))

    return f


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient(shape: tuple[int, ...], stride: int) -> None:
    x = draw(*shape)
    expected, (expected_gradient,) = gradients(by_torch(stride), [x])
    for lay in (torch.Tensor.contiguous, channels_last):
        value, (found,) = gradients(ours(stride), [lay(x)])
        assert_close(value, expected, tolerances.FLOAT64)
        assert_close(found, expected_gradient, tolerances.FLOAT64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(dtype: torch.dtype, stride: int) -> None:
    x = draw(4, 16, 16, 16, dtype=dtype)
    maximum, average = pool_pair(x, stride)
    assert maximum.dtype == average.dtype == dtype
    assert torch.equal(maximum, F.max_pool2d(x, 3, stride, 1))
    value, (found,) = gradients(ours(stride), [x])
    expected, (expected_gradient,) = gradients(by_torch(stride), [x.double()])
    tolerance = tolerances.POOLS_FLOAT32 if dtype == torch.float32 else tolerances.POOLS_BFLOAT16
    assert_close(value, expected, tolerance)
    assert_close(found, expected_gradient, tolerance)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "values",
    [
        (0.0, 1.0, 2.0),
        (-0.0, 0.0, -1.0),
        (-INF, 1.0),
        (-INF,),
        (INF, 1.0, -INF),
        (NAN, 1.0, 2.0),
        (NAN, INF, -INF, 0.0),
    ],
    ids=str,
)
def test_ties_and_what_is_not_finite(values: tuple[float, ...], stride: int) -> None:
    """Every window has equals; each gradient reaches one pixel, and that which PyTorch chooses."""
    generator = torch.Generator().manual_seed(5)
    chosen = torch.randint(len(values), (3, 20, 9, 11), generator=generator)
    x = torch.tensor(values, dtype=torch.float64)[chosen]
    for image in (x, channels_last(x)):
        image.requires_grad_()
        ours, theirs = pool_pair(image, stride), by_torch(stride)(image).chunk(2)
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one.isnan(), other.isnan())
            assert_close(one.nan_to_num(), other.nan_to_num(), tolerances.FLOAT64)
        upstream = torch.arange(theirs[0].numel(), dtype=torch.float64).view(theirs[0].shape)
        for one, other in zip(ours, theirs, strict=True):
            (found,) = torch.autograd.grad(one, image, upstream, retain_graph=True)
            (expected,) = torch.autograd.grad(other, image, upstream, retain_graph=True)
            assert_close(found, expected, tolerances.FLOAT64)


@pytest.mark.parametrize("stride", [1, 2])
def test_derivatives(stride: int) -> None:
    check_twice_differentiable(ours(stride), [draw(2, 2, 4, 5)])


@pytest.mark.parametrize("lay", [torch.Tensor.contiguous, channels_last])
def test_registration(lay: Callable[[Tensor], Tensor]) -> None:
    for stride in (1, 2):
        x = lay(draw(2, 3, 5, 6))
        check_registration("pool_pair", (x.requires_grad_(), stride))
        grads = [torch.ones_like(y).requires_grad_() for y in pool_pair(x, stride)]
        check_registration("pool_pair_backward", (*grads, x.detach(), stride))


def test_compiled() -> None:
    x = draw(2, 4, 6, 7, dtype=torch.float32)
    check_compiled(ours(2), [x])
    check_compiled(ours(1), [channels_last(x)])


def test_no_images() -> None:
    value, (d_x,) = gradients(ours(2), [draw(0, 4, 6, 5)])
    assert (value.shape, d_x.shape) == ((0, 4, 3, 3), (0, 4, 6, 5))


def test_one_of_the_two() -> None:
    x = draw(2, 4, 6, 5).requires_grad_()
    for i, one in enumerate(by_torch(1)(x).chunk(2)):
        (expected,) = torch.autograd.grad(one.square().sum(), x, retain_graph=True)
        (found,) = torch.autograd.grad(pool_pair(x)[i].square().sum(), x)
        assert_close(found, expected, tolerances.FLOAT64)


def test_memory_format_is_that_of_x() -> None:
    for stride in (1, 2):
        for image in (draw(2, 6, 5, 7), channels_last(draw(2, 6, 5, 7))):
            leaf = image.requires_grad_()
            maximum, average = pool_pair(leaf, stride)
            (d_x,) = torch.autograd.grad(maximum.sum() + average.sum(), leaf)
            for y in (maximum, average, d_x):
                assert y.is_contiguous(memory_format=torch.channels_last) != y.is_contiguous()
                assert y.is_contiguous() == image.is_contiguous()


def test_strides_do_not_matter() -> None:
    x = draw(2, 6, 5, 8)
    wide = torch.full((2, 6, 5, 16), NAN, dtype=torch.float64)
    wide[..., ::2] = x
    value, (found,) = gradients(ours(2), [wide[..., ::2]])
    expected, (expected_gradient,) = gradients(ours(2), [x])
    assert torch.equal(value, expected)
    assert torch.equal(found, expected_gradient)


def test_what_is_saved() -> None:
    x = draw(2, 6, 5, 8).requires_grad_()
    assert [t.data_ptr() for t in saved(pool_pair(x)[0])] == [x.data_ptr()]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(3, 4, 4)}, r"x: got float32 tensor of shape \(3, 4, 4\) on cpu, expected 4 dimension"),
        ({"x": torch.zeros(2, 0, 4, 4)}, r"x: got .* expected shape \(B, C, H, W\) with C, H, W ≥ 1"),
        ({"x": torch.zeros(2, 3, 4, 4).half()}, r"x: got float16 .* expected a floating-point tensor"),
        ({"stride": 0}, "stride: got 0, expected 1 or 2"),
    ],
)
def test_errors(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": torch.zeros(2, 3, 4, 4)} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        pool_pair(**arguments)
