"""The kernel of depthwise_conv against PyTorch's own convolution in float64."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.kernels import _windows
from base_fast.kernels import depthwise_conv as convolution
from tests import tolerances
from tests.kernels.cases import DTYPES, assert_all_close, normal

LAYOUTS = (torch.contiguous_format, torch.channels_last)
CONV = {
    torch.float32: tolerances.WINDOW_FLOAT32,
    torch.float64: tolerances.FLOAT64,
    torch.bfloat16: tolerances.WINDOW_BFLOAT16,
}
# One pixel; odd sides smaller than some windows; more channels than a tile and no power of two.
SHAPES = [(shape, layout) for shape in ((2, 3, 1, 1), (2, 5, 7, 4)) for layout in LAYOUTS]
SHAPES += [((1, 37, 5, 9), torch.channels_last)]


def images(shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, seed: int = 0) -> Tensor:
    return normal(*shape, dtype=dtype, seed=seed).contiguous(memory_format=layout)


def convolved(x: Tensor, weight: Tensor, stride: int, dilation: int, relu: bool) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    x = F.relu(x) if relu else x
    return F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation, groups=len(weight))


def check_convolution(
    shape: tuple[int, ...],
    k: int,
    dilation: int,
    stride: int,
    relu: bool,
    dtype: torch.dtype,
    layout: torch.memory_format,
) -> None:
    x, weight = images(shape, dtype, layout), normal(shape[1], 1, k, k, dtype=dtype, seed=1) / k
    y = convolution.depthwise_conv(x, weight, stride, dilation, relu)
    assert y.is_contiguous(memory_format=layout)
    leaves = [t.double().requires_grad_() for t in (x, weight)]
    expected = convolved(*leaves, stride, dilation, relu)
    assert_all_close([y], [expected], CONV[dtype], dtype)
    grad = images(tuple(y.shape), dtype, layout, 2)
    found = convolution.depthwise_conv_backward(grad, x, weight, stride, dilation, relu)
    assert found[0].is_contiguous(memory_format=layout)
    assert_all_close(found, torch.autograd.grad(expected, leaves, grad.double()), CONV[dtype], dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("shape", "layout"), SHAPES)
def test_convolution(shape: tuple[int, ...], stride: int, layout: torch.memory_format) -> None:
    check_convolution(shape, 3, 2, stride, True, torch.float32, layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k", "dilation", "relu"), [(3, 1, False), (5, 1, True), (5, 2, False), (7, 1, True)])
def test_convolution_of_every_kernel(k: int, dilation: int, relu: bool, dtype: torch.dtype) -> None:
    check_convolution((2, 5, 7, 4), k, dilation, 2 - k % 4 // 3, relu, dtype, torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_of_several_tiles(
    stride: int, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_windows, "CONTRIBUTORS", 2)
    check_convolution((2, 3, 30, 29), 3, 1, stride, False, torch.float32, layout)


def test_a_relu_lets_nan_through() -> None:
    x = torch.tensor([[[[-1.0, float("nan"), 2.0, 0.0]]]])
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1.0
    y = convolution.depthwise_conv(x, weight, 1, 1, True)
    assert torch.equal(torch.isnan(y), torch.isnan(convolved(x, weight, 1, 1, True)))
    d_x, d_weight = convolution.depthwise_conv_backward(torch.ones_like(x), x, weight, 1, 1, True)
    assert d_x.flatten().tolist() == [0.0, 1.0, 1.0, 0.0]
    # Pixels beside the border meet no gradient beyond it.
    assert torch.equal(torch.isnan(d_weight), torch.tensor([[[[False] * 3, [True] * 3, [False] * 3]]]))


def test_no_images() -> None:
    x, weight = torch.zeros(0, 3, 4, 4), torch.ones(3, 1, 3, 3)
    assert convolution.depthwise_conv(x, weight, 2, 1, False).shape == (0, 3, 2, 2)
    d_x, d_weight = convolution.depthwise_conv_backward(x, x, weight, 1, 1, False)
    assert d_x.shape == x.shape and torch.equal(d_weight, torch.zeros_like(weight))
