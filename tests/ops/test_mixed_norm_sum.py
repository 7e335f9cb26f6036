"""Σ_l w_l·BN(x_l) against torch's batch_norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.ops import mixed_norm_sum, mixed_sum
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.tolerances import assert_close

SHAPES = [(2, 4, 7, 5), (1, 1, 1, 2), (3, 1, 1, 1), (1, 16, 9, 8), (2, 3, 33, 1)]
EPS = 1e-5


def draw(count: int, *shape: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """`count` branches of different means and scales, then their weights."""
    generator = torch.Generator().manual_seed(8)
    *branches, weights = (
        torch.randn(s, dtype=torch.float64, generator=generator) for s in ([shape] * count + [(count,)])
    )
    return [((k + 1) * x + 2 * k - 3).to(dtype) for k, x in enumerate(branches)] + [weights.to(dtype)]


def summed(*inputs: Tensor, **settings: Any) -> Tensor:
    return mixed_norm_sum(inputs[:-1], inputs[-1], **settings)


def by_torch(*inputs: Tensor, normalize: tuple[bool, ...] | None = None, eps: float = EPS) -> Tensor:
    *branches, weights = inputs
    chosen = normalize or (True,) * len(branches)
    normed = [
        F.batch_norm(x, None, None, training=True, eps=eps) if norm else x
        for x, norm in zip(branches, chosen, strict=True)
    ]
    return torch.einsum("lbchw,l->bchw", torch.stack(normed), weights)


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradients(count: int, shape: tuple[int, ...]) -> None:
    inputs = draw(count, *shape)
    expected, expected_gradients = gradients(by_torch, inputs)
    value, found = gradients(summed, inputs)
    assert_close(value, expected, tolerances.NORM_SUM_FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.NORM_SUM_FLOAT64)


@pytest.mark.parametrize("normalize", [(False, False, False), (True, False, True), (False, True, True)])
def test_branches_as_they_are(normalize: tuple[bool, ...]) -> None:
    inputs = draw(3, 2, 4, 7, 5)
    expected, expected_gradients = gradients(lambda *x: by_torch(*x, normalize=normalize), inputs)
    value, found = gradients(lambda *x: summed(*x, normalize=normalize), inputs)
    assert_close(value, expected, tolerances.NORM_SUM_FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.NORM_SUM_FLOAT64)


def test_none_normalized_is_the_mixed_sum() -> None:
    *branches, weights = draw(3, 1, 4, 1, 1)
    value = mixed_norm_sum(branches, weights, normalize=[False] * 3)
    assert_close(value, mixed_sum(branches, weights), tolerances.FLOAT64)


def test_none_contributes_nothing() -> None:
    first, second, weights = draw(2, 2, 4, 3, 3)
    spread = torch.cat((weights, torch.ones(2).double()))

    def f(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return mixed_norm_sum([None, a, None, b], w, normalize=[True, True, True, False])

    def expected(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return by_torch(a, b, w[[1, 3]], normalize=(True, False))

    (value, found), (e_value, e_found) = (gradients(g, [first, second, spread]) for g in (f, expected))
    assert_close(value, e_value, tolerances.NORM_SUM_FLOAT64)
    for one, other in zip(found, e_found, strict=True):
        assert_close(one, other, tolerances.NORM_SUM_FLOAT64)
    assert found[2][0] == found[2][2] == 0.0


@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_eps(eps: float) -> None:
    inputs = draw(2, 2, 3, 4, 4)
    assert_close(summed(*inputs, eps=eps), by_torch(*inputs, eps=eps), tolerances.NORM_SUM_FLOAT64)


def test_a_constant_channel_gives_zeros() -> None:
    x = torch.full((2, 3, 4, 4), 7.25, dtype=torch.float64)
    value, (d_x, d_w) = gradients(summed, [x, torch.ones(1, dtype=torch.float64)])
    assert not value.any()
    assert not d_w.any()
    assert d_x.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(dtype: torch.dtype) -> None:
    inputs = draw(8, 4, 16, 8, 8, dtype=dtype)
    value, found = gradients(summed, inputs)
    expected, expected_gradients = gradients(by_torch, [x.double() for x in inputs])
    tolerance = tolerances.NORM_SUM_FLOAT32 if dtype == torch.float32 else tolerances.NORM_SUM_BFLOAT16
    for one, other in zip((value, *found), (expected, *expected_gradients), strict=True):
        assert one.dtype == dtype
        assert_close(one, other, tolerance)


def test_means_far_from_zero() -> None:
    """A variance as E[x²] − E[x]² would have lost all of its digits here."""
    x, weights = draw(1, 4, 8, 16, 16, dtype=torch.float32)
    far = x + 1000.0
    assert_close(summed(far, weights), by_torch(far.double(), weights.double()), tolerances.NORM_SUM_FAR_FLOAT32)


def test_stored_in_bfloat16() -> None:
    inputs = draw(4, 4, 16, 8, 8, dtype=torch.float32)
    expected, expected_gradients = gradients(summed, inputs)
    value, found = gradients(lambda *x: summed(*x, memory="store_bf16"), inputs)
    assert torch.equal(value, expected)
    for one, other in zip(found, expected_gradients, strict=True):
        assert one.dtype == torch.float32
        assert_close(one, other, tolerances.STORED_IN_BFLOAT16)
        assert not torch.equal(one, other)


def test_bfloat16_is_stored_as_it_is() -> None:
    *branches, weights = (x.requires_grad_() for x in draw(2, 2, 3, 4, 4, dtype=torch.bfloat16))
    y = mixed_norm_sum(branches, weights, memory="store_bf16")
    assert [x.data_ptr() for x in saved(y)[:2]] == [x.data_ptr() for x in branches]


def test_what_is_stored() -> None:
    *branches, weights = (x.requires_grad_() for x in draw(4, 2, 3, 8, 8, dtype=torch.float32))
    y = mixed_norm_sum([branches[0], None, *branches[2:]], weights)
    *stored, kept, mean, rstd = saved(y)
    assert [x.data_ptr() for x in (*stored, kept)] == [x.data_ptr() for x in (*branches[:1], *branches[2:], weights)]
    assert mean.shape == rstd.shape == (3, 3)
    half = mixed_norm_sum([branches[0], None, *branches[2:]], weights, memory="store_bf16")
    *stored, kept, mean, rstd = saved(half)
    assert [(x.dtype, x.shape) for x in stored] == [(torch.bfloat16, branches[0].shape)] * 3


def test_what_is_stored_in_bfloat16_is_not_differentiated_again() -> None:
    inputs = [x.requires_grad_() for x in draw(2, 2, 3, 4, 4, dtype=torch.float32)]
    (gradient,) = torch.autograd.grad(
        summed(*inputs, memory="store_bf16").square().sum(), inputs[:1], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()  # type: ignore[no-untyped-call]


def test_derivatives() -> None:
    check_twice_differentiable(summed, draw(3, 2, 2, 2, 3))
    *branches, weights = draw(3, 2, 2, 2, 2)
    check_twice_differentiable(
        lambda a, b, w: mixed_norm_sum([a, None, b], w, normalize=[True, True, False]), [*branches[:2], weights]
    )


def test_registration() -> None:
    *branches, weights = (x.requires_grad_() for x in draw(3, 2, 4, 5, 5))
    check_registration("mixed_norm_sum", (branches, weights, [0, 1, 2], [True, True, False], EPS))
    *branches, weights = draw(3, 2, 4, 5, 5)
    images = [x.contiguous(memory_format=torch.channels_last) for x in branches]
    for own in (branches, images):
        arguments = (own[:2], weights, [2, 0], [True, False])
        check_registration("mixed_norm_sum", (*arguments, EPS))
        _, mean, rstd = torch.ops.base_fast.mixed_norm_sum(*arguments, EPS)
        check_registration("mixed_norm_sum_backward", (own[2], *arguments, mean, rstd))
    halves = [x.bfloat16() for x in branches]
    arguments = (branches[0].float(), halves, weights.float(), [0, 1, 2], [True] * 3)
    check_registration("mixed_norm_sum_backward", (*arguments, *(torch.ones(3, 4) for _ in range(2))))


@pytest.mark.parametrize("memory", ["store", "store_bf16"])
def test_compiled(memory: str) -> None:
    inputs = draw(3, 2, 4, 5, 5, dtype=torch.float32)
    check_compiled(lambda *x: summed(*x, memory=memory), inputs)
    inputs[0] = inputs[0].contiguous(memory_format=torch.channels_last)
    check_compiled(lambda *x: summed(*x, memory=memory, normalize=(True, False, True)), inputs)


def test_no_images() -> None:
    inputs = draw(3, 0, 4, 5, 5)
    value, found = gradients(summed, inputs)
    assert [x.shape for x in (value, *found)] == [(0, 4, 5, 5)] * 4 + [(3,)]
    assert not found[-1].any()


@pytest.mark.parametrize("shape", [(2, 6, 5, 7), (2, 1, 4, 4), (3, 5, 1, 1)])
def test_memory_formats_mix(shape: tuple[int, ...]) -> None:
    *branches, weights = draw(4, *shape)
    expected, expected_gradients = gradients(summed, [*branches, weights])
    images = [b.contiguous(memory_format=torch.channels_last) for b in branches]
    first = [images[0], branches[1], images[2], branches[3]]
    second = [branches[0], images[1], branches[2], images[3]]
    strided = list(torch.stack(branches, dim=-1).unbind(-1))
    for own in (images, first, second, strided):
        value, found = gradients(summed, [*own, weights])
        assert_close(value, expected, tolerances.NORM_SUM_FLOAT64)
        for one, other in zip(found, expected_gradients, strict=True):
            assert_close(one, other, tolerances.NORM_SUM_FLOAT64)


def test_the_first_branch_decides_the_memory_format() -> None:
    *branches, weights = draw(2, 2, 6, 5, 7, dtype=torch.float32)
    images = [b.contiguous(memory_format=torch.channels_last) for b in branches]
    for memory in ("store", "store_bf16"):
        first = mixed_norm_sum([images[0], branches[1]], weights, memory=memory)  # type: ignore[arg-type]
        assert first.is_contiguous(memory_format=torch.channels_last)
        assert mixed_norm_sum([branches[0], images[1]], weights, memory=memory).is_contiguous()  # type: ignore[arg-type]


def test_an_upstream_gradient_without_strides() -> None:
    inputs = draw(3, 2, 4, 5, 5)
    leaves = [x.requires_grad_() for x in inputs]
    expected = torch.autograd.grad(by_torch(*leaves).sum(), leaves)
    for one, other in zip(torch.autograd.grad(summed(*leaves).sum(), leaves), expected, strict=True):
        assert_close(one, other, tolerances.NORM_SUM_FLOAT64)


A = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"branches": []}, "branches: got an empty list, expected at least one tensor"),
        ({"branches": [None, None]}, "branches: got 2 None, expected at least one tensor"),
        ({"branches": [A[0], A[0]]}, r"branches\[0\]: got .*\(3, 4, 4\) .* expected 4 dimension"),
        ({"branches": [None, A[0]]}, r"branches\[1\]: got .*\(3, 4, 4\) .* expected 4 dimension"),
        ({"branches": [A, A.mT[..., :2]]}, r"branches\[1\]: got .* the same as branches\[0\]"),
        ({"branches": [A.half(), A.half()]}, r"branches\[0\]: got float16 .* \(float32, float64 or bfloat16\)"),
        ({"weights": torch.zeros(3)}, r"weights: got float32 tensor of shape \(3,\) on cpu, expected shape \(2,\)"),
        ({"weights": torch.zeros(2).double()}, r"weights: got float64"),
        ({"normalize": [True]}, "normalize: got 1 entries, expected 2, one per branch"),
        ({"eps": 0.0}, "eps: got 0.0, expected a number > 0"),
        ({"memory": "recompute"}, "memory: got 'recompute', expected 'store' or 'store_bf16'"),
        (
            {"branches": [A.double()] * 2, "weights": torch.zeros(2).double(), "memory": "store_bf16"},
            "memory: got 'store_bf16' for float64 branches, expected 'store'",
        ),
        ({"branches": [A[:1, :, :1, :1]] * 2}, r"branches: got shape \(1, 3, 1, 1\), expected more than one value"),
    ],
)
def test_errors(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"branches": [A, A], "weights": torch.zeros(2)} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        mixed_norm_sum(arguments.pop("branches"), arguments.pop("weights"), **arguments)


def test_one_value_per_channel_is_no_problem_without_a_norm() -> None:
    one = A[:1, :, :1, :1] + 3.0
    assert torch.equal(mixed_norm_sum([one], torch.ones(1), normalize=[False]), one)
