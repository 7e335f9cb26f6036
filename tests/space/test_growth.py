"""Genotypes that grow part by part."""

from __future__ import annotations

import numpy as np
import pytest

from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, kept
from base_fast.space.connected import connected
from base_fast.space.growth import extensions, stages, undecided


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201, NAS_BENCH_MACRO], ids=lambda space: space.name)
def test_every_step_is_a_genotype_and_all_are_reached(space):
    grown = undecided(space)[None]
    decided: list[tuple[int, int]] = []
    for stage in stages(space):
        decided += [(stage.cell, edge) for edge in stage.edges]
        every = extensions(grown, stage)
        assert len(every) == len(grown) * len(stage.options) and kept(every, space).all()
        assert (every == grown[0]).all(axis=(1, 2)).any()
        grown = every[:: max(1, len(every) // 50)]
    assert sorted(decided) == [(t, edge) for t in range(len(space.cell_types)) for edge in range(space.num_edges)]


def test_a_cell_of_nas_bench_201_grows_by_nodes_and_a_stack_by_layers():
    # Edges: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
    assert [stage.edges for stage in stages(NAS_BENCH_201)] == [(3,), (0, 4), (1, 2, 5)]
    assert undecided(NAS_BENCH_201).tolist() == [[0, 0, 0, 1, 0, 0]]
    assert connected(undecided(NAS_BENCH_201)[None], NAS_BENCH_201).all()
    assert [stage.edges for stage in stages(NAS_BENCH_MACRO)] == [(layer,) for layer in range(8)]
    assert undecided(NAS_BENCH_MACRO).tolist() == [[0] * 8]
    # DARTS: 49, 147, 294 and 490 ways for a node, normal and reduction cells in turn.
    assert [(stage.cell, len(stage.options)) for stage in stages(DARTS)][:3] == [(0, 49), (1, 49), (0, 147)]
    assert np.unique(undecided(DARTS)).tolist() == [0, 3]
