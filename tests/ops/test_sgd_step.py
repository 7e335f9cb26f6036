"""A clipped gradient step against torch.optim.SGD and torch's clip_grad_norm_."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import sgd_step
from tests import tolerances
from tests.ops.contract import check_registration
from tests.tolerances import assert_close

Lists = tuple[list[Tensor], list[Tensor], list[float]]


def draw(*counts: int, dtype: torch.dtype = torch.float64) -> Lists:
    """Variables, gradients, step sizes."""
    generator = torch.Generator().manual_seed(15)
    x, g = ([torch.randn(c, dtype=torch.float64, generator=generator).to(dtype) for c in counts] for _ in range(2))
    return x, g, [0.1 * (i + 1) for i in range(len(counts))]


def by_torch(variables: list[Tensor], gradients: list[Tensor], lrs: list[float], clip: float) -> list[Tensor]:
    leaves = [x.double().clone().requires_grad_() for x in variables]
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient.double().clone()
    norm = torch.linalg.vector_norm(torch.cat([g.double() for g in gradients]))
    if clip:
        torch.nn.utils.clip_grad_norm_(leaves, clip)
    torch.optim.SGD([{"params": [x], "lr": lr} for x, lr in zip(leaves, lrs, strict=True)]).step()
    return [*(x.detach() for x in leaves), norm]


@pytest.mark.parametrize("clip", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("counts", [(1,), (5, 3), (1000, 1, 17), (50_001, 50_001)])
def test_formula(counts: tuple[int, ...], clip: float) -> None:
    for dtype, tolerance in (
        (torch.float64, tolerances.CLIP_FLOAT64),
        (torch.float32, tolerances.STEP_FLOAT32),
        (torch.bfloat16, tolerances.STEP_BFLOAT16),
    ):
        variables, gradients, lrs = draw(*counts, dtype=dtype)
        copies = [x.clone() for x in (*variables, *gradients)]
        after, norm = sgd_step(variables, gradients, lrs, clip)
        *expected, expected_norm = by_torch(variables, gradients, lrs, clip)
        assert (norm.dtype, norm.shape) == (torch.float64, ())
        assert_close(norm, expected_norm, tolerances.NORM_FLOAT64)
        for x, y in zip(after, expected, strict=True):
            assert x.dtype == dtype
            assert_close(x, y, tolerance)
        assert all(torch.equal(a, b) for a, b in zip(copies, (*variables, *gradients), strict=True))


def test_clipping_bounds_all_vectors_together() -> None:
    zeros, gradients, _ = draw(30, 40)
    after, norm = sgd_step([0 * x for x in zeros], gradients, [1.0, 1.0], 0.5)
    assert norm > 0.5
    assert_close(torch.cat(after).norm(), torch.tensor(0.5), tolerances.FLOAT64)


def test_without_clipping_it_is_the_step_itself() -> None:
    variables, gradients, lrs = draw(30, 40)
    for clip in (0.0, 1e6):
        after, _ = sgd_step(variables, gradients, lrs, clip)
        for x, v, g, lr in zip(after, variables, gradients, lrs, strict=True):
            assert_close(x, v - lr * g, tolerances.FLOAT64)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_gradients_of_zero_and_what_is_no_number(clip: float) -> None:
    variables, gradients, lrs = draw(6)
    after, norm = sgd_step(variables, [torch.zeros(6).double()], lrs, clip)
    assert torch.equal(after[0], variables[0])
    assert norm == 0.0
    for bad in (math.nan, math.inf):
        gradients[0][2] = bad
        after, norm = sgd_step(variables, gradients, lrs, clip)
        assert not norm.isfinite()
        assert not after[0].isfinite().all()


def test_norms_beyond_the_range_of_float32() -> None:
    _, norm = sgd_step([torch.zeros(4)], [torch.full((4,), 1e30)], [1.0], 1.0)
    assert math.isclose(norm.item(), 2e30, rel_tol=1e-6)


def test_registration() -> None:
    check_registration("sgd_step", (*draw(5, 3), 0.5))


def test_compiled() -> None:
    torch._dynamo.reset()
    variables, gradients, lrs = draw(9, 4)
    compiled = torch.compile(lambda v, g: sgd_step(v, g, lrs, 0.5), fullgraph=True, backend="aot_eager")
    (after, norm), (expected, expected_norm) = compiled(variables, gradients), sgd_step(variables, gradients, lrs, 0.5)
    assert torch.equal(norm, expected_norm)
    assert all(torch.equal(a, b) for a, b in zip(after, expected, strict=True))


def test_empty() -> None:
    after, norm = sgd_step([torch.empty(0), torch.ones(2)], [torch.empty(0), torch.ones(2)], [0.1, 0.1], 0.5)
    assert after[0].shape == (0,)
    assert_close(norm, torch.tensor(2.0).double().sqrt(), tolerances.FLOAT64)
    assert sgd_step([torch.empty(0)], [torch.empty(0)], [0.1], 0.5)[1] == 0.0


def test_strides_do_not_matter() -> None:
    variables, gradients, lrs = draw(40, 40)
    together = torch.stack((*variables, *gradients), dim=1).unbind(1)
    strided, norm = sgd_step(together[:2], together[2:], lrs, 0.5)
    expected, expected_norm = sgd_step(variables, gradients, lrs, 0.5)
    assert_close(norm, expected_norm, tolerances.NORM_FLOAT64)
    for x, y in zip(strided, expected, strict=True):
        assert_close(x, y, tolerances.FLOAT64)


def test_a_lost_gradient_is_refused() -> None:
    (x,), (g,), lrs = draw(3)
    with pytest.raises(InputError, match=r"^variables\[0\]: got a tensor that requires grad, expected a detached one"):
        sgd_step([x.clone().requires_grad_()], [g], lrs)
    with pytest.raises(InputError, match=r"^gradients\[0\]: got a tensor that requires grad"):
        sgd_step([x], [g.clone().requires_grad_()], lrs)
    with torch.no_grad():
        assert not sgd_step([x.requires_grad_()], [g], lrs)[0][0].requires_grad


A = torch.zeros(3)


@pytest.mark.parametrize(
    ("variables", "gradients", "lrs", "clip", "message"),
    [
        ([], [], [], 0.0, "variables, gradients, lrs: got 0, 0 and 0, expected as many of each, ≥ 1"),
        ([A, A], [A], [0.1, 0.1], 0.0, "variables, gradients, lrs: got 2, 1 and 2"),
        ([A], [A], [], 0.0, "variables, gradients, lrs: got 1, 1 and 0"),
        ([A.int()], [A], [0.1], 0.0, r"variables\[0\]: got int32 .* expected a floating-point tensor"),
        ([A.view(3, 1)], [A], [0.1], 0.0, r"variables\[0\]: got .* expected 1 dimension"),
        ([A], [torch.zeros(4)], [0.1], 0.0, r"gradients\[0\]: got .*\(4,\) .* the same as variables\[0\]"),
        ([A, A.double()], [A, A.double()], [0.1, 0.1], 0.0, r"variables\[1\]: got float64 .* as variables\[0\]"),
        ([A], [A], [0.1], -1.0, "clip: got -1.0, expected a number ≥ 0"),
        ([A], [A], [0.1], math.nan, "clip: got nan"),
    ],
)
def test_errors(variables: list[Tensor], gradients: list[Tensor], lrs: list[float], clip: float, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        sgd_step(variables, gradients, lrs, clip)
