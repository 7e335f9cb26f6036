"""Calls of the Triton launchers on meta tensors: every kernel with arguments as a real launch would give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.kernels import gaussian_kl as kl
from base_fast.kernels import gaussian_sample as sample
from base_fast.kernels import gaussian_sample_kl as sample_kl
from base_fast.kernels import gumbel_softmax as gumbel
from base_fast.kernels import mixed_op, mixed_sum, sgd_step
from base_fast.space import DARTS, PRIMITIVES


@dataclass(frozen=True)
class Case:
    """One call of a launcher on meta tensors of a dtype."""

    name: str
    call: Callable[[torch.dtype], object]
    # Words of the tensors' dtype that cross memory per element: if everything were read and written once, and as the
    # kernels do it.
    minimal: float
    actual: float


# Vectors of whole blocks; branches (B, C, H, W).
P, L, K, SHAPE = 8192, 8, 7, (4, 64, 32, 32)


def _empty(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _key() -> Tensor:
    return _empty(torch.int64, 2)


def _vectors(count: int, dtype: torch.dtype) -> list[Tensor]:
    return [_empty(dtype, P) for _ in range(count)]


def _branches(dtype: torch.dtype, mixed: bool) -> tuple[Tensor, list[Tensor], Tensor, list[int]]:
    """A gradient, the branches of one layout or of two, weights and positions."""
    xs = [_empty(dtype, *SHAPE) for _ in range(K)]
    if mixed:
        xs[1::2] = [x.to(memory_format=torch.channels_last) for x in xs[1::2]]
    return _empty(dtype, *SHAPE), xs, _empty(dtype, K + 1), list(range(1, K + 1))


def _sum(dtype: torch.dtype, mixed: bool) -> None:
    _, xs, weights, positions = _branches(dtype, mixed)
    mixed_sum.mixed_sum(xs, weights, positions)


def _sum_backward(dtype: torch.dtype, mixed: bool) -> None:
    mixed_sum.mixed_sum_backward(*_branches(dtype, mixed))


def _rows(dtype: torch.dtype) -> Tensor:
    return _empty(dtype, 1024, L)


def _scalar_prior(dtype: torch.dtype) -> list[Tensor]:
    return [*_vectors(2, dtype), *(_empty(dtype, 1).expand(P) for _ in range(2))]


def _one(dtype: torch.dtype) -> Tensor:
    return _empty(dtype)


def _edge(dtype: torch.dtype, stride: int, channels: int) -> tuple[Tensor, Tensor, list[Tensor], list[int], int, int]:
    """Of all primitives of DARTS."""
    x = _empty(dtype, SHAPE[0], channels, *SHAPE[2:]).to(memory_format=torch.channels_last)
    table = [PRIMITIVES[name] for name in DARTS.primitives]
    weights = [_empty(dtype, *shape) for p in table for shape in p.weights(channels, stride).values()]
    numbers = [p.number for p in table if p.number is not None]
    return x, _empty(dtype, len(table)), weights, numbers, stride, 0


def _edge_backward(dtype: torch.dtype, stride: int, channels: int) -> None:
    arguments = _edge(dtype, stride, channels)
    y, values, statistics = (torch.empty_like(t) for t in mixed_op.empty(*arguments))
    mixed_op.mixed_op_backward(y, *arguments, values, statistics)


CASES = (
    Case("gumbel_softmax", lambda d: gumbel.gumbel_softmax(_rows(d), _key(), 0.5, False, 1.0), 2, 2),
    Case("gumbel_softmax hard", lambda d: gumbel.gumbel_softmax(_rows(d), _key(), 0.5, True, 1.0), 2, 2),
    Case("gumbel_softmax L=5", lambda d: gumbel.gumbel_softmax(_rows(d)[:, :5], _key(), 0.5, False, 1.0), 2, 2),
    Case("gumbel_softmax backward", lambda d: gumbel.gumbel_softmax_backward(_rows(d), _rows(d), 0.5), 3, 3),
    Case("gaussian_sample", lambda d: sample.gaussian_sample(*_vectors(2, d), _key()), 3, 3),
    Case("gaussian_sample backward", lambda d: sample.gaussian_sample_backward(*_vectors(2, d), _key()), 3, 3),
    Case("gaussian_kl", lambda d: kl.gaussian_kl(*_vectors(4, d)), 4, 4),
    Case("gaussian_kl scalar prior", lambda d: kl.gaussian_kl(*_scalar_prior(d)), 2, 2),
    Case("gaussian_kl backward", lambda d: kl.gaussian_kl_backward(_one(d), *_vectors(4, d), True), 8, 8),
    Case("gaussian_sample_kl", lambda d: sample_kl.gaussian_sample_kl(*_vectors(4, d), _key()), 5, 5),
    Case(
        "gaussian_sample_kl backward",
        lambda d: sample_kl.gaussian_sample_kl_backward(_vectors(1, d)[0], _one(d), *_vectors(4, d), _key(), True),
        9,
        9,
    ),
    Case("mixed_sum", lambda d: _sum(d, mixed=False), K + 1, K + 1),
    Case("mixed_sum two layouts", lambda d: _sum(d, mixed=True), K + 1, K + 1),
    Case("mixed_sum backward", lambda d: _sum_backward(d, mixed=False), 2 * K + 1, 2 * K + 1),
    Case("mixed_sum backward two layouts", lambda d: _sum_backward(d, mixed=True), 2 * K + 1, 2 * K + 1),
    # In words per element of y: x, four first stages, two second ones read and written, four of the six summed up.
    Case("mixed_op", lambda d: mixed_op.mixed_op(*_edge(d, 1, 64)), 2, 15),
    Case("mixed_op 16 channels stride 2", lambda d: mixed_op.mixed_op(*_edge(d, 2, 16)), 5, 22),
    # Projections read 6; pointwise convolutions 16 and 8, with what they write; pools 4¼; second stages 6; the last 9¼.
    Case("mixed_op backward", lambda d: _edge_backward(d, 1, 64), 9, 49.5),
    Case("mixed_op 16 channels stride 2 backward", lambda d: _edge_backward(d, 2, 16), 16, 71),
    Case("sgd_step", lambda d: sgd_step.sgd_step(_vectors(3, d), _vectors(3, d), [0.1, 0.2, 0.3], 1.0), 3, 4),
)
