"""Philox's words against the published ones and the reference's, and the noise that is made of them."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies

from base_fast.reference import philox as reference

# Of Random123: counter, key, words.
ANSWERS = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        *((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
NOISES = ("words", "uniform", "gumbel", "normal")
# Of a fixed key, in standard errors.
STANDARD_ERRORS = 5.0

int64s = strategies.integers(-(2**63), 2**63 - 1)
# Where the counter's lower half overflows within a run, too.
offsets = int64s | strategies.integers(2**32 - 80, 2**32) | strategies.just(2**63 - 1)


@pytest.mark.parametrize(("counter", "key", "words"), ANSWERS)
def test_published_answers(core, counter, key, words):
    assert tuple(core.philox(np.array([counter], np.uint32), *key)[0]) == words


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(int64s, offsets, strategies.integers(0, 2**40))
def test_a_run_of_blocks_is_its_blocks(core, seed, offset, first):
    run = core.module.RUN
    for name in NOISES:
        kind = getattr(core.module.Noise, name)
        one_by_one = core.noise_blocks(kind, seed, offset, first, 2 * run // 4)
        assert core.noise_runs(kind, seed, offset, first, 2).tobytes() == one_by_one.tobytes(), name


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(int64s, offsets)
def test_the_reference_draws_the_same_words(core, seed, offset):
    expected = reference.words(torch.tensor([seed, offset]), 20).numpy()
    found = core.noise_blocks(core.module.Noise.words, seed, offset, 0, 5)
    assert np.array_equal(found.astype(np.int64), expected.astype(np.int64) & 0xFFFFFFFF)


def test_uniforms_are_exact_and_never_0_or_1(core):
    words = core.noise_runs(core.module.Noise.words, 1, 2, 0, 4000)
    uniforms = core.noise_runs(core.module.Noise.uniform, 1, 2, 0, 4000)
    assert np.array_equal(uniforms.astype(np.float64), ((words >> 9) + 0.5) * 2.0**-23)
    assert uniforms.min() > 0.0 and uniforms.max() < 1.0


def test_noise_is_the_function_of_its_uniforms(core):
    """Errors as core/philox.h states them, of Gumbels over all uniforms, of normals over a million pairs."""
    u = core.noise_runs(core.module.Noise.uniform, 3, 4, 0, 8000).astype(np.float64)
    gumbels = core.noise_runs(core.module.Noise.gumbel, 3, 4, 0, 8000)
    assert np.abs(gumbels + np.log(-np.log(u))).max() < 1.1e-6
    normals = core.noise_runs(core.module.Noise.normal, 3, 4, 0, 8000).reshape(-1, 2)
    radius, turn = np.sqrt(-2.0 * np.log(u[::2])), 2.0 * np.pi * u[1::2]
    assert np.abs(normals - np.stack((radius * np.cos(turn), radius * np.sin(turn)), 1)).max() < 8e-7


def test_moments(core):
    normals = core.noise_runs(core.module.Noise.normal, 3, 1, 0, 4000).astype(np.float64)
    bound = STANDARD_ERRORS / np.sqrt(normals.size)
    assert abs(normals.mean()) < bound
    assert abs(np.square(normals).mean() - 1.0) < bound * np.sqrt(2.0)
    assert abs((normals[::2] * normals[1::2]).mean()) < bound * np.sqrt(2.0)
    gumbels = core.noise_runs(core.module.Noise.gumbel, 4, 1, 0, 4000).astype(np.float64)
    assert abs(gumbels.mean() - np.euler_gamma) < bound * np.pi / np.sqrt(6.0)
