"""Random words and noise, the same words as base_fast.reference.philox: one Philox call for four elements.

`blocks` are int64 numbers of groups of four elements, (..., N); the results are (..., 4N), element 4j + i of a row
being lane i of its block j. Joining lanes keeps the four in one thread, where they meet a 128-bit load of their
elements.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def interleave4(a, b, c, d):
    """(..., N) four times to (..., 4N): a₀ b₀ c₀ d₀ a₁ …"""
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


@triton.jit
def lanes(key, blocks):
    """Four uint32 (..., N): the words of each block of the stream of `key`, a pointer to int64 [seed, offset]."""
    return tl.randint4x(tl.load(key), tl.load(key + 1) + blocks)


@triton.jit
def words(key, blocks):
    a, b, c, d = lanes(key, blocks)
    return interleave4(a, b, c, d)


@triton.jit
def uniform(word):
    """((w >> 9) + ½)·2⁻²³: exact in float32, never 0 or 1."""
    return ((word >> 9).to(tl.float32) + 0.5) * 1.1920928955078125e-07


@triton.jit
def gumbel(key, blocks):
    """−log(−log u)."""
    return -tl.log(-tl.log(uniform(words(key, blocks))))


@triton.jit
def box_muller(first, second):
    """√(−2 log u₁)·(cos 2πu₂, sin 2πu₂)."""
    radius = tl.sqrt(-2.0 * tl.log(uniform(first)))
    turn = uniform(second)
    # The nearest quarter turn comes off exactly, so nothing of u₂ is lost; what stays is within ±π/4, where the
    # polynomials (Cephes: sinf, cosf) are good to one rounding.
    quarter = (turn * 4.0 + 0.5).to(tl.int32)
    x = (turn - quarter.to(tl.float32) * 0.25) * 6.283185307179586
    y = x * x
    sin = x + x * y * (-1.6666654611e-1 + y * (8.3321608736e-3 + y * -1.9515295891e-4))
    cos = 1.0 - 0.5 * y + y * y * (4.166664568298827e-2 + y * (-1.388731625493765e-3 + y * 2.443315711809948e-5))
    odd = (quarter & 1) == 1
    c, s = tl.where(odd, sin, cos), tl.where(odd, cos, sin)
    c = tl.where(((quarter + 1) & 2) == 2, -c, c)
    s = tl.where((quarter & 2) == 2, -s, s)
    return radius * c, radius * s


@triton.jit
def normal(key, blocks):
    """Box–Muller on words (2j, 2j+1), both outputs used."""
    a, b, c, d = lanes(key, blocks)
    a, b = box_muller(a, b)
    c, d = box_muller(c, d)
    return interleave4(a, b, c, d)
