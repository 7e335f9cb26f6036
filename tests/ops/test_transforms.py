"""What torch.func makes of ops with kernels: loops, gradients, and an error in forward mode."""

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
IMAGES = torch.randn(3, 2, 4, 5, 8, generator=torch.Generator().manual_seed(14), dtype=torch.float64)
WEIGHTS = X[:, 0, :2].double()

Z = torch.softmax(X[:, 2, :3], -1).double()
MATRICES = X[:, :4, :4].double()
PRIMITIVES = ("max_pool_3x3", "sep_conv_3x3", "nor_conv_1x1")
EDGE = bf.nn.MixedOp(4, 2, PRIMITIVES).double()
_CELLS = bf.Supernet(bf.space.DARTS.with_nodes(2), channels=2, layers=2, num_classes=2)
THETA = 0.1 * torch.randn(3, _CELLS.layout.numel, generator=torch.Generator().manual_seed(15), dtype=torch.float64)
UPSTREAM = torch.cos(torch.arange(1000.0))
ALPHA = torch.full((2, 5, 8), 0.125, dtype=torch.float64)

# One call for each of three entries.
EVERY: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "gumbel_softmax": (lambda x: ops.gumbel_softmax(x, KEY, 0.7), (X,)),
    "gumbel_softmax_hard": (lambda x: ops.gumbel_softmax(x, KEY, 0.7, hard=True), (X,)),
    "gaussian_sample": (lambda mu, rho: ops.gaussian_sample(mu, rho, KEY), (MU, RHO)),
    "gaussian_kl": (lambda mu, rho: ops.gaussian_kl(mu, rho, rho, mu), (MU, RHO)),
    "gaussian_sample_kl": (lambda mu, rho: ops.gaussian_sample_kl(mu, rho, rho, mu, KEY), (MU, RHO)),
    "mixed_sum": (lambda x, w: ops.mixed_sum([x, x], w), (IMAGES, WEIGHTS)),
    "relu_conv_norm": (ops.relu_conv_norm, (IMAGES, MATRICES)),
    "mixed_op": (EDGE, (IMAGES, Z)),
    "mixed_cell": (lambda theta: _CELLS(IMAGES[0, :, :3], theta, ALPHA), (THETA,)),
    "sgd_step": (lambda x, y: tuple(ops.sgd_step([x], [y], [0.5])[0]), (MU, RHO)),
}


def outputs(y: Any) -> tuple[Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize("name", EVERY)
def test_vmap_is_a_loop(name: str) -> None:
    f, args = EVERY[name]
    together = outputs(torch.func.vmap(f)(*args))
    alone = [outputs(f(*(x[i] for x in args))) for i in range(3)]
    for i, y in enumerate(together):
        expected = torch.stack([one[i] for one in alone])
        # Around the cells of a supernet PyTorch's own operations see the whole batch.
        assert torch.equal(y, expected) or (name == "mixed_cell" and torch.allclose(y, expected, atol=1e-12))


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
def test_functional_gradients_are_those_of_autograd(name: str) -> None:
    f, args = EVERY[name]

    def value(*entries: Tensor) -> Tensor:
        # Not the squares, whose sum is a constant behind a batch norm.
        return sum(((y.flatten() * UPSTREAM[: y.numel()]).sum() for y in outputs(f(*entries))), torch.zeros(()))

    every = tuple(range(len(args)))
    together = torch.func.vmap(torch.func.grad(value, argnums=every))(*args)
    for i in range(3):
        entries = [x[i].clone().requires_grad_() for x in args]
        expected = torch.autograd.grad(value(*entries), entries)
        alone = torch.func.grad(value, argnums=every)(*(x[i] for x in args))
        for found in (alone, [x[i] for x in together]):
            for one, other in zip(found, expected, strict=True):
                # Gradients of edges and cells are those of PyTorch's own operations here.
                assert (one - other).norm() <= 1e-4 * other.norm()
