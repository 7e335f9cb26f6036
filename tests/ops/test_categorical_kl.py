"""KL of categorical distributions against torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from base_fast.errors import InputError
from base_fast.ops import categorical_kl
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients
from tests.tolerances import assert_close


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [(3 * torch.randn(shape, dtype=torch.float64, generator=generator)).to(dtype) for _ in range(2)]


def by_distributions(logits: Tensor, prior_logits: Tensor) -> Tensor:
    return kl_divergence(Categorical(logits=logits), Categorical(logits=prior_logits)).sum()


@pytest.mark.parametrize("shape", [(8,), (14, 8), (2, 14, 8), (4, 1)])
def test_value_and_gradients(shape: tuple[int, ...]) -> None:
    inputs = draw(*shape, dtype=torch.float64)
    expected, expected_gradients = gradients(by_distributions, inputs)
    value, found = gradients(categorical_kl, inputs)
    assert value.shape == ()
    assert_close(value, expected, tolerances.FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.FLOAT64)


def test_float32_and_bfloat16() -> None:
    for dtype, tolerance in ((torch.float32, tolerances.KL_FLOAT32), (torch.bfloat16, tolerances.KL_BFLOAT16)):
        inputs = draw(2, 14, 8, dtype=dtype)
        value = categorical_kl(*inputs)
        assert value.dtype == dtype
        assert_close(value, by_distributions(*(x.double() for x in inputs)), tolerance)


def test_zero_exactly_where_both_are_equal() -> None:
    logits, prior = draw(14, 8)
    assert categorical_kl(logits, logits) == 0.0
    assert categorical_kl(logits, prior) > 0.0


def test_a_shift_of_the_logits_changes_nothing() -> None:
    logits, prior = draw(14, 8, dtype=torch.float64)
    assert_close(categorical_kl(logits + 100.0, prior - 7.0), categorical_kl(logits, prior), tolerances.FLOAT64)


def test_uniform_prior_gives_ln_l_minus_the_entropy() -> None:
    logits = draw(14, 8, dtype=torch.float64)[0]
    expected = (torch.log(torch.tensor(8.0).double()) - Categorical(logits=logits).entropy()).sum()
    assert_close(categorical_kl(logits, torch.zeros_like(logits)), expected, tolerances.FLOAT64)


def test_derivatives() -> None:
    check_twice_differentiable(categorical_kl, draw(2, 5))


def test_registration() -> None:
    check_registration("categorical_kl", tuple(x.requires_grad_() for x in draw(2, 5)))


def test_compiled() -> None:
    check_compiled(categorical_kl, draw(3, 5))


def test_no_rows() -> None:
    assert categorical_kl(torch.empty(0, 8), torch.empty(0, 8)) == 0.0


def test_strides_do_not_matter() -> None:
    logits, prior = draw(14, 8)
    assert torch.equal(categorical_kl(logits.T.contiguous().T, prior), categorical_kl(logits, prior))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"logits": torch.zeros(2, 3, dtype=torch.int64)}, r"logits: got int64 .* expected a floating-point tensor"),
        ({"logits": torch.tensor(0.0)}, r"logits: got .* expected shape \(\.\.\., L\) with L ≥ 1"),
        ({"logits": torch.zeros(2, 0)}, r"logits: got .* expected shape \(\.\.\., L\) with L ≥ 1"),
        ({"prior_logits": torch.zeros(3)}, r"prior_logits: got float32 tensor of shape \(3,\) .* same as logits"),
        ({"prior_logits": torch.zeros(2, 3).double()}, r"prior_logits: got float64"),
    ],
)
def test_errors(changed: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        categorical_kl(**({"logits": torch.zeros(2, 3), "prior_logits": torch.zeros(2, 3)} | changed))
