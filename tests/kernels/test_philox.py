"""Words bit for bit, noise within its tolerance, and one Philox call for four elements."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

import torch
import triton
import triton.language as tl
from torch import Tensor

from base_fast.kernels import _philox
from base_fast.reference import philox
from tests import tolerances
from tests.tolerances import assert_close


@triton.jit
def _write(key, words, gumbel, normal, first, N: tl.constexpr):
    blocks = first + tl.arange(0, N // 4).to(tl.int64)
    i = tl.arange(0, N)
    tl.store(words + i, _philox.words(key, blocks).to(tl.int64))
    tl.store(gumbel + i, _philox.gumbel(key, blocks))
    tl.store(normal + i, _philox.normal(key, blocks))


def draw(key: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    words = torch.zeros(count, dtype=torch.int64)
    gumbel, normal = torch.empty(count), torch.empty(count)
    _write[(1,)](key, words, gumbel, normal, 0, N=count)
    return words, gumbel, normal


@pytest.mark.parametrize("seed", [0, 1, -1, 2**32 - 1, 2**40 + 17, -(2**63)])
# The counter carries into its high half within the block, and wraps.
@pytest.mark.parametrize("offset", [0, 2**31 - 3, 2**32 - 2, 2**40 + 5, -2, 2**63 - 20])
def test_words_are_those_of_the_reference(seed: int, offset: int) -> None:
    key = torch.tensor([seed, offset])
    assert torch.equal(draw(key, 64)[0], philox.words(key, 64))


def test_noise_is_that_of_the_reference() -> None:
    key = torch.tensor([3, 2**32 - 7])
    _, gumbel, normal = draw(key, 32768)
    assert_close(gumbel, philox.gumbel(key, 32768), tolerances.GUMBEL_FLOAT32)
    assert_close(normal, philox.normal(key, 32768), tolerances.NORMAL_FLOAT32)
