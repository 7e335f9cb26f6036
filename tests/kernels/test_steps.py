"""The kernel of sgd_step against its reference in float64."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("triton")

import torch

from base_fast.kernels import sgd_step as sgd
from base_fast.reference import sgd_step as sgd_reference
from tests import tolerances
from tests.kernels.cases import DTYPES, assert_all_close, normal, wide

STEP = {
    torch.float32: tolerances.SUM_FLOAT32,
    torch.float64: tolerances.FLOAT64,
    torch.bfloat16: tolerances.SUM_BFLOAT16,
}
LRS = [0.1, 0.0, 1e-3, 1.0 / 3.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", [0.0, 1.0, 1e6])
def test_sgd_step(dtype: torch.dtype, clip: float) -> None:
    variables = [normal(size, dtype=dtype, seed=size) for size in (3, 1024, 0, 2051)]
    gradients = [normal(size, dtype=dtype, seed=size + 1) for size in (3, 1024, 0, 2051)]
    *actual, norm = sgd.sgd_step(variables, gradients, LRS, clip)
    *expected, expected_norm = sgd_reference.sgd_step(wide(variables), wide(gradients), LRS, clip)
    assert_all_close(actual, expected, STEP[dtype], dtype)
    assert norm.dtype == torch.float64
    assert_all_close([norm], [expected_norm], tolerances.FLOAT64)


def test_sgd_step_without_gradient() -> None:
    x = normal(5, dtype=torch.float32)
    y, norm = sgd.sgd_step([x], [torch.zeros(5)], [0.1], 1.0)
    assert torch.equal(y, x) and norm == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_norm_that_is_not_finite_propagates(bad: float) -> None:
    xs = [torch.ones(4), torch.ones(3)]
    gradients = [torch.tensor([1.0, bad, 1.0, 1.0]), torch.ones(3)]
    actual = sgd.sgd_step(xs, gradients, [0.1, 0.1], 1.0)
    expected = sgd_reference.sgd_step(xs, gradients, [0.1, 0.1], 1.0)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=0.0, atol=0.0, equal_nan=True)
