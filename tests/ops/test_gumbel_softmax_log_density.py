"""z and its log-density in one pass, against gumbel_softmax, torch's RelaxedOneHotCategorical, and exact arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical

import base_fast as bf
from base_fast.errors import InputError
from base_fast.ops import gumbel_softmax, gumbel_softmax_log_density
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.tolerances import assert_close

KEY = bf.random.key(23)
SHAPES = [(8,), (14, 8), (2, 14, 8), (3, 1), (5, 33)]


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(12)).to(dtype)


def joined(logits: Tensor, tau: float = 1.0, noise: float = 1.0) -> Tensor:
    """Both outputs in one tensor."""
    z, density = gumbel_softmax_log_density(logits, KEY, tau, noise)
    return torch.cat((z, density.unsqueeze(-1)), -1)


def by_torch(logits: Tensor, tau: float = 1.0, noise: float = 1.0) -> Tensor:
    z = gumbel_softmax(logits, KEY, tau, noise=noise)
    distribution = RelaxedOneHotCategorical(torch.tensor(tau, dtype=z.dtype), logits=logits, validate_args=False)
    return torch.cat((z, distribution.log_prob(z).unsqueeze(-1)), -1)


@pytest.mark.parametrize("tau", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("noise", [0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient(shape: tuple[int, ...], noise: float, tau: float) -> None:
    x = draw(*shape)
    expected, expected_gradients = gradients(lambda l: by_torch(l, tau, noise), [x])
    value, found = gradients(lambda l: joined(l, tau, noise), [x])
    assert value.shape == (*shape[:-1], shape[-1] + 1)
    assert_close(value, expected, tolerances.CONCRETE_FLOAT64)
    assert_close(found[0], expected_gradients[0], tolerances.CONCRETE_FLOAT64)


def test_z_is_that_of_gumbel_softmax() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = draw(14, 8, dtype=dtype)
        z, density = gumbel_softmax_log_density(x, KEY, 0.7)
        assert z.dtype == density.dtype == dtype
        assert density.shape == (14,)
        assert torch.equal(z, gumbel_softmax(x, KEY, 0.7))


def test_float32_and_bfloat16() -> None:
    for dtype, tolerance in (
        (torch.float32, tolerances.CONCRETE_FLOAT32),
        (torch.bfloat16, tolerances.CONCRETE_BFLOAT16),
    ):
        x = draw(14, 8, dtype=dtype)
        assert_close(joined(x, 0.5), by_torch(x.double(), 0.5), tolerance)


def test_exact_where_entries_of_z_underflow() -> None:
    """At τ = 0.05 much of z is zero in float32; in float64 nothing underflows, and torch's formula holds."""
    x = 3 * draw(64, 8, dtype=torch.float32)
    z, density = gumbel_softmax_log_density(x, KEY, 0.05)
    assert (z == 0.0).float().mean() > 0.3
    assert_close(density, by_torch(x.double(), 0.05)[:, -1], tolerances.CONCRETE_FLOAT32)
    (gradient,) = gradients(lambda l: gumbel_softmax_log_density(l, KEY, 0.05)[1], [x])[1]
    assert gradient.isfinite().all()


def test_one_of_two_outputs_used() -> None:
    x = draw(14, 8)
    of_z = gradients(lambda l: gumbel_softmax_log_density(l, KEY, 0.7)[0], [x])[1][0]
    assert torch.equal(of_z, gradients(lambda l: gumbel_softmax(l, KEY, 0.7), [x])[1][0])
    of_density = gradients(lambda l: gumbel_softmax_log_density(l, KEY, 0.7)[1], [x])[1][0]
    upstream = torch.cos(torch.arange(14, dtype=torch.float64))[:, None]
    expected = upstream * (8 * gumbel_softmax(x, KEY, 0.7) - 1) / 0.7
    assert_close(of_density, expected, tolerances.FLOAT64)


def test_one_class_has_density_one() -> None:
    z, density = gumbel_softmax_log_density(torch.tensor([[2.0], [-1.0]]), KEY, 0.3)
    assert torch.equal(z, torch.ones(2, 1))
    assert density.abs().max() < tolerances.CONCRETE_FLOAT32


def test_only_z_is_saved() -> None:
    z, _ = gumbel_softmax_log_density(draw(14, 8).requires_grad_(), KEY)
    assert [t.data_ptr() for t in saved(z)] == [z.data_ptr()]


def test_derivatives() -> None:
    check_twice_differentiable(lambda l: gumbel_softmax_log_density(l, KEY, 0.7), [draw(2, 3, 5)])


def test_registration() -> None:
    check_registration("gumbel_softmax_log_density", (draw(3, 5).requires_grad_(), KEY, 0.7, 1.0))
    z = torch.softmax(draw(3, 5), -1)
    check_registration("gumbel_softmax_log_density_backward", (draw(3, 5), draw(3), z, 0.7))


def test_compiled() -> None:
    check_compiled(lambda l: joined(l, 0.7), [draw(3, 5, dtype=torch.float32)])


def test_no_rows() -> None:
    z, density = gumbel_softmax_log_density(torch.empty(0, 8), KEY)
    assert (z.shape, density.shape) == ((0, 8), (0,))


def test_strides_do_not_matter() -> None:
    x = draw(14, 8)
    wide = torch.full((14, 16), float("nan"), dtype=torch.float64)
    wide[:, ::2] = x
    for other in (wide[:, ::2], x.T.contiguous().T):
        assert torch.equal(joined(other), joined(x))


def test_the_densities_of_two_classes_integrate_to_one() -> None:
    """E[1/q(z)] over draws of z is the length of the support, s ∈ (0, 1) of z = (s, 1 − s)."""
    n = 200_000
    logits = torch.tensor([0.3, -0.2], dtype=torch.float64).expand(n, 2)
    # At this temperature the density is bounded away from zero, so that the mean exists with its error.
    _, density = gumbel_softmax_log_density(logits, KEY, 0.6)
    lengths = torch.exp(-density)
    assert abs(lengths.mean() - 1.0) < tolerances.STANDARD_ERRORS * lengths.std() / math.sqrt(n)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"logits": torch.zeros(2, 3, dtype=torch.int64)}, r"logits: got int64 .* expected a floating-point tensor"),
        (
            {"logits": torch.zeros(2, 3, dtype=torch.float16)},
            r"logits: got float16 .* \(float32, float64 or bfloat16\)",
        ),
        ({"logits": torch.zeros(3, 0)}, r"logits: got .* expected shape \(\.\.\., L\) with L ≥ 1"),
        ({"key": torch.zeros(2)}, r"key: got float32 tensor of shape \(2,\)"),
        ({"tau": 0.0}, r"tau: got 0.0, expected a number > 0"),
        ({"noise": -0.5}, r"noise: got -0.5, expected a number ≥ 0"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        gumbel_softmax_log_density(**({"logits": torch.zeros(2, 3), "key": KEY} | changed))  # type: ignore[arg-type]
