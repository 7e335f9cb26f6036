"""The kernels of gumbel_softmax against its reference in float64."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

import torch

from base_fast.kernels import gumbel_softmax as kernel
from base_fast.reference import gumbel_softmax as reference
from tests import tolerances
from tests.kernels.cases import DTYPES, KEY, assert_all_close, normal

# Up to the largest power of two tile, and every position of a row within its first Philox block.
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 33, 64)
SOFTMAX = {
    torch.float32: tolerances.SOFTMAX_FLOAT32,
    torch.float64: tolerances.SOFTMAX_FLOAT32,  # ξ is float32
    torch.bfloat16: tolerances.SOFTMAX_BFLOAT16,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("L", LENGTHS)
def test_sample(L: int, dtype: torch.dtype) -> None:
    logits = normal(7, 3, L, dtype=dtype)
    for tau in (1.0, 0.6):
        expected = reference.gumbel_softmax(logits.double(), KEY, tau, False, 0.7)
        assert_all_close([kernel.gumbel_softmax(logits, KEY, tau, False, 0.7)], [expected], SOFTMAX[dtype] / tau, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("L", LENGTHS)
def test_hard_sample_is_exact(L: int, dtype: torch.dtype) -> None:
    logits = normal(7, 3, L, dtype=dtype)
    actual = kernel.gumbel_softmax(logits, KEY, 0.5, True, 1.0)
    assert torch.equal(actual, reference.gumbel_softmax(logits, KEY, 0.5, True, 1.0))


def test_hard_sample_takes_the_first_of_equals() -> None:
    actual = kernel.gumbel_softmax(torch.zeros(3, 6), KEY, 1.0, True, 0.0)
    assert torch.equal(actual, torch.eye(6)[:1].expand(3, 6))


@pytest.mark.parametrize("hard", [False, True])
# The interpreter's NumPy says where they arise.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_a_number_stays_in_its_row(hard: bool) -> None:
    logits = normal(4, 8, dtype=torch.float32)
    logits[1, 3], logits[2, 0] = float("nan"), float("-inf")
    actual = kernel.gumbel_softmax(logits, KEY, 1.0, hard, 1.0)
    assert actual[1].isnan().all()
    rest = [0, 2, 3]
    expected = reference.gumbel_softmax(logits, KEY, 1.0, hard, 1.0)[rest]
    assert_all_close([actual[rest]], [expected], tolerances.SOFTMAX_FLOAT32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("L", LENGTHS)
def test_gradient(L: int, dtype: torch.dtype) -> None:
    z, grad = torch.softmax(normal(7, 3, L), -1).to(dtype), normal(7, 3, L, dtype=dtype, seed=1)
    expected = reference.gumbel_softmax_backward(grad.double(), z.double(), 0.5)
    tolerance = tolerances.FLOAT64 if dtype == torch.float64 else SOFTMAX[dtype]
    assert_all_close([kernel.gumbel_softmax_backward(grad, z, 0.5)], [expected], tolerance, dtype)


def test_arithmetic_in_float64_is_that_of_float64() -> None:
    logits = normal(5, 3, 7)
    z = kernel.gumbel_softmax(logits, KEY, 0.3, False, 0.0)
    assert_all_close([z], [torch.softmax(logits / 0.3, -1)], tolerances.FLOAT64)


def test_empty_and_strided_logits() -> None:
    empty = torch.zeros(0, 4)
    assert kernel.gumbel_softmax(empty, KEY, 1.0, False, 1.0).shape == (0, 4)
    assert kernel.gumbel_softmax_backward(empty, empty, 1.0).shape == (0, 4)
    logits = normal(6, 9, dtype=torch.float32)[::2, 1::2]
    actual = kernel.gumbel_softmax(logits, KEY, 1.0, False, 1.0)
    assert torch.equal(actual, kernel.gumbel_softmax(logits.contiguous(), KEY, 1.0, False, 1.0))
