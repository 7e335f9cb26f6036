"""Occupancies that NVIDIA's calculator gives."""

from __future__ import annotations

import pytest

from benchmarks.occupancy import Occupancy, occupancy

KB = 1024


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "blocks", "warps", "limit"),
    [
        ("sm_80", 256, 32, 0, 8, 64, "warps"),
        ("sm_80", 256, 40, 0, 6, 48, "registers"),
        ("sm_90", 128, 64, 0, 8, 32, "registers"),
        ("sm_90", 1024, 33, 0, 1, 32, "registers"),
        ("sm_100", 256, 255, 0, 1, 8, "registers"),
        ("sm_80", 32, 16, 0, 32, 32, "blocks"),
        ("sm_80", 128, 32, 48 * KB, 3, 12, "shared memory"),
        ("sm_90", 128, 32, 48 * KB, 4, 16, "shared memory"),
        ("sm_100", 128, 32, 227 * KB, 1, 4, "shared memory"),
        ("sm_80", 100, 32, 0, 16, 64, "warps"),
    ],
)
def test_occupancy(arch, threads, registers, shared, blocks, warps, limit):
    assert occupancy(arch, threads, registers, shared) == Occupancy(blocks, warps, warps / 64, limit)


def test_a_block_that_does_not_fit_has_none():
    assert occupancy("sm_80", 128, 32, 164 * KB) == Occupancy(0, 0, 0.0, "shared memory")
    assert occupancy("sm_90", 128, 256, 0).limit == "registers"
    assert occupancy("sm_90", 1024, 128, 0) == Occupancy(0, 0, 0.0, "registers")
