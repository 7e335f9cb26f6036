"""Edges for the tests of mixed_op: inputs, the op as a function of them, and the same of torch.nn modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from base_fast.ops import mixed_op
from base_fast.reference.primitives import weight_shapes
from benchmarks.plain_darts import PlainMixedOp


def draw(
    size: tuple[int, ...],
    primitives: tuple[str, ...],
    stride: int,
    dtype: torch.dtype = torch.float64,
    seed: int = 7,
) -> list[Tensor]:
    """x, z, then the weights."""
    generator = torch.Generator().manual_seed(seed)
    weights = [shape for p in primitives for shape in weight_shapes(p, size[1], stride).values()]
    x, z, *rest = (
        torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)
        for shape in (size, (len(primitives),), *weights)
    )
    return [x, torch.softmax(z, 0), *rest]


def edge(
    primitives: tuple[str, ...], stride: int, chosen: int | None = None, memory: str = "store"
) -> Callable[..., Tensor]:
    return lambda x, z, *weights: mixed_op(x, z, weights, primitives, stride, chosen, memory)


def plain(
    primitives: tuple[str, ...], stride: int, channels: int, dtype: torch.dtype = torch.float64
) -> Callable[..., Tensor]:
    module = PlainMixedOp(channels, stride, primitives).to(dtype)
    names = [name for name, _ in module.named_parameters()]

    def f(x: Tensor, z: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, z))

    return f


def names(primitives: tuple[str, ...], stride: int) -> list[str]:
    """What y and its gradients are called, in the order of `gradients`."""
    weights = [f"{p}.{name}" for p in primitives for name in weight_shapes(p, 2, stride)]
    return ["y", "x", "z", *weights]
