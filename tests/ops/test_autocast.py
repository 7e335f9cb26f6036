"""Under `torch.autocast` every op takes what PyTorch's layers give it there; float16 is computed in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import base_fast as bf
from base_fast import ops
from base_fast.errors import InputError

KEY = bf.random.key(3)
_DRAWS = torch.Generator().manual_seed(4)
# Numbers that float16 and bfloat16 hold exactly.
V, W = (torch.randint(-8, 9, (5,), generator=_DRAWS) / 8 for _ in range(2))
X, Y = (torch.randint(-8, 9, (2, 4, 6, 6), generator=_DRAWS) / 8 for _ in range(2))
Z = torch.tensor([0.25, 0.5, 0.25])
MATRIX = torch.randint(-8, 9, (4, 4), generator=_DRAWS) / 8
EDGE = [w.detach() for w in bf.nn.MixedOp(4, 1, ("max_pool_3x3", "sep_conv_3x3", "nor_conv_1x1")).parameters()]
EDGE = [w.half().float() for w in EDGE]

OPS: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "gumbel_softmax": (lambda x: ops.gumbel_softmax(x, KEY), (V,)),
    "gaussian_sample": (lambda mu, rho: ops.gaussian_sample(mu, rho, KEY), (V, W)),
    "gaussian_kl": (lambda mu, rho: ops.gaussian_kl(mu, rho, rho, mu), (V, W)),
    "gaussian_sample_kl": (lambda mu, rho: ops.gaussian_sample_kl(mu, rho, rho, mu, KEY)[1], (V, W)),
    "categorical_kl": (ops.categorical_kl, (V, W)),
    "mixed_sum": (lambda x, y, z: ops.mixed_sum([x, None, y], z), (X, Y, Z)),
    "relu_conv_norm": (ops.relu_conv_norm, (X, MATRIX)),
    "mixed_op": (
        lambda x, z, *w: ops.mixed_op(x, z, w, ("max_pool_3x3", "sep_conv_3x3", "nor_conv_1x1")),
        (X, Z, *EDGE),
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_float16_is_computed_in_float32(name: str) -> None:
    op, arguments = OPS[name]
    expected = op(*arguments)
    # All of them half, or the first alone, as behind a convolution.
    for mixture in ([x.half() for x in arguments], [arguments[0].half(), *arguments[1:]]):
        leaves = [x.requires_grad_() for x in mixture]
        with torch.autocast("cpu", torch.float16):
            y = op(*leaves)
        assert y.dtype == torch.float32
        assert torch.allclose(y, expected, rtol=1e-6, atol=1e-6)
        assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), leaves))


@pytest.mark.parametrize("name", OPS)
def test_float16_is_refused_elsewhere(name: str) -> None:
    op, arguments = OPS[name]
    with pytest.raises(InputError, match=r"got float16 .*, expected a floating-point tensor"):
        op(*(x.half() for x in arguments))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("space", [bf.space.DARTS.with_nodes(2), bf.space.NAS_BENCH_201], ids=lambda space: space.name)
def test_supernets(space: Any, dtype: torch.dtype) -> None:
    net = bf.Supernet(space, channels=4, layers=3, num_classes=3)
    prior = net.prior(bf.random.key(0))
    theta = (prior.mu + 0.1 * torch.randn(prior.mu.shape, generator=_DRAWS)).requires_grad_()
    images = torch.randn(4, 3, 8, 8, generator=_DRAWS)
    hard = torch.nn.functional.one_hot(torch.arange(prior.alpha[..., 0].numel()) % space.num_primitives)
    for z, chosen in ((prior.alpha.softmax(-1), False), (hard.view(prior.alpha.shape).float(), True)):
        exact = net(images, theta, z, chosen).detach()
        with torch.autocast("cpu", dtype):
            logits = net(images, theta, z, chosen)
        (gradient,) = torch.autograd.grad(logits.float().square().sum(), theta)
        assert gradient.isfinite().all()
        assert (logits.float() - exact).norm() < (0.1 if dtype == torch.bfloat16 else 0.02) * exact.norm()


def test_branches_of_several_dtypes() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.mixed_sum([X, Y.bfloat16()], Z[:2])
    assert y.dtype == torch.float32
    assert torch.equal(y, ops.mixed_sum([X, Y], Z[:2]))
