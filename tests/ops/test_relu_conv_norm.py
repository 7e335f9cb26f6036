"""ReLU, 1×1 convolution and batch norm in one op against torch.nn."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from base_fast.errors import InputError
from base_fast.ops import relu_conv_norm
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.ops.samples import channels_last
from tests.tolerances import assert_close

# (B, C_in, H, W), C_out: channels that fill blocks of 16 and that do not, one of everything, odd sizes.
SIZES = [
    ((2, 3, 8, 8), 4),
    ((2, 48, 6, 6), 16),
    ((3, 17, 5, 7), 33),
    ((1, 16, 9, 4), 1),
    ((2, 1, 3, 3), 2),
    ((4, 5, 1, 1), 3),
    ((2, 4, 1, 6), 5),
    ((1, 2, 3, 2), 16),
]


class Plain(nn.Module):
    """The same in torch.nn's modules."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.BatchNorm2d(1, affine=False, track_running_stats=False)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        filters, x = weight[:, :, None, None], x.relu()
        if self.stride == 1:
            return self.norm(nn.functional.conv2d(x, filters))
        half = len(weight) // 2
        padded = nn.functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        images = [(padded[:, :, shift::2, shift::2], f) for shift, f in enumerate((filters[:half], filters[half:]))]
        return self.norm(torch.cat([nn.functional.conv2d(x, f) for x, f in images if len(f)], 1))


def op(stride: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, weight: relu_conv_norm(x, weight, stride)


def draw(size: tuple[int, ...], channels: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """x and the weight."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(size, dtype=torch.float64, generator=generator)
    weight = torch.randn(channels, size[1], dtype=torch.float64, generator=generator) / math.sqrt(size[1])
    return [x.to(dtype), weight.to(dtype)]


def check(found: tuple[Tensor, list[Tensor]], expected: tuple[Tensor, list[Tensor]], tolerance: float) -> None:
    for one, other in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert_close(one, other, tolerance)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("size", "channels"), SIZES, ids=str)
def test_value_and_gradients(size: tuple[int, ...], channels: int, stride: int) -> None:
    inputs = draw(size, channels)
    value, found = gradients(op(stride), inputs)
    assert value.shape == (size[0], channels, -(-size[2] // stride), -(-size[3] // stride))
    assert value.is_contiguous(memory_format=torch.channels_last)
    check((value, found), gradients(Plain(stride), inputs), tolerances.CONV_NORM_FLOAT64)


@pytest.mark.parametrize("stride", [1, 2])
def test_strides_do_not_matter(stride: int) -> None:
    x, weight = draw((2, 20, 6, 9), 18)
    expected = gradients(Plain(stride), [x, weight])
    wide = torch.full((2, 50, 8, 11), math.nan, dtype=x.dtype).contiguous(memory_format=torch.channels_last)
    wide[:, 7:27, 1:7, 1:10] = x
    slices = wide[:, 7:27, 1:7, 1:10]
    turned = x.transpose(2, 3).contiguous(memory_format=torch.channels_last).transpose(2, 3)
    every_other = torch.stack((x, x), -1)[..., 0]
    for other in (x, channels_last(x), slices, turned, every_other):
        for w in (weight, weight.T.contiguous().T):
            leaves = [other.detach().requires_grad_(), w.detach().requires_grad_()]
            y = relu_conv_norm(*leaves, stride)
            upstream = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)
            beside = torch.full_like(upstream, math.nan).repeat(1, 2, 1, 1)
            beside = beside.contiguous(memory_format=torch.channels_last)
            beside[:, 3 : 3 + y.shape[1]] = upstream
            for grad in (upstream, channels_last(upstream), beside[:, 3 : 3 + y.shape[1]]):
                found = torch.autograd.grad(y, leaves, grad, retain_graph=True)
                check((y.detach(), list(found)), expected, tolerances.CONV_NORM_FLOAT64)


def test_an_upstream_gradient_without_strides() -> None:
    leaves = [t.requires_grad_() for t in draw((2, 3, 5, 5), 4)]
    expected = torch.autograd.grad(Plain(1)(*leaves).sum(), leaves)
    for one, other in zip(torch.autograd.grad(relu_conv_norm(*leaves).sum(), leaves), expected, strict=True):
        assert_close(one, other, tolerances.CONV_NORM_FLOAT64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtypes", [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.bfloat16, torch.float32)])
def test_low_precision(dtypes: tuple[torch.dtype, torch.dtype], stride: int) -> None:
    inputs = [t.to(dtype) for t, dtype in zip(draw((4, 24, 8, 8), 20), dtypes, strict=True)]
    value, found = gradients(op(stride), inputs)
    assert (value.dtype, *(t.dtype for t in found)) == (dtypes[0], *dtypes)
    tolerance = tolerances.CONV_NORM_FLOAT32 if dtypes[0] == torch.float32 else tolerances.CONV_NORM_BFLOAT16
    check((value, found), gradients(Plain(stride), [t.double() for t in inputs]), tolerance)


@pytest.mark.parametrize("stride", [1, 2])
def test_means_far_from_zero(stride: int) -> None:
    """A variance as E[v²] − E[v]² would have lost all of its digits here."""
    x, _ = draw((4, 16, 16, 16), 1, torch.float32)
    # Every product is exact: what differs from the truth is what the norm does.
    x = (x * 64).round() / 64 + 1024.0
    weight = torch.cat((torch.eye(16), -torch.eye(16)[:3]))
    exact = gradients(Plain(stride), [x.double(), weight.double()])
    value, (d_x, d_weight) = gradients(op(stride), [x, weight])
    assert_close(value, exact[0], tolerances.CONV_NORM_FAR_FLOAT32)
    assert_close(d_x, exact[1][0], tolerances.CONV_NORM_FAR_FLOAT32)
    # Σ dv·x of numbers around 1000 whose sum should be near zero: no worse than PyTorch's own.
    _, (_, theirs) = gradients(Plain(stride), [x, weight])
    assert tolerances.error(d_weight, exact[1][1]) <= 2.0 * tolerances.error(theirs, exact[1][1]) + 1e-6


def test_a_constant_channel_gives_zeros() -> None:
    x, weight = torch.full((2, 3, 4, 4), 0.5), torch.ones(2, 3)
    value, (d_x, d_weight) = gradients(op(1), [x, weight])
    assert not value.any()
    assert d_x.isfinite().all()
    assert d_weight.isfinite().all()


def test_no_gradient_where_x_is_not_positive() -> None:
    x, weight = draw((2, 4, 5, 5), 3)
    x[0, :, 2] = 0.0
    _, (d_x, _) = gradients(op(1), [x, weight])
    assert not d_x[x <= 0.0].any()
    assert (d_x[x > 0.0] != 0.0).all()


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_not_finite_spreads_as_in_pytorch(poison: float, stride: int) -> None:
    for where in ("x", "weight"):
        x, weight = draw((2, 20, 6, 5), 18)
        (x if where == "x" else weight).view(-1)[25] = poison
        value, found = gradients(op(stride), [x, weight])
        expected, expected_gradients = gradients(Plain(stride), [x, weight])
        for one, other in zip((value, *found), (expected, *expected_gradients), strict=True):
            assert torch.equal(one.isnan(), other.isnan())
            assert_close(one.nan_to_num(0.0), other.nan_to_num(0.0), tolerances.CONV_NORM_FLOAT64)


def test_denormal_gradients_count_as_zeros_and_the_mode_does_not_stay() -> None:
    x, weight = (t.requires_grad_() for t in draw((2, 4, 8, 8), 4, torch.float32))
    y = relu_conv_norm(x, weight)
    for found in torch.autograd.grad(y, (x, weight), torch.full_like(y, 1e-40)):
        assert not found.any()
    assert (torch.tensor(1e-40) * 0.5).item() > 0.0


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    inputs = draw((7, 20, 19, 17), 18, torch.float32)
    before = torch.get_num_threads()
    try:
        for stride in (1, 2):
            torch.set_num_threads(1)
            expected, expected_gradients = gradients(op(stride), inputs)
            for threads in (2, 3, 5):
                torch.set_num_threads(threads)
                value, found = gradients(op(stride), inputs)
                assert torch.equal(value, expected)
                assert all(torch.equal(a, b) for a, b in zip(found, expected_gradients, strict=True))
    finally:
        torch.set_num_threads(before)


def test_what_is_saved() -> None:
    x, weight = (t.requires_grad_() for t in draw((2, 4, 8, 8), 3, torch.float32))
    y = relu_conv_norm(x, weight)
    kept = saved(y)
    assert [t.data_ptr() for t in kept[:3]] == [x.data_ptr(), weight.data_ptr(), y.data_ptr()]
    assert [t.shape for t in kept[3:]] == [(3,)]


@pytest.mark.parametrize("stride", [1, 2])
def test_derivatives(stride: int) -> None:
    check_twice_differentiable(op(stride), draw((2, 3, 3, 2), 3))


@pytest.mark.parametrize("stride", [1, 2])
def test_registration(stride: int) -> None:
    x, weight = draw((2, 3, 5, 4), 5)
    check_registration("relu_conv_norm", (x.requires_grad_(), weight.requires_grad_(), stride))
    for own in (x.detach(), channels_last(x.detach())):
        y, statistics = torch.ops.base_fast.relu_conv_norm(own, weight.detach(), stride)
        arguments = (torch.randn_like(y), own, weight.detach(), stride, y, statistics)
        check_registration("relu_conv_norm_backward", arguments)


@pytest.mark.parametrize("stride", [1, 2])
def test_compiled(stride: int) -> None:
    x, weight = draw((2, 6, 5, 7), 4, torch.float32)
    check_compiled(op(stride), [x, weight])
    check_compiled(op(stride), [channels_last(x).bfloat16(), weight])


@pytest.mark.parametrize("stride", [1, 2])
def test_no_images(stride: int) -> None:
    x, weight = draw((0, 3, 4, 4), 2)
    value, (d_x, d_weight) = gradients(op(stride), [x, weight])
    assert (value.shape, d_x.shape) == ((0, 2, 4 // stride, 4 // stride), (0, 3, 4, 4))
    assert torch.equal(d_weight, torch.zeros_like(weight))


def test_autocast() -> None:
    x, weight = (t.requires_grad_() for t in draw((2, 6, 8, 8), 4, torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = relu_conv_norm(x, weight)
        wide = relu_conv_norm(x.double(), weight.double())
    assert (y.dtype, wide.dtype) == (torch.bfloat16, torch.float64)
    assert torch.equal(y, relu_conv_norm(x.bfloat16(), weight))
    found = torch.autograd.grad(y.float().square().sum(), (x, weight))
    assert [t.dtype for t in found] == [torch.float32] * 2


X, W = torch.zeros(2, 3, 4, 4), torch.zeros(5, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": X[0]}, r"x: got float32 tensor of shape \(3, 4, 4\) on cpu, expected 4 dimension"),
        ({"x": X.int()}, "x: got int32 tensor .* expected a floating-point tensor"),
        ({"weight": W[:, :, None, None]}, r"weight: got .*\(5, 3, 1, 1\) on cpu, expected 2 dimension"),
        ({"weight": W[:, :2]}, r"weight: got .*\(5, 2\) on cpu, expected shape \(C_out ≥ 1, 3 ≥ 1\)"),
        ({"weight": W[:0]}, r"weight: got .*\(0, 3\) on cpu, expected shape \(C_out ≥ 1, 3 ≥ 1\)"),
        ({"weight": W.double()}, "weight: got float64 tensor .* expected float32 on cpu, as x"),
        ({"weight": W.bfloat16()}, "weight: got bfloat16 tensor .* expected float32 on cpu, as x"),
        ({"x": X.bfloat16(), "weight": W.double()}, "weight: got float64 .* expected float32 or bfloat16 on cpu"),
        ({"stride": 3}, "stride: got 3, expected an integer from 1 to 2"),
        ({"x": X[:1, :, :1, :1]}, r"x: got shape \(1, 3, 1, 1\), expected more than one value per channel"),
        ({"x": X[:1, :, :2, :2], "stride": 2}, r"x: got shape \(1, 3, 2, 2\), expected more than one value"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    arguments = {"x": X, "weight": W, "stride": 1} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        relu_conv_norm(**arguments)  # type: ignore[arg-type]
