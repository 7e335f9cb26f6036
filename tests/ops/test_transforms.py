"""What torch.func makes of ops with kernels: the right result or an error, and nothing in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import base_fast as bf
from base_fast import ops
from base_fast.errors import InputError

KEY = bf.random.key(31)
X = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(13))
MU, RHO = X[:, 0], X[:, 1]
IMAGES = X[:, None, None].expand(3, 2, 4, 5, 8).contiguous()
WEIGHTS = X[:, 0, :2]

# On tensors, one call for each of three entries.
SINGLE: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "gumbel_softmax": (lambda x: ops.gumbel_softmax(x, KEY, 0.7), (X,)),
    "gumbel_softmax_hard": (lambda x: ops.gumbel_softmax(x, KEY, 0.7, hard=True), (X,)),
    "gaussian_sample": (lambda mu, rho: ops.gaussian_sample(mu, rho, KEY), (MU, RHO)),
    "gaussian_kl": (lambda mu, rho: ops.gaussian_kl(mu, rho, rho, mu), (MU, RHO)),
    "gaussian_sample_kl": (lambda mu, rho: ops.gaussian_sample_kl(mu, rho, rho, mu, KEY), (MU, RHO)),
}
# On lists of tensors, for which PyTorch has no loop to fall back on.
LISTS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "mixed_sum": (lambda x, w: ops.mixed_sum([x, x], w), (IMAGES, WEIGHTS)),
    "sgd_step": (lambda x, y: tuple(ops.sgd_step([x], [y], [0.5])[0]), (MU, RHO)),
}
EVERY = SINGLE | LISTS


def outputs(y: Any) -> tuple[Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize("name", SINGLE)
def test_vmap_is_a_loop(name: str) -> None:
    f, args = SINGLE[name]
    together = outputs(torch.func.vmap(f)(*args))
    alone = [outputs(f(*(x[i] for x in args))) for i in range(3)]
    for i, y in enumerate(together):
        assert torch.equal(y, torch.stack([one[i] for one in alone]))


def test_vmap_over_keys() -> None:
    keys = torch.stack([bf.random.fold_in(KEY, i) for i in range(3)])
    together = torch.func.vmap(lambda x, k: ops.gumbel_softmax(x, k, 0.7))(X, keys)
    assert torch.equal(together, torch.stack([ops.gumbel_softmax(x, k, 0.7) for x, k in zip(X, keys, strict=True)]))


def test_gradient_through_vmap() -> None:
    x = X.clone().requires_grad_()
    upstream = torch.cos(X)
    (found,) = torch.autograd.grad(torch.func.vmap(lambda l: ops.gumbel_softmax(l, KEY, 0.7))(x), x, upstream)
    (expected,) = torch.autograd.grad(torch.stack([ops.gumbel_softmax(l, KEY, 0.7) for l in x]), x, upstream)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", LISTS)
def test_vmap_over_lists_is_refused(name: str) -> None:
    f, args = LISTS[name]
    with pytest.raises(RuntimeError, match="Batching rule not implemented|inside of vmap"):
        torch.func.vmap(f)(*args)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", EVERY)
def test_forward_mode_is_refused(name: str) -> None:
    """PyTorch itself would return a derivative of zero."""
    f, args = EVERY[name]
    first = [x[0] for x in args]
    for moved in range(len(first)):

        def along(x: Tensor, moved: int = moved) -> Any:
            return f(*first[:moved], x, *first[moved + 1 :])

        with pytest.raises(InputError, match="forward-mode tangent, expected none"):
            torch.func.jvp(along, (first[moved],), (torch.ones_like(first[moved]),))


@pytest.mark.parametrize("name", [name for name in EVERY if name != "sgd_step"])
def test_functional_gradients_are_refused(name: str) -> None:
    """Gradients of these ops are for torch.autograd; torch.func.grad is not."""
    f, args = EVERY[name]
    with pytest.raises(RuntimeError, match="functorch transforms"):
        torch.func.grad(lambda x: outputs(f(x, *(y[0] for y in args[1:])))[0].sum())(args[0][0])
