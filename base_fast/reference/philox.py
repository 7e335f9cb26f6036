"""Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC'11) in integer tensors.

A key is an int64 tensor `[seed, offset]`. Word i of its stream is lane i mod 4 of the block at counter
`(offset + i // 4)`, under the Philox key `seed`; both are split into low and high 32-bit halves, and the upper half
of the counter is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox_block(counter: tuple[Tensor, Tensor, Tensor, Tensor], seed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds over 32-bit words held in int64 tensors; an int64 product keeps all 64 bits of a 32 × 32 product."""
    c0, c1, c2, c3 = counter
    k0, k1 = seed & MASK32, (seed >> 32) & MASK32
    for _ in range(ROUNDS):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product1 >> 32) & MASK32) ^ c1 ^ k0,
            product1 & MASK32,
            ((product0 >> 32) & MASK32) ^ c3 ^ k1,
            product0 & MASK32,
        )
        k0, k1 = (k0 + WEYL[0]) & MASK32, (k1 + WEYL[1]) & MASK32
    return c0, c1, c2, c3


def words(key: Tensor, count: int) -> Tensor:
    """The first `count` words of the key's stream: int64 (count,), each in [0, 2³²)."""
    block = key[1] + torch.arange((count + 3) // 4, device=key.device)
    zero = torch.zeros_like(block)
    lanes = philox_block((block & MASK32, (block >> 32) & MASK32, zero, zero), key[0])
    return torch.stack(lanes, dim=-1).flatten()[:count]


def uniform(key: Tensor, count: int) -> Tensor:
    """float32 (count,), u = ((w >> 9) + ½)·2⁻²³: exact, never 0 or 1."""
    return ((words(key, count) >> 9).to(torch.float32) + 0.5) * 2.0**-23


def gumbel(key: Tensor, count: int) -> Tensor:
    """Gumbel(0, 1) noise, float32 (count,): −log(−log u)."""
    return -torch.log(-torch.log(uniform(key, count)))


def normal(key: Tensor, count: int) -> Tensor:
    """N(0, 1) noise, float32 (count,): Box–Muller on words (2j, 2j+1), both outputs used."""
    pairs = uniform(key, count + count % 2).view(-1, 2)
    radius = torch.sqrt(-2.0 * torch.log(pairs[:, 0]))
    angle = (2.0 * torch.pi) * pairs[:, 1]
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1).flatten()[:count]
