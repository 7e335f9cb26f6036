"""The kernels of gaussian_sample, gaussian_kl and gaussian_sample_kl against their references in float64."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor

from base_fast.kernels import gaussian_kl as kl
from base_fast.kernels import gaussian_sample as sample
from base_fast.kernels import gaussian_sample_kl as sample_kl
from base_fast.reference import gaussian_kl as kl_reference
from base_fast.reference import gaussian_sample as sample_reference
from base_fast.reference import gaussian_sample_kl as sample_kl_reference
from tests import tolerances
from tests.kernels.cases import DTYPES, KEY, SIZES, assert_all_close, normal, vectors, wide

SAMPLE = {
    torch.float32: tolerances.GAUSSIAN_SAMPLE_FLOAT32,
    torch.float64: tolerances.NORMAL_FLOAT32,  # ε is float32
    torch.bfloat16: tolerances.GAUSSIAN_SAMPLE_BFLOAT16,
}
KL = {
    torch.float32: tolerances.KL_KERNEL_FLOAT32,
    torch.float64: tolerances.FLOAT64,
    torch.bfloat16: tolerances.KL_BFLOAT16,
}
GRADIENT = {
    torch.float32: tolerances.KL_GRADIENT_FLOAT32,
    torch.float64: tolerances.FLOAT64,
    torch.bfloat16: tolerances.KL_BFLOAT16,
}
SOFTPLUS = {torch.float32: tolerances.SOFTPLUS_FLOAT32, torch.float64: tolerances.FLOAT64}
BOTH = {dtype: max(SAMPLE[dtype], GRADIENT[dtype]) for dtype in DTYPES}


def posterior(size: int, dtype: torch.dtype, prior: str = "vector") -> list[Tensor]:
    """mu, rho, prior_mu, prior_rho; the prior a vector each, or one number expanded."""
    mu, rho, prior_mu, prior_rho = vectors(4, size, dtype)
    if prior == "scalar":
        prior_mu, prior_rho = (torch.tensor(x, dtype=dtype).expand(size) for x in (0.25, -0.5))
    elif prior == "half":
        prior_mu = torch.tensor(0.25, dtype=dtype).expand(size)
    return [mu, 2 * rho - 1, prior_mu, prior_rho]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_sample(size: int, dtype: torch.dtype) -> None:
    mu, rho, *_ = posterior(size, dtype)
    expected = sample_reference.gaussian_sample(*wide([mu, rho]), KEY)
    assert_all_close([sample.gaussian_sample(mu, rho, KEY)], [expected], SAMPLE[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_gradient_of_sample(size: int, dtype: torch.dtype) -> None:
    grad, rho, *_ = posterior(size, dtype)
    expected = sample_reference.gaussian_sample_backward(*wide([grad, rho]), KEY)
    assert_all_close([sample.gaussian_sample_backward(grad, rho, KEY)], [expected], SAMPLE[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("prior", ["vector", "scalar", "half"])
def test_kl(size: int, dtype: torch.dtype, prior: str) -> None:
    inputs = posterior(size, dtype, prior)
    assert_all_close([kl.gaussian_kl(*inputs)], [kl_reference.gaussian_kl(*wide(inputs))], KL[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("prior", ["vector", "scalar", "half"])
def test_gradient_of_kl(size: int, dtype: torch.dtype, prior: str) -> None:
    inputs = [torch.tensor(1.5, dtype=dtype), *posterior(size, dtype, prior)]
    for both in (False, True):
        expected = kl_reference.gaussian_kl_backward(*wide(inputs), both)
        assert_all_close(kl.gaussian_kl_backward(*inputs, both), expected, GRADIENT[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("prior", ["vector", "scalar"])
def test_sample_and_kl_are_those_of_the_single_kernels(size: int, dtype: torch.dtype, prior: str) -> None:
    inputs = posterior(size, dtype, prior)
    theta, value = sample_kl.gaussian_sample_kl(*inputs, KEY)
    assert torch.equal(theta, sample.gaussian_sample(*inputs[:2], KEY))
    assert torch.equal(value, kl.gaussian_kl(*inputs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("prior", ["vector", "scalar"])
def test_gradient_of_sample_and_kl(size: int, dtype: torch.dtype, prior: str) -> None:
    grads = [normal(size, dtype=dtype, seed=7), torch.tensor(1.5, dtype=dtype)]
    inputs = posterior(size, dtype, prior)
    for both in (False, True):
        expected = sample_kl_reference.gaussian_sample_kl_backward(*wide([*grads, *inputs]), KEY, both)
        actual = sample_kl.gaussian_sample_kl_backward(*grads, *inputs, KEY, both)
        assert_all_close(actual, expected, BOTH[dtype], dtype)


def test_kl_stays_accurate_where_the_posterior_is_close_to_the_prior() -> None:
    mu, rho, *_ = vectors(2, 2051, torch.float32)
    other = [mu + 1e-3 * normal(2051, seed=5).float(), rho + 1e-3 * normal(2051, seed=6).float()]
    expected = kl_reference.gaussian_kl(*wide([*other, mu, rho]))
    relative = abs(kl.gaussian_kl(*other, mu, rho).double() / expected - 1)
    assert relative <= tolerances.KL_CLOSE_FLOAT32
    assert kl.gaussian_kl(mu, rho, mu, rho) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigma_keeps_its_relative_precision(dtype: torch.dtype) -> None:
    rho = torch.linspace(-80.0, 80.0, 321, dtype=dtype)
    zero = torch.zeros_like(rho)
    theta, noise = sample.gaussian_sample(zero, rho, KEY), sample.gaussian_sample(zero, zero, KEY)
    sigma = (theta.double() / noise.double()) * torch.log(torch.tensor(2.0, dtype=torch.float64))
    exact = torch.log1p(torch.exp(-rho.double().abs())) + rho.double().clamp_min(0.0)
    assert float((sigma / exact - 1).abs().max()) <= SOFTPLUS[dtype]


def test_strided_vectors() -> None:
    strided = [x[::2] for x in posterior(600, torch.float32)]
    dense = [x.contiguous() for x in strided]
    for actual, expected in zip(
        sample_kl.gaussian_sample_kl(*strided, KEY), sample_kl.gaussian_sample_kl(*dense, KEY), strict=True
    ):
        assert torch.equal(actual, expected)
    one = torch.ones(())
    actual, expected = (sample_kl.gaussian_sample_kl_backward(x[0], one, *x, KEY, True) for x in (strided, dense))
    assert all(map(torch.equal, actual, expected))
