"""Σ_l w_l·x_l against einsum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import mixed_sum
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.tolerances import assert_close


def draw(count: int, *shape: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """`count` branches, then their weights."""
    generator = torch.Generator().manual_seed(6)
    shapes = [shape] * count + [(count,)]
    return [torch.randn(s, dtype=torch.float64, generator=generator).to(dtype) for s in shapes]


def summed(*inputs: Tensor) -> Tensor:
    return mixed_sum(inputs[:-1], inputs[-1])


def by_einsum(*inputs: Tensor) -> Tensor:
    return torch.einsum("l...,l->...", torch.stack(inputs[:-1]), inputs[-1])


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("shape", [(2, 4, 7, 5), (1, 1, 1, 1), (3,), ()])
def test_value_and_gradients(count: int, shape: tuple[int, ...]) -> None:
    inputs = draw(count, *shape)
    expected, expected_gradients = gradients(by_einsum, inputs)
    value, found = gradients(summed, inputs)
    assert_close(value, expected, tolerances.FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(dtype: torch.dtype) -> None:
    inputs = draw(8, 2, 16, 8, 8, dtype=dtype)
    value = summed(*inputs)
    assert value.dtype == dtype
    tolerance = tolerances.SUM_FLOAT32 if dtype == torch.float32 else tolerances.SUM_BFLOAT16
    assert_close(value, by_einsum(*(x.double() for x in inputs)), tolerance)


def test_none_contributes_nothing() -> None:
    first, second, weights = draw(2, 2, 4, 3, 3)
    spread = torch.stack((*weights[:1], weights[0] * 7, *weights[1:]))

    def f(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return mixed_sum([None, a, None, b], torch.cat((w[1:2], w[0:1], w[1:2], w[2:3])))

    value, (d_a, d_b, d_w) = gradients(f, [first, second, spread])
    expected, (e_a, e_b, e_w) = gradients(lambda a, b, w: w[0] * a + w[2] * b, [first, second, spread])
    for one, other in ((value, expected), (d_a, e_a), (d_b, e_b), (d_w, e_w)):
        assert_close(one, other, tolerances.FLOAT64)
    assert d_w[1] == 0.0


def test_the_same_branch_twice() -> None:
    x, _, weights = draw(2, 2, 4, 3, 3)
    found = gradients(lambda x, w: mixed_sum([x, x], w), [x, weights])[1]
    expected = gradients(lambda x, w: w[0] * x + w[1] * x, [x, weights])[1]
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerances.FLOAT64)


def test_an_upstream_gradient_without_strides() -> None:
    inputs = draw(3, 2, 4, 5, 5)
    expected = torch.autograd.grad(by_einsum(*(x.requires_grad_() for x in inputs)).sum(), inputs)
    for one, other in zip(torch.autograd.grad(summed(*inputs).sum(), inputs), expected, strict=True):
        assert_close(one, other, tolerances.FLOAT64)


def test_saved_for_backward() -> None:
    *branches, weights = (x.requires_grad_() for x in draw(3, 2, 4, 5, 5))
    y = mixed_sum([branches[0], None, branches[2]], weights)
    assert [x.data_ptr() for x in saved(y)] == [x.data_ptr() for x in (branches[0], branches[2], weights)]


def test_derivatives() -> None:
    check_twice_differentiable(summed, draw(3, 2, 2, 3))
    check_twice_differentiable(lambda a, b, w: mixed_sum([a, None, b], w), [*draw(3, 2, 2)[:2], draw(3)[-1]])


def test_registration() -> None:
    *branches, weights = (x.requires_grad_() for x in draw(3, 2, 4, 5, 5))
    check_registration("mixed_sum", (branches, weights, [0, 1, 2]))
    *branches, weights = draw(3, 2, 4, 5, 5)
    check_registration("mixed_sum", (branches[:2], weights, [2, 0]))
    check_registration("mixed_sum_backward", (branches[2], branches[:2], weights, [2, 0]))
    images = [x.contiguous(memory_format=torch.channels_last) for x in branches]
    check_registration("mixed_sum", (images, weights, [0, 1, 2]))
    check_registration("mixed_sum_backward", (images[0], images, weights, [0, 1, 2]))


def test_compiled() -> None:
    inputs = draw(3, 2, 4, 5, 5)
    check_compiled(summed, inputs)
    inputs[0] = inputs[0].contiguous(memory_format=torch.channels_last)
    check_compiled(lambda a, b, c, w: mixed_sum([a, None, c], w) + b, inputs)


def test_no_images() -> None:
    assert summed(*draw(3, 0, 4, 5, 5)).shape == (0, 4, 5, 5)


def test_memory_formats_mix() -> None:
    *branches, weights = draw(4, 2, 6, 5, 7)
    plain = mixed_sum(branches, weights)
    assert torch.equal(mixed_sum([b.contiguous(memory_format=torch.channels_last) for b in branches], weights), plain)
    mixed = [b.contiguous(memory_format=torch.channels_last) if i % 2 else b for i, b in enumerate(branches)]
    assert torch.equal(mixed_sum(mixed, weights), plain)
    strided = torch.stack(branches, dim=-1)
    assert torch.equal(mixed_sum(strided.unbind(-1), torch.stack((weights, weights), 1)[:, 0]), plain)


def test_channels_last_stays_channels_last() -> None:
    *branches, weights = draw(4, 2, 6, 5, 7)
    y = mixed_sum([b.contiguous(memory_format=torch.channels_last) for b in branches], weights)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_the_first_branch_decides_the_memory_format() -> None:
    *branches, weights = draw(3, 2, 6, 5, 7)
    images = [b.contiguous(memory_format=torch.channels_last) for b in branches]
    assert mixed_sum([images[0], *branches[1:]], weights).is_contiguous(memory_format=torch.channels_last)
    assert mixed_sum([branches[0], *images[1:]], weights).is_contiguous()
    for mixture in ([images[0], *branches[1:]], [branches[0], *images[1:]]):
        found = gradients(summed, [*mixture, weights])[1]
        for one, other in zip(found, gradients(summed, [*branches, weights])[1], strict=True):
            assert_close(one, other, tolerances.FLOAT64)


A = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("branches", "weights", "message"),
    [
        ([], torch.zeros(0), "branches: got an empty list, expected at least one tensor"),
        ([A.int()], torch.zeros(1), r"branches\[0\]: got int32 .* expected a floating-point tensor"),
        ([A, A.T], torch.zeros(2), r"branches\[1\]: got float32 tensor of shape \(3, 2\) .* same as branches\[0\]"),
        ([A, A.double()], torch.zeros(2), r"branches\[1\]: got float64"),
        ([None, None], torch.zeros(2), "branches: got 2 None, expected at least one tensor"),
        ([None, A, A.T], torch.zeros(3), r"branches\[2\]: got .* same as branches\[1\]"),
        ([A, 1.0], torch.zeros(2), r"branches\[1\]: got float 1.0"),
        ([A, A], torch.zeros(3), r"weights: got float32 tensor of shape \(3,\) on cpu, expected shape \(2,\)"),
        ([A, A], torch.zeros(2, 1), r"weights: got float32 tensor of shape \(2, 1\)"),
        ([A, A], torch.zeros(2).double(), r"weights: got float64 .* the branches' dtype and device: float32"),
        ([A, A], [0.5, 0.5], r"weights: got list"),
    ],
)
def test_errors(branches: list[Tensor], weights: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        mixed_sum(branches, weights)
