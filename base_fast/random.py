"""Keys: the only source of randomness. No hidden global state, and nothing drawn is ever stored.

A key is an int64 tensor `[seed, offset]`. Every random quantity is a function of its key, and keys for run, step, task
and layer are derived with `fold_in`; so a resumed run continues as if it had never stopped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.reference import philox

# The counter's top bit separates derived seeds from noise, whose counters never reach it.
_DERIVE = 0x80000000


def key(seed: int, *, device: torch.device | str = "cpu") -> Tensor:
    """A fresh key from an integer seed: int64 (2,)."""
    return torch.tensor([integer("seed", seed, -(2**63), 2**63 - 1), 0], dtype=torch.int64, device=device)


def fold_in(key: Tensor, i: int) -> Tensor:
    """An independent key for branch `i` ≥ 0 of `key`: two Philox words under counter (i, offset, derive bit)."""
    i = integer("i", i, 0, 2**63 - 1)
    seed, offset = key[0], key[1]
    index = torch.full_like(offset, i)
    low, high, _, _ = philox.philox_block(
        (
            index & philox.MASK32,
            (index >> 32) & philox.MASK32,
            offset & philox.MASK32,
            ((offset >> 32) & philox.MASK32) | _DERIVE,
        ),
        seed,
    )
    return torch.stack((low | (high << 32), torch.zeros_like(low)))


def advance(key: Tensor, i: int) -> Tensor:
    """The key of step `i` ≥ 0 of whoever owns `key`: 2³²·i blocks further on in its stream.

    Streams of different steps do not meet while each draws less than 2³⁴ words. It costs a hundredth of `fold_in`,
    which counts where a step is a look-up in a table; the two may be mixed.
    """
    i = integer("i", i, 0, 2**30 - 1)
    return torch.stack((key[0], key[1] + (i << 32)))


def generator(key: Tensor) -> torch.Generator:
    """A CPU generator seeded from the key, for what is not a kernel of this library (permutations, crops)."""
    return torch.Generator().manual_seed(int(fold_in(key, 0)[0]))
