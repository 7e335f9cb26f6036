from __future__ import annotations

import itertools

import numpy as np
import pytest

from base_fast.errors import InputError
from base_fast.space import (
    DARTS,
    NAS_BENCH_201,
    NAS_BENCH_MACRO,
    Space,
    configurations,
    decisions,
    encode,
    from_decisions,
    genotypes,
    to_decisions,
    ways,
)

PAIRS = Space("pairs", ("none", "skip_connect", "max_pool_3x3"), 2, 2, ("normal",), (2, 3), 2)


def everything(space):
    return np.array(
        [np.concatenate(parts) for parts in itertools.product(*(rows for _, rows in configurations(space)))]
    )[:, None]


@pytest.mark.parametrize("space", [PAIRS, NAS_BENCH_201, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_every_genotype_has_one_sequence(space):
    choices = everything(space)
    options = to_decisions(choices, space)
    assert options.shape == (len(choices), len(decisions(space)))
    assert len(np.unique(options, axis=0)) == len(choices)
    assert (from_decisions(options, space) == choices).all()


def test_the_order_of_a_published_cell():
    choices = encode(genotypes.DARTS_V2, DARTS)[None]
    options = to_decisions(choices, DARTS)
    assert len(decisions(DARTS)) == 32 and decisions(DARTS)[5] == ("input", 0, 1, 3)
    number = DARTS.primitives.index
    for t, cell in enumerate(genotypes.DARTS_V2.cells.values()):
        for node in range(4):
            pairs = sorted((predecessor, number(primitive)) for primitive, predecessor in cell[2 * node : 2 * node + 2])
            at = 16 * t + 4 * node
            assert options[0, at : at + 4].tolist() == [pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]]
    assert (from_decisions(options, DARTS) == choices).all()


def test_the_ways_to_go_on():
    first, second, primitive = (decisions(DARTS)[i] for i in (12, 13, 14))
    assert ways(first, DARTS)[0].tolist() == [4, 3, 2, 1, 0]
    assert ways(second, DARTS)[1 + 2].tolist() == [0, 0, 0, 1, 1]
    assert ways(primitive, DARTS).tolist() == [0] + [1] * 7
    assert ways(decisions(NAS_BENCH_201)[3], NAS_BENCH_201).tolist() == [1] * 5


def test_what_is_no_genotype_is_refused():
    with pytest.raises(InputError, match="expected 2 edges"):
        to_decisions(np.zeros((1, 2, 14), dtype=np.int64), DARTS)
