"""The kernels of outer_step and sgd_step against their references in float64."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("triton")

import torch

from base_fast.kernels import outer_step as outer
from base_fast.kernels import sgd_step as sgd
from base_fast.reference import outer_step as outer_reference
from base_fast.reference import sgd_step as sgd_reference
from tests import tolerances
from tests.kernels.cases import DTYPES, SIZES, assert_all_close, normal, vectors, wide

STEP = {
    torch.float32: tolerances.SUM_FLOAT32,
    torch.float64: tolerances.FLOAT64,
    torch.bfloat16: tolerances.SUM_BFLOAT16,
}
LRS = [0.1, 0.0, 1e-3, 1.0 / 3.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tasks", [1, 5])
def test_outer_step(size: int, dtype: torch.dtype, tasks: int) -> None:
    prior, *adapted = vectors(1 + tasks, size, dtype)
    expected = outer_reference.outer_step(prior.double(), wide(adapted), 0.3)
    assert_all_close([outer.outer_step(prior, adapted, 0.3)], [expected], STEP[dtype], dtype)


def test_outer_step_of_strided_vectors() -> None:
    prior, *adapted = (x[::3] for x in vectors(3, 700, torch.float32))
    expected = outer.outer_step(prior.contiguous(), [x.contiguous() for x in adapted], 0.3)
    assert torch.equal(outer.outer_step(prior, adapted, 0.3), expected)


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
