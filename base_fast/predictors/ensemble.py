"""Several small networks as one: their weights side by side in a matrix, every layer one batched product."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from base_fast.random import generator

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor of a member. A layer is a weight (..., in, out) and a bias whose name ends in "bias"."""


def size(shapes: Shapes) -> int:
    """P, the number of a member's weights."""
    return sum(math.prod(shape) for shape in shapes.values())


def initialized(shapes: Shapes, members: int, key: Tensor) -> Tensor:
    """(K, P) float32: normal weights of variance 2/in (He et al. 2015), biases zero; a pure function of the key."""
    draws = generator(key)
    parts = []
    for name, shape in shapes.items():
        if name.endswith("bias"):
            parts.append(torch.zeros(members, math.prod(shape), device="cpu"))
        else:
            normal = torch.randn(members, math.prod(shape), generator=draws, device="cpu")
            parts.append(normal * math.sqrt(2.0 / shape[-2]))
    return torch.cat(parts, dim=1)


def views(weights: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """(K, P) → each tensor (K, *shape) by name."""
    parts = weights.split([math.prod(shape) for shape in shapes.values()], dim=1)
    return {name: part.reshape(len(weights), *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def linear(x: Tensor, p: Mapping[str, Tensor], name: str) -> Tensor:
    """(K, n, in) → (K, n, out)."""
    return torch.baddbmm(p[f"{name}.bias"].unsqueeze(1), x, p[f"{name}.weight"])


def layer(shapes: dict[str, tuple[int, ...]], name: str, inputs: int, outputs: int) -> None:
    """Enter a layer's tensors among the shapes."""
    shapes[f"{name}.weight"] = (inputs, outputs)
    shapes[f"{name}.bias"] = (outputs,)
