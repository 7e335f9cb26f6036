"""What the core stores: bfloat16, strided blocks made dense, statistics merged from parts."""

from __future__ import annotations

import hypothesis
import numpy as np
import torch
from hypothesis import strategies

anew = hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])


def as_torch_rounds(x):
    return torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view(np.uint16)


def test_every_bfloat16_survives(core):
    bits = np.arange(2**16, dtype=np.uint16)
    wide = core.from_bfloat16(bits)
    assert np.array_equal(wide.view(np.uint32), bits.astype(np.uint32) << 16)
    back = core.to_bfloat16(wide)
    number = ~np.isnan(wide)
    assert np.array_equal(back[number], bits[number])
    assert np.isnan(core.from_bfloat16(back[~number])).all()


@anew
@hypothesis.given(strategies.lists(strategies.integers(0, 2**32 - 1), min_size=1, max_size=64))
def test_floats_round_as_in_torch(core, bits):
    # Ties, and what is beside them.
    bits += [(b & 0xFFFF0000) | low for b in bits for low in (0x7FFF, 0x8000, 0x8001)]
    x = np.array(bits, np.uint32).view(np.float32)
    found, number = core.to_bfloat16(x), ~np.isnan(x)
    assert np.array_equal(found[number], as_torch_rounds(x)[number])
    assert np.isnan(core.from_bfloat16(found[~number])).all()


@anew
@hypothesis.given(
    strategies.integers(1, 40),
    strategies.integers(1, 40),
    strategies.integers(1, 3),
    strategies.integers(1, 3),
    strategies.booleans(),
    strategies.booleans(),
)
def test_strided_blocks_come_and_go(core, rows, columns, row_step, column_step, transposed, streamed):
    shape = (columns * column_step, rows * row_step) if transposed else (rows * row_step, columns * column_step)
    memory = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    view = memory[::column_step, ::row_step].T if transposed else memory[::row_step, ::column_step]
    dense = core.pack(view)
    assert np.array_equal(dense, view)
    expected = memory.copy()
    (expected[::column_step, ::row_step].T if transposed else expected[::row_step, ::column_step])[...] = -dense
    core.unpack(-dense, view, streamed)
    assert np.array_equal(memory, expected)


@anew
@hypothesis.given(
    strategies.integers(1, 3),
    strategies.lists(strategies.integers(1, 40), min_size=1, max_size=6),
    strategies.sampled_from((0.0, 1.0, 1e3)),
    strategies.integers(0, 2**31),
)
def test_merged_statistics_are_those_of_all_pixels(core, blocks, chunks, shift, seed):
    pixels = sum(chunks)
    x = (np.random.default_rng(seed).standard_normal((blocks, pixels, 16)) + shift).astype(np.float32)
    mean, square = core.moments(x, chunks)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(1).ravel(), rtol=1e-6, atol=1e-6)
    # Differences from the first value are exact; their squares are summed in float32 within a chunk.
    np.testing.assert_allclose(square, (wide.var(1) * pixels).ravel(), rtol=2e-5, atol=1e-5)
