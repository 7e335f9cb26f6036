"""z = softmax((φ + s·ξ)/τ) against NumPy, its exact one-hot, its noise and its frequencies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import base_fast as bf
from base_fast.errors import InputError
from base_fast.ops import gumbel_softmax
from base_fast.reference import philox
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients, saved
from tests.tolerances import assert_close

KEY = bf.random.key(11)


def logits(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)


def by_numpy(x: Tensor, key: Tensor, tau: float, noise: float) -> Tensor:
    """The formula in float64 from the raw words."""
    u = ((philox.words(key, x.numel()).numpy() >> 9) + 0.5) / 2**23
    xi = -np.log(-np.log(u)).reshape(x.shape)
    scaled = (x.double().numpy() + noise * xi) / tau
    e = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return torch.from_numpy(e / e.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(8,), (14, 8), (2, 14, 8), (3, 1)])
def test_formula(shape: tuple[int, ...], tau: float, noise: float) -> None:
    x = logits(*shape)
    z = gumbel_softmax(x, KEY, tau, noise=noise)
    assert (z.dtype, z.shape) == (x.dtype, x.shape)
    assert_close(z, by_numpy(x, KEY, tau, noise), tolerances.SOFTMAX_FLOAT32 / min(tau, 1.0))


def test_without_noise_it_is_the_tempered_softmax() -> None:
    x = logits(5, 8, dtype=torch.float64)
    assert_close(gumbel_softmax(x, KEY, 0.7, noise=0.0), torch.softmax(x / 0.7, dim=-1), tolerances.FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_hard_is_exactly_one_hot_with_the_gradient_of_soft(dtype: torch.dtype) -> None:
    x = logits(5000, 8, dtype=dtype)
    soft, soft_gradients = gradients(lambda l: gumbel_softmax(l, KEY, 0.3), [x])
    hard, hard_gradients = gradients(lambda l: gumbel_softmax(l, KEY, 0.3, hard=True), [x])
    assert torch.equal(hard, torch.nn.functional.one_hot(soft.argmax(-1), 8).to(dtype))
    assert soft.dtype == hard.dtype == dtype
    assert torch.equal(hard_gradients[0], soft_gradients[0])
    assert soft_gradients[0].abs().max() > 0


def test_hard_keeps_the_first_of_equal_entries() -> None:
    z = gumbel_softmax(torch.zeros(3, 4), KEY, hard=True, noise=0.0)
    assert torch.equal(z, torch.tensor([1.0, 0, 0, 0]).expand(3, 4))


def test_frequencies_are_those_of_the_categorical() -> None:
    x = logits(8, dtype=torch.float64)
    n = 200_000
    frequencies = gumbel_softmax(x.expand(n, 8), KEY, hard=True).mean(0)
    pi = torch.softmax(x, -1)
    deviations = (frequencies - pi) / (pi * (1 - pi) / n).sqrt()
    assert deviations.abs().max() < tolerances.STANDARD_ERRORS


def test_noise_is_a_function_of_the_key_alone() -> None:
    x = logits(14, 8)
    z = gumbel_softmax(x, KEY)
    torch.rand(5)  # the global generator plays no part
    assert torch.equal(gumbel_softmax(x, KEY.clone()), z)
    others = [gumbel_softmax(x, bf.random.fold_in(KEY, i)) for i in range(4)]
    for i, other in enumerate(others):
        assert not torch.isclose(other, z).any(dim=-1).all()
        assert all(not torch.equal(other, third) for third in others[:i])


def test_derivatives() -> None:
    check_twice_differentiable(lambda l: gumbel_softmax(l, KEY, 0.7), [logits(2, 3, 5)])


def test_registration() -> None:
    for hard in (False, True):
        check_registration("gumbel_softmax", (logits(3, 5).requires_grad_(), KEY, 0.7, hard, 1.0))


def test_registration_of_the_backward_op() -> None:
    z, grad = torch.softmax(logits(3, 5), -1), logits(3, 5)
    check_registration("gumbel_softmax_backward", (grad, z, 0.7))


def test_saved_for_backward() -> None:
    x = logits(14, 8).requires_grad_()
    z = gumbel_softmax(x, KEY)
    assert [t.data_ptr() for t in saved(z)] == [z.data_ptr()]
    hard = gumbel_softmax(x, KEY, hard=True)
    assert [t.data_ptr() for t in saved(hard)] == [x.data_ptr(), KEY.data_ptr()]


def test_compiled() -> None:
    check_compiled(lambda l: gumbel_softmax(l, KEY, 0.7), [logits(3, 5)])
    check_compiled(lambda l: gumbel_softmax(l, KEY, 0.7, hard=True), [logits(3, 5)])


def test_no_rows() -> None:
    for hard in (False, True):
        assert gumbel_softmax(torch.empty(0, 8), KEY, hard=hard).shape == (0, 8)


def test_strides_do_not_matter() -> None:
    x = logits(14, 8)
    wide = torch.full((14, 16), float("nan"))
    wide[:, ::2] = x
    assert torch.equal(gumbel_softmax(wide[:, ::2], KEY), gumbel_softmax(x, KEY))
    assert torch.equal(gumbel_softmax(x.T.contiguous().T, KEY), gumbel_softmax(x, KEY))


def test_bfloat16() -> None:
    x = logits(14, 8, dtype=torch.bfloat16)
    z = gumbel_softmax(x, KEY)
    assert z.dtype == torch.bfloat16
    assert_close(z, by_numpy(x, KEY, 1.0, 1.0), tolerances.SOFTMAX_BFLOAT16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"logits": torch.zeros(2, 3, dtype=torch.int64)},
            r"logits: got int64 tensor of shape \(2, 3\) on cpu, expected",
        ),
        (
            {"logits": torch.zeros(2, 3, dtype=torch.float16)},
            r"logits: got float16 .* \(float32, float64 or bfloat16\)",
        ),
        ({"logits": [0.0]}, r"logits: got list \[0.0\], expected a floating-point tensor"),
        (
            {"logits": torch.tensor(0.0)},
            r"logits: got float32 tensor of shape \(\) on cpu, expected shape \(\.\.\., L\)",
        ),
        ({"logits": torch.zeros(3, 0)}, r"logits: got .* \(3, 0\) on cpu, expected shape \(\.\.\., L\) with L ≥ 1"),
        ({"key": torch.zeros(3, dtype=torch.int64)}, r"key: got int64 tensor of shape \(3,\).*\[seed, offset\] on cpu"),
        ({"key": torch.zeros(2)}, r"key: got float32 tensor of shape \(2,\)"),
        ({"key": KEY.to("meta")}, r"key: got .* on meta, expected an int64 tensor \[seed, offset\] on cpu"),
        ({"key": 3}, r"key: got int 3"),
        ({"tau": 0.0}, r"tau: got 0.0, expected a number > 0"),
        ({"tau": float("nan")}, r"tau: got nan"),
        ({"noise": -0.5}, r"noise: got -0.5, expected a number ≥ 0"),
        ({"noise": float("nan")}, r"noise: got nan"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        gumbel_softmax(**({"logits": torch.zeros(2, 3), "key": KEY} | changed))  # type: ignore[arg-type]
