"""The Concrete log-density against torch's RelaxedOneHotCategorical, and that it is a density."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical

import base_fast as bf
from base_fast.errors import InputError
from base_fast.ops import concrete_log_density, gumbel_softmax
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients
from tests.tolerances import assert_close


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    z, logits = (torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(2))
    return [torch.softmax(z, -1).to(dtype), logits.to(dtype)]


def by_torch(z: Tensor, logits: Tensor, tau: float) -> Tensor:
    # Without its check of the support, whose tolerance does not know the dtype.
    return RelaxedOneHotCategorical(torch.tensor(tau, dtype=z.dtype), logits=logits, validate_args=False).log_prob(z)


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("shape", [(8,), (14, 8), (2, 14, 8), (3, 1)])
def test_value_and_gradients(shape: tuple[int, ...], tau: float) -> None:
    inputs = draw(*shape)
    expected, expected_gradients = gradients(lambda z, l: by_torch(z, l, tau), inputs)
    value, found = gradients(lambda z, l: concrete_log_density(z, l, tau), inputs)
    assert value.shape == shape[:-1]
    assert_close(value, expected, tolerances.FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.FLOAT64)


def test_it_integrates_to_one() -> None:
    """Two classes: z = (s, 1 − s), and the midpoint rule over s."""
    n = 20_000
    s = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    z = torch.stack((s, 1 - s), -1)
    logits = torch.tensor([0.7, -0.4], dtype=torch.float64).expand_as(z)
    total = concrete_log_density(z, logits, 0.8).exp().mean()
    assert_close(total, torch.ones_like(total), tolerances.MIDPOINT_RULE)


def test_expected_log_ratio_of_equal_distributions_is_zero_and_of_others_is_positive() -> None:
    logits = draw(14, 8)[1]
    z = gumbel_softmax(logits.expand(500, 14, 8), bf.random.key(1), 0.5)
    log_q = concrete_log_density(z, logits.expand_as(z), 0.5)
    assert torch.equal(log_q, concrete_log_density(z.clone(), logits.expand_as(z), 0.5))
    log_p = concrete_log_density(z, torch.zeros_like(z), 0.5)
    ratio = (log_q - log_p).mean(0)
    standard_error = (log_q - log_p).std(0) / 500**0.5
    assert (ratio > -tolerances.STANDARD_ERRORS * standard_error).all()
    assert ratio.sum() > 1.0


def test_a_zero_in_z_stays_finite() -> None:
    z = torch.tensor([[1.0, 0.0, 0.0]])
    value, found = gradients(lambda z, l: concrete_log_density(z, l, 0.5), [z, torch.zeros(1, 3)])
    assert value.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in found)


def test_float32_and_bfloat16() -> None:
    for dtype, tolerance in (
        (torch.float32, tolerances.CONCRETE_FLOAT32),
        (torch.bfloat16, tolerances.CONCRETE_BFLOAT16),
    ):
        z, logits = draw(14, 8, dtype=dtype)
        value = concrete_log_density(z, logits, 0.5)
        assert value.dtype == dtype
        assert_close(value, by_torch(z.double(), logits.double(), 0.5), tolerance)


def test_derivatives() -> None:
    check_twice_differentiable(lambda z, l: concrete_log_density(z, l, 0.7), draw(2, 4))


def test_registration() -> None:
    check_registration("concrete_log_density", (*(x.requires_grad_() for x in draw(3, 5)), 0.7))


def test_compiled() -> None:
    check_compiled(lambda z, l: concrete_log_density(z, l, 0.7), draw(3, 5))


def test_no_rows() -> None:
    assert concrete_log_density(torch.empty(0, 8), torch.empty(0, 8)).shape == (0,)


def test_one_class_has_density_one() -> None:
    assert math.isclose(concrete_log_density(torch.ones(1), torch.zeros(1), 0.3), 0.0, abs_tol=1e-6)


def test_strides_do_not_matter() -> None:
    z, logits = draw(14, 8)
    assert torch.equal(concrete_log_density(z.T.contiguous().T, logits), concrete_log_density(z, logits))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"z": torch.zeros(2, 3, dtype=torch.int64)}, r"z: got int64 .* expected a floating-point tensor"),
        ({"z": torch.tensor(0.5)}, r"z: got .* expected shape \(\.\.\., L\) with L ≥ 1"),
        ({"z": torch.zeros(2, 0)}, r"z: got .* expected shape \(\.\.\., L\) with L ≥ 1"),
        ({"logits": torch.zeros(2, 4)}, r"logits: got float32 tensor of shape \(2, 4\) .* same as z"),
        ({"tau": -1.0}, r"tau: got -1.0, expected a number > 0"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    arguments = {"z": torch.ones(2, 3) / 3, "logits": torch.zeros(2, 3)} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        concrete_log_density(**arguments)  # type: ignore[arg-type]
