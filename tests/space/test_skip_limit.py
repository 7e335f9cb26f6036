"""The rule that limits skip connections, on cells that can be read by eye."""

from __future__ import annotations

import numpy as np
import pytest

from base_fast.errors import InputError
from base_fast.space import DARTS, NAS_BENCH_201, SkipLimit, Space, derive, skip_edges

SKIP, CONV, POOL = (NAS_BENCH_201.primitives.index(x) for x in ("skip_connect", "nor_conv_3x3", "avg_pool_3x3"))


def all_skips() -> np.ndarray:
    """NAS-Bench-201: every edge a skip connection, the later the stronger; the next best alternates."""
    pi = np.full((1, 6, 5), 0.02)
    for edge in range(6):
        pi[0, edge, SKIP] = 0.5 + 0.05 * edge
        pi[0, edge, CONV if edge % 2 else POOL] = 0.1
    return pi / pi.sum(axis=-1, keepdims=True)


def test_the_weakest_skip_connections_give_way_to_the_next_best():
    pi = all_skips()
    assert skip_edges(derive(pi, NAS_BENCH_201), NAS_BENCH_201) == [0, 1, 2, 3, 4, 5]
    found = derive(pi, NAS_BENCH_201, SkipLimit(2))
    names = [primitive for primitive, _ in found.normal]
    assert names == ["avg_pool_3x3", "nor_conv_3x3", "avg_pool_3x3", "nor_conv_3x3", "skip_connect", "skip_connect"]


@pytest.mark.parametrize("limit", range(7))
def test_a_limit_is_kept_and_one_that_is_met_changes_nothing(limit):
    pi = all_skips()
    found = derive(pi, NAS_BENCH_201, SkipLimit(limit))
    assert len(skip_edges(found, NAS_BENCH_201)) == min(limit, 6)
    assert limit < 6 or found == derive(pi, NAS_BENCH_201)


def test_where_a_node_keeps_two_edges_another_edge_may_come_in():
    """Node 3 keeps 0 and 1, both skip connections; without the weaker, its edge is the worst of the three."""
    pi = np.full((2, 14, 8), 1e-3)
    conv, skip = DARTS.primitives.index("sep_conv_3x3"), DARTS.primitives.index("skip_connect")
    pi[..., conv] = 0.2
    first = DARTS.incoming(3).start
    pi[0, first, skip], pi[0, first + 1, skip] = 0.6, 0.5
    pi[0, first + 1, conv] = 0.1
    pi[1] = pi[0]
    pi[..., DARTS.primitives.index("none")] += 1.0 - pi.sum(axis=-1)
    free, limited = derive(pi, DARTS), derive(pi, DARTS, SkipLimit(1))
    assert skip_edges(free, DARTS) == [first, first + 1]
    assert limited.normal[2:4] == (("skip_connect", 0), ("sep_conv_3x3", 2))
    assert limited.normal[:2] == free.normal[:2] and limited.normal[4:] == free.normal[4:]
    assert limited.reduce == free.reduce, "only the normal cell is limited"


def test_bad_limits_are_refused():
    with pytest.raises(InputError, match="limit: got -1"):
        SkipLimit(-1)
    only = Space("only", ("none", "skip_connect"), inputs=2, nodes=1, cell_types=("normal",), concat=(2,), arity=2)
    with pytest.raises(InputError, match="no primitive in place of skip_connect"):
        derive(np.full((1, 2, 2), 0.5), only, SkipLimit(1))
