"""Graph distances of hand-made cells, and of random ones against definitions written otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, Space
from base_fast.space.graph_distance import (
    MEASURES,
    depth_difference,
    edit_distance,
    longest_path_difference,
    loose_end_difference,
    relabelled_edit_distance,
    shared_edges,
    shared_primitives,
    spectral_distance,
)

NONE, SKIP, CONV1, CONV3, POOL = range(5)
# Edges of NAS-Bench-201: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
CHAIN = [CONV3, NONE, CONV1, NONE, NONE, SKIP]  # 0 → 1 → 2 → 3
SHORT = [CONV3, NONE, NONE, NONE, SKIP, NONE]  # 0 → 1 → 3
LONG_WAY = [NONE, CONV3, NONE, NONE, NONE, SKIP]  # 0 → 2 → 3: the same with the nodes 1 and 2 exchanged
EMPTY = [NONE] * 6


def cells(*rows: list[int]) -> np.ndarray:
    return np.array(rows)[:, None]


def one(measure, a: list[int], b: list[int]) -> float:
    forth = measure(cells(a), cells(b), NAS_BENCH_201)
    assert forth.dtype == np.float64 and forth.shape == (1,)
    assert forth == pytest.approx(measure(cells(b), cells(a), NAS_BENCH_201))
    return float(forth[0])


@pytest.mark.parametrize(
    ("measure", "chain_short", "chain_empty", "short_long_way"),
    [
        (edit_distance, 3, 3, 4),
        # The best order exchanges nodes 1 and 2 for the pair on the right, and helps nowhere else.
        (relabelled_edit_distance, 3, 3, 0),
        (shared_edges, 1, 0, 0),
        (shared_primitives, 2, 0, 2),
        (depth_difference, 1, 2, 0),  # 2, 1, 0: the skip is no depth
        (longest_path_difference, 1, 3, 0),  # 3, 2, 0
        (loose_end_difference, 1, 2, 0),  # the last node; and node 2; all three; the last and node 1
        # A path of four nodes has 2 − √2, 2, 2 + √2 beside 0, one of three has 1 and 3.
        (spectral_distance, math.sqrt((2 - 2**0.5) ** 2 + 1 + (2**0.5 - 1) ** 2), math.sqrt(16.0), 0),
    ],
)
def test_hand_made_cells(measure, chain_short, chain_empty, short_long_way):
    assert one(measure, CHAIN, SHORT) == pytest.approx(chain_short)
    assert one(measure, CHAIN, EMPTY) == pytest.approx(chain_empty)
    assert one(measure, SHORT, LONG_WAY) == pytest.approx(short_long_way, abs=1e-12)


def random(space, n: int, seed: int) -> np.ndarray:
    return IndependentEdges.uniform(space).sample(key(seed), n).numpy()


@pytest.mark.parametrize("space", [NAS_BENCH_201, DARTS, NAS_BENCH_MACRO])
@pytest.mark.parametrize("name", MEASURES)
def test_a_genotype_is_nearest_to_itself(space, name):
    a, b = random(space, 40, 0), random(space, 40, 1)
    itself, other = MEASURES[name](a, a, space), MEASURES[name](a, b, space)
    if name.startswith("shared"):
        assert (itself >= other).all() and (other >= 0).all()
    else:
        assert (itself == 0).all() and (other >= 0).all()
    # All stacks are the same chain, whatever their blocks.
    alike = space is NAS_BENCH_MACRO and name in ("shared edges", "longest path", "loose ends", "Laplacian spectrum")
    assert (other != itself).any() != alike


def test_the_edit_distance_is_that_of_networkx():
    nx = pytest.importorskip("networkx", reason="the independent formulation is networkx's")

    def graph(row):
        g = nx.DiGraph()
        for node in range(4):
            g.add_node(node, role=node if node in (0, 3) else "inner")
        for (start, end), label in zip(NAS_BENCH_201.edges, row, strict=True):
            if label != NONE:
                g.add_edge(start, end, label=label)
        return g

    a, b = random(NAS_BENCH_201, 12, 2), random(NAS_BENCH_201, 12, 3)
    found = relabelled_edit_distance(a, b, NAS_BENCH_201)
    for x, y, distance in zip(a[:, 0].tolist(), b[:, 0].tolist(), found, strict=True):
        assert distance == nx.graph_edit_distance(
            graph(x),
            graph(y),
            # Another role is never matched: inputs are inputs, and the output is the output.
            node_subst_cost=lambda p, q: 0 if p["role"] == q["role"] else 100,
            edge_match=lambda p, q: p["label"] == q["label"],
        )
    assert (found <= edit_distance(a, b, NAS_BENCH_201)).all()
    assert (found < edit_distance(a, b, NAS_BENCH_201)).any()


def test_nodes_of_darts_may_take_each_others_places():
    # Node 3 of the first has the place of node 2 in the second, and so on; all of them take the inputs alone.
    a, b = (by_hand(*nodes) for nodes in (((4, 3), (1, 6), (4, 4), (4, 4)), ((4, 4), (4, 3), (1, 6), (4, 4))))
    assert relabelled_edit_distance(a[None], b[None], DARTS) == 0
    assert edit_distance(a[None], b[None], DARTS) > 0
    swapped = by_hand((3, 4), (1, 6), (4, 4), (4, 4))
    # The two inputs are different things.
    assert relabelled_edit_distance(a[None], swapped[None], DARTS) == 2 * 2


def by_hand(*nodes: tuple[int, int]) -> np.ndarray:
    """Both cells alike; each node takes the two inputs with these primitives."""
    row = [l for number, pair in enumerate(nodes) for l in (*pair, *[0] * number)]
    return np.array([row, row])


def test_a_path_without_end_at_the_output_is_no_path():
    dead = [CONV3, NONE, CONV3, NONE, NONE, NONE]  # 0 → 1 → 2, and nothing leads to 3
    assert one(longest_path_difference, dead, EMPTY) == 0
    # Nothing comes into 1: what leaves it comes from no input.
    cut = [NONE, NONE, CONV3, NONE, NONE, CONV3]
    assert one(longest_path_difference, cut, EMPTY) == 0


def test_stacks_are_chains():
    a, b = (np.array([[row]]) for row in ([0, 0, 1, 1, 2, 2, 0, 0], [1, 0, 0, 1, 2, 2, 0, 0]))
    assert edit_distance(a, b, NAS_BENCH_MACRO) == relabelled_edit_distance(a, b, NAS_BENCH_MACRO) == 2
    assert depth_difference(a, b, NAS_BENCH_MACRO) == 0 and shared_primitives(a, b, NAS_BENCH_MACRO) == 8
    assert depth_difference(a, np.zeros_like(a), NAS_BENCH_MACRO) == 4


def test_refusals():
    a = random(NAS_BENCH_201, 3, 0)
    with pytest.raises(InputError, match=r"b: got shape \(2, 1, 6\), expected \(3, 1, 6\)"):
        edit_distance(a, a[:2], NAS_BENCH_201)
    with pytest.raises(InputError, match=r"a: got shape \(3, 1, 6\), expected \(3, 2, 14\)"):
        spectral_distance(a, a, DARTS)
    with pytest.raises(InputError, match="b: got numbers 5 to 5"):
        shared_edges(a, np.full_like(a, 5), NAS_BENCH_201)
    large = Space("large", ("none", "skip_connect"), 1, 9, ("normal",), (9,), None)
    many = np.zeros((1, 1, large.num_edges), dtype=np.int64)
    with pytest.raises(InputError, match="9 computed nodes in large, expected at most 5040 orders"):
        relabelled_edit_distance(many, many, large)
