"""θ and KL in one pass: those of gaussian_sample and gaussian_kl."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import base_fast as bf
from base_fast.errors import InputError
from base_fast.ops import gaussian_kl, gaussian_sample, gaussian_sample_kl
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.tolerances import assert_close

KEY = bf.random.key(2**40 + 3)
# The same noise to the last bit where kernels of the same kind serve both ops.
SAME_KIND = bf.backends()["gaussian_sample"]["cpu"] == bf.backends()["gaussian_sample_kl"]["cpu"]
NOISE = tolerances.FLOAT64 if SAME_KIND else tolerances.NORMAL_FLOAT32


def draw(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """mu, rho, prior_mu, prior_rho."""
    generator = torch.Generator().manual_seed(16)
    return [torch.randn(count, dtype=torch.float64, generator=generator).to(dtype) for _ in range(4)]


def joined(*inputs: Tensor) -> Tensor:
    theta, kl = gaussian_sample_kl(*inputs, KEY)
    return torch.cat((theta, kl.view(1)))


def apart(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    return torch.cat((gaussian_sample(mu, rho, KEY), gaussian_kl(mu, rho, prior_mu, prior_rho).view(1)))


@pytest.mark.parametrize("count", [1, 2, 3, 17, 5000, 40_001])
def test_value_and_gradients(count: int) -> None:
    inputs = draw(count)
    expected, expected_gradients = gradients(apart, inputs)
    value, found = gradients(joined, inputs)
    assert_close(value, expected, NOISE)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, NOISE)


@pytest.mark.parametrize(
    ("dtype", "sample", "divergence"),
    [
        (torch.float32, tolerances.GAUSSIAN_SAMPLE_FLOAT32, tolerances.KL_FLOAT32),
        (torch.bfloat16, tolerances.GAUSSIAN_SAMPLE_BFLOAT16, tolerances.KL_BFLOAT16),
    ],
)
def test_low_precision(dtype: torch.dtype, sample: float, divergence: float) -> None:
    inputs = draw(5000, dtype)
    theta, kl = gaussian_sample_kl(*inputs, KEY)
    assert theta.dtype == kl.dtype == dtype
    mu, rho, prior_mu, prior_rho = (x.double() for x in inputs)
    assert_close(theta, gaussian_sample(mu, rho, KEY), sample)
    assert_close(kl, gaussian_kl(mu, rho, prior_mu, prior_rho), divergence)


def test_kl_alone() -> None:
    inputs = draw(5000)
    assert_close(gaussian_sample_kl(*inputs, KEY)[1], gaussian_kl(*inputs), tolerances.FLOAT64)
    found = gradients(lambda *x: gaussian_sample_kl(*x, KEY)[1], inputs)[1]
    for one, other in zip(found, gradients(gaussian_kl, inputs)[1], strict=True):
        assert_close(one, other, tolerances.FLOAT64)


@pytest.mark.parametrize("used", [0, 1])
def test_one_of_two_outputs_used(used: int) -> None:
    mu, rho, prior_mu, prior_rho = draw(33)
    found = gradients(lambda *x: gaussian_sample_kl(*x, KEY)[used], [mu, rho, prior_mu, prior_rho])[1]
    if used:
        expected = gradients(gaussian_kl, [mu, rho, prior_mu, prior_rho])[1]
    else:
        expected = gradients(lambda m, r: gaussian_sample(m, r, KEY), [mu, rho])[1]
        assert not any(x.any() for x in found[2:])
    for one, other in zip(found, expected, strict=False):
        assert_close(one, other, NOISE)


def test_only_the_inputs_are_saved() -> None:
    mu, rho, prior_mu, prior_rho = draw(33)
    theta, _ = gaussian_sample_kl(mu.requires_grad_(), rho.requires_grad_(), prior_mu, prior_rho, KEY)
    assert [x.data_ptr() for x in saved(theta)] == [x.data_ptr() for x in (mu, rho, prior_mu, prior_rho, KEY)]


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_shared_prior(shape: tuple[int, ...]) -> None:
    mu, rho, prior_mu, prior_rho = draw(300)
    inputs = [mu, rho, prior_mu[0].view(shape), prior_rho[0].view(shape)]
    expected, expected_gradients = gradients(apart, inputs)
    value, found = gradients(joined, inputs)
    assert_close(value, expected, NOISE)
    for one, other in zip(found, expected_gradients, strict=True):
        assert one.shape == other.shape
        assert_close(one, other, NOISE)


def test_derivatives() -> None:
    check_twice_differentiable(lambda *x: gaussian_sample_kl(*x, KEY), draw(5))
    mu, rho, prior_mu, prior_rho = draw(5)
    check_twice_differentiable(lambda *x: gaussian_sample_kl(*x, KEY), [mu, rho, prior_mu[:1], prior_rho[0]])


def test_registration() -> None:
    check_registration("gaussian_sample_kl", (*(x.requires_grad_() for x in draw(5)), KEY))
    for prior in (False, True):
        check_registration(
            "gaussian_sample_kl_backward", (draw(5)[0], torch.tensor(0.7).double(), *draw(5), KEY, prior)
        )


def test_compiled() -> None:
    check_compiled(joined, draw(9, torch.float32))


def test_empty() -> None:
    theta, kl = gaussian_sample_kl(*(torch.empty(0) for _ in range(4)), KEY)
    assert theta.shape == (0,)
    assert kl == 0.0


def test_strides_do_not_matter() -> None:
    inputs = draw(40)
    assert_close(joined(*torch.stack(inputs, dim=1).unbind(1)), joined(*inputs), tolerances.FLOAT64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mu": torch.zeros(3, dtype=torch.int32)}, r"mu: got int32 .* expected a floating-point tensor"),
        ({"mu": torch.zeros(1, 3)}, r"mu: got .* expected 1 dimension"),
        ({"rho": torch.zeros(1)}, r"rho: got .* expected the same as mu"),
        ({"prior_mu": torch.zeros(4)}, r"prior_mu: got float32 tensor of shape \(4,\)"),
        ({"prior_rho": torch.zeros(1, dtype=torch.float64)}, r"prior_rho: got float64"),
        ({"key": torch.zeros(2)}, r"key: got float32 tensor of shape \(2,\)"),
    ],
)
def test_errors(changed: dict[str, Tensor], message: str) -> None:
    arguments = {name: torch.zeros(3) for name in ("mu", "rho", "prior_mu", "prior_rho")} | {"key": KEY} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        gaussian_sample_kl(**arguments)
