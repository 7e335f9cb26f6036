"""θ = μ + softplus(ρ)·ε against NumPy, its noise and its moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import base_fast as bf
from base_fast.errors import InputError
from base_fast.ops import gaussian_sample
from base_fast.reference import philox
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients
from tests.tolerances import assert_close

KEY = bf.random.key(-12)


def draw(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    mu, rho = (torch.randn(count, dtype=torch.float64, generator=generator) for _ in range(2))
    return mu.to(dtype), (2 * rho - 3).to(dtype)


def epsilon(key: Tensor, count: int) -> np.ndarray:
    """Box–Muller in float64 from the raw words."""
    u = ((philox.words(key, count + count % 2).numpy() >> 9) + 0.5) / 2**23
    radius, angle = np.sqrt(-2 * np.log(u[::2])), 2 * np.pi * u[1::2]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).ravel()[:count]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1000, 4097])
def test_formula(count: int) -> None:
    mu, rho = draw(count)
    expected = mu.double().numpy() + np.log1p(np.exp(rho.double().numpy())) * epsilon(KEY, count)
    theta = gaussian_sample(mu, rho, KEY)
    assert (theta.dtype, theta.shape) == (mu.dtype, mu.shape)
    assert_close(theta, torch.from_numpy(expected), tolerances.GAUSSIAN_SAMPLE_FLOAT32)


def test_moments() -> None:
    n = 1_000_000
    theta = gaussian_sample(torch.full((n,), 3.0, dtype=torch.float64), torch.full((n,), 0.5, dtype=torch.float64), KEY)
    sigma = np.log1p(np.exp(0.5))
    assert abs(theta.mean() - 3.0) < tolerances.STANDARD_ERRORS * sigma / n**0.5
    assert abs(theta.std() - sigma) < tolerances.STANDARD_ERRORS * sigma / (2 * n) ** 0.5


def test_gradient() -> None:
    mu, rho = draw(101, torch.float64)
    _, (d_mu, d_rho) = gradients(lambda m, r: gaussian_sample(m, r, KEY), [mu, rho])
    upstream = torch.cos(torch.arange(101, dtype=torch.float64))
    assert torch.equal(d_mu, upstream)
    expected = upstream * torch.sigmoid(rho) * torch.from_numpy(epsilon(KEY, 101))
    assert_close(d_rho, expected, tolerances.NORMAL_FLOAT32)


def test_noise_is_a_function_of_the_key_alone() -> None:
    mu, rho = draw(100)
    theta = gaussian_sample(mu, rho, KEY)
    torch.rand(5)
    assert torch.equal(gaussian_sample(mu, rho, KEY.clone()), theta)
    assert torch.equal(gaussian_sample(mu[:37], rho[:37], KEY), theta[:37])
    for i in range(4):
        assert not (gaussian_sample(mu, rho, bf.random.fold_in(KEY, i)) == theta).any()


def test_derivatives() -> None:
    check_twice_differentiable(lambda m, r: gaussian_sample(m, r, KEY), draw(7))


def test_registration() -> None:
    mu, rho = draw(7)
    check_registration("gaussian_sample", (mu.requires_grad_(), rho.requires_grad_(), KEY))


def test_compiled() -> None:
    check_compiled(lambda m, r: gaussian_sample(m, r, KEY), draw(9))


def test_empty() -> None:
    assert gaussian_sample(torch.empty(0), torch.empty(0), KEY).shape == (0,)


def test_strides_do_not_matter() -> None:
    mu, rho = draw(50, torch.float64)
    both = torch.stack((mu, rho), dim=1)
    assert_close(gaussian_sample(both[:, 0], both[:, 1], KEY), gaussian_sample(mu, rho, KEY), tolerances.FLOAT64)


def test_bfloat16() -> None:
    mu, rho = draw(1000, torch.bfloat16)
    theta = gaussian_sample(mu, rho, KEY)
    assert theta.dtype == torch.bfloat16
    expected = mu.double() + torch.nn.functional.softplus(rho.double()) * torch.from_numpy(epsilon(KEY, 1000))
    assert_close(theta, expected, tolerances.GAUSSIAN_SAMPLE_BFLOAT16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"mu": torch.zeros(3, dtype=torch.int64)},
            r"mu: got int64 tensor of shape \(3,\) on cpu, expected a floating",
        ),
        ({"mu": torch.zeros(3, 1)}, r"mu: got float32 tensor of shape \(3, 1\) on cpu, expected 1 dimension"),
        (
            {"rho": torch.zeros(4)},
            r"rho: got float32 tensor of shape \(4,\) .* same as mu: float32 tensor of shape \(3,\)",
        ),
        ({"rho": torch.zeros(3, dtype=torch.float64)}, r"rho: got float64 .* expected the same as mu"),
        ({"rho": torch.zeros(3, device="meta")}, r"rho: got .* on meta, expected the same as mu"),
        ({"rho": 1.0}, r"rho: got float 1.0"),
        ({"key": torch.zeros(2)}, r"key: got float32 tensor of shape \(2,\)"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    arguments = {"mu": torch.zeros(3), "rho": torch.zeros(3), "key": KEY} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        gaussian_sample(**arguments)  # type: ignore[arg-type]
