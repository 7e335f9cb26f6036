"""Genotypes as free vectors, and which of them connect something."""

from __future__ import annotations

import numpy as np
import pytest

from base_fast.distributions import IndependentEdges
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, kept
from base_fast.space.connected import connected
from base_fast.space.parts import from_parts, sizes, to_parts
from tests.objectives import toys


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_every_genotype_is_a_vector_and_every_vector_a_genotype(space):
    choices = IndependentEdges.uniform(space).sample(key(0), 50).numpy()
    vectors = to_parts(choices, space)
    assert vectors.shape == (50, len(sizes(space))) and (vectors < sizes(space)).all()
    assert np.array_equal(from_parts(vectors, space), choices)
    drawn = np.random.default_rng(0).integers(sizes(space), size=(50, len(sizes(space))))
    assert kept(from_parts(drawn, space), space).all()
    assert np.array_equal(to_parts(from_parts(drawn, space), space), drawn)
    assert np.prod(sizes(NAS_BENCH_MACRO)) == 6561 and sizes(DARTS).tolist() == [49, 147, 294, 490] * 2


def test_341_cells_of_nas_bench_201_connect_nothing():
    cells = toys.all_cells().numpy()
    good = connected(cells, NAS_BENCH_201)
    assert (~good).sum() == 341
    # Edges in order: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
    of = {tuple(cell[0]): found for cell, found in zip(cells.tolist(), good, strict=True)}
    assert of[0, 0, 0, 1, 0, 0] and of[1, 0, 1, 0, 0, 1] and not of[1, 0, 1, 0, 0, 0] and not of[0, 1, 3, 0, 3, 0]
    assert connected(np.zeros((2, 1, 8), dtype=np.int64), NAS_BENCH_MACRO).all()
