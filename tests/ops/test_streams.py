"""The noise of the ops themselves at ten million draws: words, distribution, independence.

Where kernels are compiled these are the kernels' own draws; tests/test_random.py looks at the reference's.
"""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

import base_fast as bf
from base_fast.ops import gaussian_sample, gumbel_softmax
from base_fast.reference import philox
from tests import tolerances
from tests.ops.contract import registered
from tests.tolerances import assert_close

KERNEL_DRAWS, REFERENCE_DRAWS = 10_000_000, 1_000_000
# softplus(ρ) = 1.
UNIT = 0.5413248546129181
# The first of the known answers of Random123 (Salmon et al. 2011): counter and key zero.
ZEROS = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)


def draws(op: str) -> int:
    return KERNEL_DRAWS if registered(op, "CPU") else REFERENCE_DRAWS


def normal(key: Tensor, count: int) -> Tensor:
    """ε of gaussian_sample: θ at μ = 0 and σ = 1."""
    return gaussian_sample(torch.zeros(count), torch.full((count,), UNIT), key)


def logistic(key: Tensor, count: int) -> Tensor:
    """ξ₀ − ξ₁ of gumbel_softmax: the logit of two classes. A difference of Gumbels is logistic."""
    z = gumbel_softmax(torch.zeros(count, 2, dtype=torch.float64), key)
    return torch.log(z[:, 0]) - torch.log(z[:, 1])


DISTRIBUTIONS = {
    "gaussian_sample": (normal, stats.norm),
    "gumbel_softmax": (logistic, stats.logistic),
}


def from_uniforms(words: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """ε of four words, and ξ₀ − ξ₁, ξ₂ − ξ₃."""
    u = ((torch.tensor(words) >> 9).double() + 0.5) / 2**23
    radius, angle = torch.sqrt(-2 * torch.log(u[::2])), 2 * torch.pi * u[1::2]
    xi = -torch.log(-torch.log(u)).view(2, 2)
    return torch.stack((radius * angle.cos(), radius * angle.sin()), -1).flatten(), xi[:, 0] - xi[:, 1]


def test_published_words() -> None:
    """The first block of Random123's known answers, through the ops."""
    key = bf.random.key(0)
    assert tuple(philox.words(key, 4).tolist()) == ZEROS
    epsilon, difference = from_uniforms(ZEROS)
    assert_close(normal(key, 4), epsilon, tolerances.NORMAL_FLOAT32)
    assert_close(logistic(key, 2), difference, tolerances.NORMAL_FLOAT32)


@pytest.mark.parametrize("offset", [0, 5, 2**32 - 2, 2**40 + 7, 2**62])
@pytest.mark.parametrize("seed", [1, -1, 2**32, 2**63 - 1, -(2**63)])
def test_words_of_64_bit_seeds_and_offsets(seed: int, offset: int) -> None:
    """Counters that carry into their upper half on the way."""
    key = torch.tensor([seed, offset])
    words = philox.words(key, 64).view(-1, 4).tolist()
    expected = [torch.cat(both) for both in zip(*(from_uniforms(tuple(block)) for block in words), strict=True)]
    assert_close(normal(key, 64), expected[0], tolerances.NORMAL_FLOAT32)
    assert_close(logistic(key, 32), expected[1], tolerances.NORMAL_FLOAT32)


@pytest.mark.parametrize("op", DISTRIBUTIONS)
def test_distribution(op: str) -> None:
    """Kolmogorov–Smirnov, and the first four central moments."""
    draw, expected = DISTRIBUTIONS[op]
    count = draws(op)
    x = draw(bf.random.key(41), count).double()
    # Kolmogorov's distance by sorting here: scipy's takes minutes at this size.
    cdf = torch.special.ndtr(x) if op == "gaussian_sample" else torch.sigmoid(x)
    ordered, index = torch.sort(cdf)[0], torch.arange(count, dtype=torch.float64)
    distance = torch.maximum((index + 1) / count - ordered, ordered - index / count).max().item()
    assert stats.kstwobign.sf(distance * count**0.5) > tolerances.SMALLEST_P_VALUE
    standard = (x - expected.mean()) / expected.std()
    skewness, excess = map(float, expected.stats(moments="sk"))
    for power, moment in enumerate((0.0, 1.0, skewness, excess + 3.0), start=1):
        values = standard**power
        assert abs(values.mean() - moment) < tolerances.STANDARD_ERRORS * values.std() / count**0.5, power


@pytest.mark.parametrize("op", DISTRIBUTIONS)
def test_neighbours_and_folded_keys_are_uncorrelated(op: str) -> None:
    draw, expected = DISTRIBUTIONS[op]
    count, run = draws(op), bf.random.key(43)
    streams = [
        draw(key, count).double().div_(expected.std()) for key in (run, *(bf.random.fold_in(run, i) for i in (0, 1)))
    ]
    limit = tolerances.STANDARD_ERRORS / count**0.5
    for lag in (1, 2, 4, 16384):
        assert abs((streams[0][lag:] * streams[0][:-lag]).mean()) < limit, lag
    for i, x in enumerate(streams):
        for y in streams[:i]:
            assert abs((x * y).mean()) < limit
            # Signs show what a few large products would hide, squares what a shared radius would.
            assert abs((x.sign() * y.sign()).mean()) < limit
            squares = x.square().sub_(1.0), y.square().sub_(1.0)
            assert abs((squares[0] * squares[1]).mean()) < limit * squares[0].std() * squares[1].std()
