"""Latency as the sum of parts: all of a network's operations are in one part each."""

from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig
from base_fast.evaluation.latency_parts import Lookup, Part, TimedPart, parts_of
from base_fast.objectives import Quantity, Table
from base_fast.objectives.latency_lookup import LatencyLookup
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, Genotype, encode
from tests.cli.test_main import complaint, run

SMALL = {"nas_bench_201": NetworkConfig("nas_bench_201", 2, 5), "darts": NetworkConfig("cifar", 2, 3)}
SPACES = {"nas_bench_201": NAS_BENCH_201, "darts": DARTS}


def network(name: str, seed: int = 0):
    return SMALL[name].build(Genotype.random(SPACES[name], seed), 10, 0)


@pytest.mark.parametrize("name", SPACES)
def test_the_parts_hold_every_parameter_once_and_take_what_they_are_given(name):
    built = network(name)
    parts = parts_of(built, 8)
    used = [p for _, module, _ in parts for p in module.parameters()]
    assert len(used) == len({id(p) for p in used}) and {id(p) for p in used} == {id(p) for p in built.parameters()}
    for part, module, shape in parts:
        out = module.eval()(torch.zeros(1, *shape))
        assert shape[:2] == (part.channels, part.resolution)
        if part.kind != "sum":
            assert out.shape[1] == part.out
    kinds = [part.kind for part, *_ in parts]
    edges = 3 * 6 if name == "nas_bench_201" else 3 * 8
    assert sum(kind in SPACES[name].primitives for kind in kinds) == edges
    strides = {part.stride for part, *_ in parts if part.kind in SPACES[name].primitives}
    assert strides == ({1} if name == "nas_bench_201" else {1, 2})


def test_a_prediction_is_the_sum_and_a_file_keeps_the_parts(tmp_path):
    built = network("nas_bench_201")
    wanted = [part for part, *_ in parts_of(built, 8)]
    table = Lookup("here", 1, tuple(TimedPart(part, 0.5 * i) for i, part in enumerate(dict.fromkeys(wanted))))
    known = {timed.part: timed.ms for timed in table.parts}
    assert table.predict(built, 8) == pytest.approx(sum(known[part] for part in wanted))
    table.save(tmp_path / "l.json")
    assert Lookup.load(tmp_path / "l.json") == table and table.lacking(built, 8) == []
    with pytest.raises(InputError, match="lookup: got no .* at 16 pixels"):
        table.predict(built, 16)
    (tmp_path / "other.json").write_text("[]")
    for path in ("other.json", "absent.json"):
        with pytest.raises(InputError, match="expected a table of parts"):
            Lookup.load(tmp_path / path)
    # Another network of the space lacks the primitives that this one has not.
    other = network("nas_bench_201", 1)
    assert all(isinstance(part, Part) for part, *_ in table.lacking(other, 8))
    full = table.measured(other, 8, repeats=1)
    assert full.lacking(other, 8) == [] and full.parts[: len(table.parts)] == table.parts
    objective = LatencyLookup(NAS_BENCH_201, full, SMALL["nas_bench_201"], 10, 8)
    choices = torch.from_numpy(encode(Genotype.random(NAS_BENCH_201, 1), NAS_BENCH_201)).unsqueeze(0)
    assert objective.measure(choices, key(0)).values.item() == full.predict(other, 8)


def test_the_command_measures_parts_and_wholes_and_a_search_looks_them_up(tmp_path, capsys):
    size = ("--network.channels", "2", "--network.layers", "5", "--resolution", "8", "--repeats", "1")
    latency = ("latency", "--run", tmp_path / "r", *size)
    assert run(*latency, "--cells", "2") == 0 and "2 networks: the sum of parts" in capsys.readouterr().out
    first = Lookup.load(tmp_path / "r/lookup.json")
    assert run(*latency, "--cells", "3", "--resume") == 0
    table = Table.read(tmp_path / "r/latency.csv", NAS_BENCH_201, [Quantity("latency", "smaller", "ms")])
    assert len(table) == 3 and bool((table.values > 0.0).all())
    again = Lookup.load(tmp_path / "r/lookup.json")
    assert again.parts[: len(first.parts)] == first.parts and again.batch_size == 1
    assert "cells: got 0" in complaint(capsys, *latency, "--cells", "0")
