"""What the supernet's tests draw."""

from __future__ import annotations

import torch
from torch import Tensor

import base_fast as bf
from base_fast.supernet import Supernet

KEY = bf.random.key(21)


def sample(supernet: Supernet, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """θ with every entry different from zero, and a soft z."""
    generator = torch.Generator().manual_seed(seed)
    theta = supernet.initial_scale().double() * torch.randn(
        supernet.layout.numel, dtype=torch.float64, generator=generator
    )
    space = supernet.space
    shape = (len(space.cell_types), space.num_edges, space.num_primitives)
    z = torch.softmax(torch.randn(shape, dtype=torch.float64, generator=generator), -1)
    return theta.to(dtype), z.to(dtype)


def images(batch: int, height: int, width: int | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(batch, 3, height, width or height, dtype=torch.float64, generator=generator).to(dtype)


def one_hot(z: Tensor, seed: int = 1) -> Tensor:
    picks = torch.randint(z.shape[-1], z.shape[:-1], generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(picks, z.shape[-1]).to(z.dtype)


def cosine_sum(y: Tensor) -> Tensor:
    """A scalar whose gradient differs from element to element."""
    return (y * torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape)).sum()
