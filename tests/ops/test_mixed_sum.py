"""Σ_l w_l·x_l against einsum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import mixed_sum
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients
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


def test_derivatives() -> None:
    check_twice_differentiable(summed, draw(3, 2, 2, 3))


def test_registration() -> None:
    *branches, weights = (x.requires_grad_() for x in draw(3, 2, 4, 5, 5))
    check_registration("mixed_sum", (branches, weights))


def test_compiled() -> None:
    check_compiled(summed, draw(3, 2, 4, 5, 5))


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


A = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("branches", "weights", "message"),
    [
        ([], torch.zeros(0), "branches: got an empty list, expected at least one tensor"),
        ([A.int()], torch.zeros(1), r"branches\[0\]: got int32 .* expected a floating-point tensor"),
        ([A, A.T], torch.zeros(2), r"branches\[1\]: got float32 tensor of shape \(3, 2\) .* same as branches\[0\]"),
        ([A, A.double()], torch.zeros(2), r"branches\[1\]: got float64"),
        ([A, None], torch.zeros(2), r"branches\[1\]: got NoneType None"),
        ([A, A], torch.zeros(3), r"weights: got float32 tensor of shape \(3,\) on cpu, expected shape \(2,\)"),
        ([A, A], torch.zeros(2, 1), r"weights: got float32 tensor of shape \(2, 1\)"),
        ([A, A], torch.zeros(2).double(), r"weights: got float64 .* the branches' dtype and device: float32"),
        ([A, A], [0.5, 0.5], r"weights: got list"),
    ],
)
def test_errors(branches: list[Tensor], weights: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        mixed_sum(branches, weights)
