"""KL of diagonal Gaussians against torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

from base_fast.errors import InputError
from base_fast.ops import gaussian_kl
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.tolerances import assert_close


def draw(count: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(count, dtype=torch.float64, generator=generator).to(dtype) for _ in range(4)]


def by_distributions(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    q, p = Normal(mu, softplus(rho)), Normal(prior_mu, softplus(prior_rho))
    return kl_divergence(q, p).sum()


@pytest.mark.parametrize("count", [1, 17, 5000])
def test_value_and_gradients(count: int) -> None:
    inputs = draw(count, torch.float64)
    expected, expected_gradients = gradients(by_distributions, inputs)
    value, found = gradients(gaussian_kl, inputs)
    assert value.shape == ()
    assert_close(value, expected, tolerances.FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.FLOAT64)


def test_float32_and_bfloat16() -> None:
    for dtype, tolerance in ((torch.float32, tolerances.KL_FLOAT32), (torch.bfloat16, tolerances.KL_BFLOAT16)):
        inputs = draw(5000, dtype)
        value = gaussian_kl(*inputs)
        assert value.dtype == dtype
        assert_close(value, by_distributions(*(x.double() for x in inputs)), tolerance)


def test_zero_exactly_where_both_are_equal_and_positive_elsewhere() -> None:
    mu, rho, other_mu, other_rho = draw(100)
    assert gaussian_kl(mu, rho, mu, rho) == 0.0
    assert gaussian_kl(mu, rho, other_mu, rho) > 0.0
    assert gaussian_kl(mu, rho, mu, other_rho) > 0.0


def test_it_is_not_symmetric() -> None:
    wide, narrow, zero = torch.full((1,), 2.0), torch.full((1,), -2.0), torch.zeros(1)
    assert gaussian_kl(zero, wide, zero, narrow) > 2 * gaussian_kl(zero, narrow, zero, wide)


def test_tiny_standard_deviations_stay_finite() -> None:
    mu, rho = torch.zeros(4), torch.full((4,), -60.0)
    value, found = gradients(gaussian_kl, [mu, rho, mu, torch.zeros(4)])
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in found)


def test_derivatives() -> None:
    check_twice_differentiable(gaussian_kl, draw(5))


def test_derivatives_of_a_shared_prior() -> None:
    mu, rho, prior_mu, prior_rho = draw(5)
    check_twice_differentiable(gaussian_kl, [mu, rho, prior_mu[:1], prior_rho[0]])


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_shared_prior_is_one_of_equal_elements(shape: tuple[int, ...]) -> None:
    mu, rho, prior_mu, prior_rho = draw(300, torch.float64)
    shared = [x[0].view(shape) for x in (prior_mu, prior_rho)]
    value, (d_mu, d_rho, *d_prior) = gradients(gaussian_kl, [mu, rho, *shared])
    spread = [x.expand(300).contiguous() for x in shared]
    expected, (e_mu, e_rho, *e_prior) = gradients(gaussian_kl, [mu, rho, *spread])
    assert torch.equal(value, expected)
    assert torch.equal(d_mu, e_mu)
    assert torch.equal(d_rho, e_rho)
    for one, other in zip(d_prior, e_prior, strict=True):
        assert one.shape == shape
        assert_close(one, other.sum().view(shape), tolerances.FLOAT64)


def test_saved_for_backward() -> None:
    mu, rho, prior_mu, prior_rho = draw(50)
    kl = gaussian_kl(mu.requires_grad_(), rho.requires_grad_(), prior_mu[:1], prior_rho[:1])
    assert [x.untyped_storage().data_ptr() for x in saved(kl)] == [
        x.untyped_storage().data_ptr() for x in (mu, rho, prior_mu, prior_rho)
    ]


@pytest.mark.parametrize("moving", [(0,), (1,), (0, 1), (2,), (3,), (1, 2)])
def test_gradients_that_are_asked_for_do_not_depend_on_the_others(moving: tuple[int, ...]) -> None:
    inputs = draw(20)
    expected = gradients(gaussian_kl, inputs)[1]
    leaves = [x.requires_grad_() if i in moving else x for i, x in enumerate(inputs)]
    gaussian_kl(*leaves).backward()  # type: ignore[no-untyped-call]
    for i, (leaf, gradient) in enumerate(zip(leaves, expected, strict=True)):
        assert torch.equal(leaf.grad, gradient) if i in moving else leaf.grad is None


def test_registration() -> None:
    check_registration("gaussian_kl", tuple(x.requires_grad_() for x in draw(5)))
    for prior in (False, True):
        check_registration("gaussian_kl_backward", (torch.tensor(0.7), *draw(5), prior))


def test_compiled() -> None:
    check_compiled(gaussian_kl, draw(9))


def test_empty() -> None:
    assert gaussian_kl(*(torch.empty(0) for _ in range(4))) == 0.0


def test_strides_do_not_matter() -> None:
    inputs = draw(40, torch.float64)
    assert_close(gaussian_kl(*torch.stack(inputs, dim=1).unbind(1)), gaussian_kl(*inputs), tolerances.FLOAT64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mu": torch.zeros(3, dtype=torch.int32)}, r"mu: got int32 .* expected a floating-point tensor"),
        ({"mu": torch.zeros(1, 3)}, r"mu: got .* expected 1 dimension"),
        ({"rho": torch.zeros(1)}, r"rho: got .* expected the same as mu"),
        ({"mu": torch.zeros(3, dtype=torch.float16)}, r"mu: got float16 .* \(float32, float64 or bfloat16\)"),
        ({"prior_mu": torch.zeros(1).double()}, r"prior_mu: got float64 tensor of shape \(1,\)"),
        ({"prior_rho": torch.zeros(1, 1)}, r"prior_rho: got float32 tensor of shape \(1, 1\)"),
        ({"prior_rho": 0.5}, r"prior_rho: got float 0.5"),
        ({"prior_mu": torch.zeros(4)}, r"prior_mu: got float32 tensor of shape \(4,\)"),
        ({"prior_rho": torch.zeros(3, dtype=torch.float64)}, r"prior_rho: got float64"),
    ],
)
def test_errors(changed: dict[str, Tensor], message: str) -> None:
    arguments = {name: torch.zeros(3) for name in ("mu", "rho", "prior_mu", "prior_rho")} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        gaussian_kl(**arguments)
