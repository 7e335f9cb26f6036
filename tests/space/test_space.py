from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

import base_fast.space
from base_fast.errors import InputError
from base_fast.space import DARTS, NAS_BENCH_201, Space, get


def test_darts_has_the_published_edges() -> None:
    assert DARTS.edges == (
        *((p, 2) for p in range(2)),
        *((p, 3) for p in range(3)),
        *((p, 4) for p in range(4)),
        *((p, 5) for p in range(5)),
    )
    assert (DARTS.num_edges, DARTS.num_primitives, DARTS.arity) == (14, 8, 2)
    assert DARTS.cell_types == ("normal", "reduce")


def test_nas_bench_201_has_the_published_edges() -> None:
    assert NAS_BENCH_201.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert (NAS_BENCH_201.num_edges, NAS_BENCH_201.num_primitives, NAS_BENCH_201.arity) == (6, 5, None)


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201], ids=lambda s: s.name)
def test_incoming_partitions_the_edges(space: Space) -> None:
    indices = [index for node in space.node_numbers for index in space.incoming(node)]
    assert indices == list(range(space.num_edges)) == list(range(len(space.edges)))
    for node in space.node_numbers:
        assert [space.edges[i] for i in space.incoming(node)] == [(p, node) for p in range(node)]


@pytest.mark.parametrize("node", [0, 1, 6, -1])
def test_incoming_of_a_node_without_edges_is_an_error(node: int) -> None:
    with pytest.raises(InputError, match=rf"node: {node}; the nodes of darts are 2 to 5"):
        DARTS.incoming(node)


def test_is_frozen_hashable_and_accepts_lists() -> None:
    with pytest.raises(FrozenInstanceError):
        DARTS.nodes = 5  # type: ignore[misc]
    copy = replace(DARTS, primitives=list(DARTS.primitives), concat=[2, 3, 4, 5])  # type: ignore[arg-type]
    assert copy == DARTS
    assert hash(copy) == hash(DARTS)


def test_a_subset_of_the_primitives_is_a_space() -> None:
    small = replace(DARTS, name="small", primitives=("none", "skip_connect", "sep_conv_3x3"))
    assert small.num_primitives == 3
    assert small.edges == DARTS.edges


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201], ids=lambda s: s.name)
def test_dict_round_trip_through_json(space: Space) -> None:
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: ''; expected a non-empty string"),
        ({"primitives": "none"}, "primitives: 'none'; expected a list or a tuple"),
        ({"primitives": ("none", "a", "a")}, "primitives: 'a' appears 2 times"),
        ({"primitives": ("a", "b")}, "primitives: no 'none' in"),
        ({"primitives": ("none",)}, "primitives: only 'none'"),
        ({"primitives": ("none", "a b")}, "primitives: 'a b'; expected letters, digits and underscores"),
        ({"primitives": ("none", 3)}, "primitives: 3; expected letters"),
        ({"inputs": 0}, "inputs: got 0, expected an integer from 1 to 100"),
        ({"nodes": 2.0}, "nodes: got 2.0, expected an integer"),
        ({"nodes": True}, "nodes: got True, expected an integer"),
        ({"cell_types": ("reduce",)}, "cell_types: .*expected"),
        ({"cell_types": ("normal", "normal")}, "cell_types: .*expected"),
        ({"concat": ()}, "concat: empty; expected at least one node"),
        ({"concat": (1,)}, "concat: no node 1; the cell's nodes are 2 to 5"),
        ({"concat": (6,)}, "concat: no node 6; the cell's nodes are 2 to 5"),
        ({"concat": (2, 2)}, "concat: node 2 appears 2 times"),
        ({"concat": ("2",)}, "concat: no node '2'"),
        ({"arity": 3}, "arity: 3; expected None or an integer from 1 to inputs=2"),
        ({"arity": 0}, "arity: 0; expected None"),
    ],
)
def test_an_ill_formed_space_is_refused_by_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(DARTS, **change)  # type: ignore[arg-type]


def test_from_dict_names_missing_and_unknown_fields() -> None:
    data = DARTS.to_dict()
    with pytest.raises(InputError, match="space: unknown field 'depth'"):
        Space.from_dict({**data, "depth": 3})
    del data["arity"]
    with pytest.raises(InputError, match="space: field 'arity' is missing"):
        Space.from_dict(data)
    with pytest.raises(InputError, match="space: a list; expected a mapping"):
        Space.from_dict([])  # type: ignore[arg-type]


def test_get() -> None:
    assert get("darts") is DARTS
    assert get("nas_bench_201") is NAS_BENCH_201
    with pytest.raises(InputError, match=r"space: no 'DARTZ'; did you mean darts\?"):
        get("DARTZ")
    with pytest.raises(InputError, match="space: no 'qqq'; expected one of darts, nas_bench_201"):
        get("qqq")


def test_imports_no_torch() -> None:
    # base_fast itself may import torch, so a bare module of that name stands in for base_fast/__init__.py.
    code = (
        "import sys, types; package = types.ModuleType('base_fast'); package.__path__ = [sys.argv[1]]; "
        "sys.modules['base_fast'] = package; import base_fast.space; assert 'torch' not in sys.modules"
    )
    root = Path(base_fast.space.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
