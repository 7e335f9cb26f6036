"""Philox against the published vectors and a scalar implementation; what keys promise; the noise's distributions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

import base_fast as bf
from base_fast.errors import InputError
from base_fast.reference import philox
from tests import tolerances
from tests.tolerances import assert_close

ONES = 0xFFFFFFFF
DRAWS = 1_000_000
Words = tuple[int, ...]

# kat_vectors of Random123 (Salmon et al. 2011), philox4x32 with ten rounds: counter, key, words.
KNOWN: list[tuple[Words, Words, Words]] = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def scalar_philox(counter: Words, key: Words) -> Words:
    """Philox4x32-10 in Python's integers, which have no width to get wrong."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = b >> 32 ^ c1 ^ k0, b & ONES, a >> 32 ^ c3 ^ k1, a & ONES
        k0, k1 = k0 + 0x9E3779B9 & ONES, k1 + 0xBB67AE85 & ONES
    return c0, c1, c2, c3


def halves(value: int) -> Words:
    return value & ONES, value >> 32 & ONES


def scalar_words(seed: int, offset: int, count: int) -> list[int]:
    blocks = (scalar_philox((*halves(offset + i), 0, 0), halves(seed)) for i in range(-(-count // 4)))
    return [word for block in blocks for word in block][:count]


def key_at(seed: int, offset: int) -> Tensor:
    return torch.tensor([seed, offset], dtype=torch.int64)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN, ids=["zeros", "ones", "pi"])
def test_known_answers(counter: Words, key: Words, expected: Words) -> None:
    signed = (key[1] << 32 | key[0]) - (key[1] >> 31 << 64)
    block = philox.philox_block(tuple(map(torch.tensor, counter)), torch.tensor(signed))
    assert tuple(map(int, block)) == expected
    assert scalar_philox(counter, key) == expected


def test_known_answer_as_a_stream() -> None:
    assert tuple(philox.words(bf.random.key(0), 4).tolist()) == KNOWN[0][2]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -(2**63), 0x123456789ABCDEF])
@pytest.mark.parametrize("offset", [0, 1, 2**31 - 1, 2**32 - 2, 2**32, 2**40 + 7, 2**62])
def test_words_of_64_bit_seeds_and_offsets(seed: int, offset: int) -> None:
    assert philox.words(key_at(seed, offset), 19).tolist() == scalar_words(seed, offset, 19)


def test_offset_counts_blocks_of_four_words() -> None:
    stream = philox.words(key_at(9, 0), 40)
    assert torch.equal(philox.words(key_at(9, 3), 28), stream[12:])


def test_a_shorter_draw_is_a_prefix() -> None:
    key = bf.random.key(-3)
    for draw in (philox.words, philox.uniform, philox.gumbel, philox.normal):
        longest = draw(key, 41)
        for count in (0, 1, 2, 3, 4, 5, 8, 40):
            prefix = draw(key, count)
            assert prefix.shape == (count,)
            if draw in (philox.words, philox.uniform):
                assert torch.equal(prefix, longest[:count])
            else:  # logarithms and cosines may round differently at the end of a vector
                assert_close(prefix, longest[:count], tolerances.NORMAL_FLOAT32)


def test_words_of_torch() -> None:
    """torch.func._random draws its float32 uniforms from the low 24 bits of the same words."""
    reference = pytest.importorskip("torch.func._random", reason="this torch has no torch.func._random")
    for seed in (0, 5, 2**40 + 1):
        theirs = reference.uniform(reference.key(seed), 1001)
        low_bits = philox.words(bf.random.key(seed), 1001) & 0xFFFFFF
        assert torch.equal(theirs.double(), low_bits.double() / 2**24)


def test_uniform_is_exact_and_never_zero_or_one() -> None:
    words = philox.words(bf.random.key(1), 4096)
    u = philox.uniform(bf.random.key(1), 4096)
    assert u.dtype == torch.float32
    assert u.double().tolist() == [((word >> 9) + 0.5) / 2**23 for word in words.tolist()]


@pytest.mark.parametrize(("word", "expected"), [(0, 2.0**-24), (ONES, 1 - 2.0**-24)])
def test_extreme_words(monkeypatch: pytest.MonkeyPatch, word: int, expected: float) -> None:
    monkeypatch.setattr(philox, "words", lambda key, count: torch.full((count,), word))
    assert philox.uniform(bf.random.key(0), 2).tolist() == [expected, expected]
    assert philox.gumbel(bf.random.key(0), 2).isfinite().all()
    normal = philox.normal(bf.random.key(0), 2)
    assert normal.isfinite().all()
    assert normal.abs().max() <= 5.77


def test_noise_against_float64() -> None:
    key, count = bf.random.key(2), 100_001
    u = ((philox.words(key, count + 1).double() / 512).floor() + 0.5) / 2**23
    assert_close(philox.gumbel(key, count), -torch.log(-torch.log(u[:-1])), tolerances.GUMBEL_FLOAT32)
    radius, angle = torch.sqrt(-2 * torch.log(u[::2])), 2 * math.pi * u[1::2]
    expected = torch.stack((radius * angle.cos(), radius * angle.sin()), -1).flatten()[:count]
    assert_close(philox.normal(key, count), expected, tolerances.NORMAL_FLOAT32)


DISTRIBUTIONS = {
    "uniform": (philox.uniform, stats.uniform),
    "normal": (philox.normal, stats.norm),
    "gumbel": (philox.gumbel, stats.gumbel_r),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name: str) -> None:
    """Kolmogorov–Smirnov, and the first four central moments, at a million draws."""
    draw, expected = DISTRIBUTIONS[name]
    x = draw(bf.random.key(17), DRAWS).double().numpy()
    assert stats.kstest(x, expected.cdf, method="asymp").pvalue > tolerances.SMALLEST_P_VALUE
    standard = (x - expected.mean()) / expected.std()
    skewness, excess = map(float, expected.stats(moments="sk"))
    for power, moment in enumerate((0.0, 1.0, skewness, excess + 3.0), start=1):
        standard_error = float((standard**power).std()) / DRAWS**0.5
        assert abs((standard**power).mean() - moment) < tolerances.STANDARD_ERRORS * standard_error, power


def test_neighbouring_words_and_the_pair_of_box_muller_are_uncorrelated() -> None:
    x = philox.normal(bf.random.key(3), DRAWS).double()
    limit = tolerances.STANDARD_ERRORS / DRAWS**0.5
    for lag in (1, 2, 3, 4):
        assert abs((x[lag:] * x[:-lag]).mean()) < limit
        # Squares show what a shared radius would hide from the products.
        assert abs(((x[lag:] ** 2 - 1) * (x[:-lag] ** 2 - 1)).mean() / 2) < limit


def test_fold_in_is_philox_under_the_derive_bit() -> None:
    for seed, offset, i in [(5, 0, 0), (5, 0, 3), (-7, 2**33 + 1, 2**32 + 9), (2**63 - 1, 0, 2**63 - 1)]:
        low, high, _, _ = scalar_philox((*halves(i), offset & ONES, offset >> 32 | 0x80000000), halves(seed))
        derived = bf.random.fold_in(key_at(seed, offset), i)
        assert [value % 2**64 for value in derived.tolist()] == [high << 32 | low, 0]
        assert (derived.dtype, derived.shape) == (torch.int64, (2,))


def test_fold_in_gives_different_keys() -> None:
    run = bf.random.key(0)
    keys = [bf.random.fold_in(run, i) for i in range(200)]
    keys += [bf.random.fold_in(key, i) for key in keys[:20] for i in range(20)]
    keys += [bf.random.fold_in(bf.random.key(seed), 0) for seed in range(1, 50)]
    assert len({tuple(key.tolist()) for key in [run, *keys]}) == len(keys) + 1


def test_the_order_of_folding_matters() -> None:
    key, fold = bf.random.key(1), bf.random.fold_in
    assert not torch.equal(fold(fold(key, 0), 1), fold(fold(key, 1), 0))


def test_folded_streams_are_independent() -> None:
    count, keys = 20_000, [bf.random.fold_in(bf.random.key(8), i) for i in range(12)]
    streams = torch.stack([philox.normal(key, count) for key in [bf.random.key(8), *keys]]).double()
    correlations = torch.corrcoef(streams) - torch.eye(13, dtype=torch.float64)
    # 78 pairs are looked at, so one more standard error than for a single figure.
    assert correlations.abs().max() < (tolerances.STANDARD_ERRORS + 1) / count**0.5


def test_every_bit_of_a_derived_seed_is_fair() -> None:
    n = 2000
    seeds = torch.stack([bf.random.fold_in(bf.random.key(4), i)[0] for i in range(n)])
    bits = (seeds[:, None] >> torch.arange(64)) & 1
    deviations = (bits.double().mean(0) - 0.5) / (0.25 / n) ** 0.5
    assert deviations.abs().max() < tolerances.STANDARD_ERRORS + 1
    # One step of i flips half of the bits.
    flips = (bits[1:] ^ bits[:-1]).sum(1).double().mean()
    assert abs(flips - 32) < tolerances.STANDARD_ERRORS * 4 / n**0.5


def test_keys_do_not_share_words_with_what_is_derived_from_them() -> None:
    key = bf.random.key(6)
    chain = [key]
    for _ in range(5):
        chain.append(bf.random.fold_in(chain[-1], 0))
    for parent, child in pairwise(chain):
        assert not set(philox.words(parent, 64).tolist()) & set(philox.words(child, 64).tolist())


def test_generator_is_a_function_of_the_key() -> None:
    draws = [torch.randperm(50, generator=bf.random.generator(bf.random.key(seed))) for seed in (3, 3, -3)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    bf.random.generator(bf.random.fold_in(bf.random.key(1), 2))
    philox.normal(bf.random.key(1), 10)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_keys_trace_without_being_baked_in() -> None:
    def f(key: Tensor) -> Tensor:
        return philox.gumbel(bf.random.fold_in(key, 2), 6)

    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    for seed in (1, 2, -5):
        assert torch.equal(compiled(bf.random.key(seed)), f(bf.random.key(seed)))


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_key_errors(seed: int) -> None:
    with pytest.raises(InputError, match=f"^seed: got {seed}, expected an integer from -"):
        bf.random.key(seed)


@pytest.mark.parametrize("i", [-1, 2**63])
def test_fold_in_errors(i: int) -> None:
    with pytest.raises(InputError, match=f"^i: got {i}, expected an integer from 0"):
        bf.random.fold_in(bf.random.key(0), i)


def test_advanced_keys_are_far_along_the_same_stream() -> None:
    key = bf.random.fold_in(bf.random.key(5), 2)
    assert torch.equal(bf.random.advance(key, 0), key)
    steps = [bf.random.advance(key, i) for i in (1, 2, 2**30 - 1)]
    streams = [philox.words(k, 64) for k in (key, *steps)]
    assert all(not torch.isin(one, other).all() for i, one in enumerate(streams) for other in streams[:i])
    assert philox.words(steps[0], 8).tolist() == scalar_words(int(key[0]), int(key[1]) + 2**32, 8)
    assert not torch.equal(bf.random.fold_in(steps[0], 0), bf.random.fold_in(steps[1], 0))
    for i in (-1, 2**30):
        with pytest.raises(InputError, match="i: got"):
            bf.random.advance(key, i)
