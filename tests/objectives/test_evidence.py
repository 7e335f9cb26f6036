from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig
from base_fast.objectives import (
    Evidence,
    EvidenceConfig,
    Measurements,
    Objective,
    ObjectiveConfig,
    Part,
    PartConfig,
    Quantity,
    Size,
    TableConfig,
    Together,
    normal_scores,
    open_objective,
)
from base_fast.random import key
from base_fast.runs.config_files import from_dict, load_config, save_config
from base_fast.space import DARTS, NAS_BENCH_201
from base_fast.strategies import AskTellSearch, RandomSearch, SearchSettings
from tests.objectives import toys

CELLS = torch.tensor([[[3] * 6], [[1] * 6], [[4] * 6], [[0] * 6]])


class Counted(Objective):
    """Sums of the choices, as a quantity of which smaller is better, and its square; counts its calls."""

    space, costs = NAS_BENCH_201, ("looks",)
    quantities = (Quantity("sum", "smaller", ""), Quantity("square", "larger", ""))

    def __init__(self):
        self.calls = 0

    def measure(self, choices, key):
        self.calls += 1
        total = choices.flatten(1).sum(dim=1).double()
        return Measurements(torch.stack((total, total**2), dim=1), torch.ones(len(choices), 1).double())


def test_evidence_is_the_weighted_sum_of_normal_scores():
    counted = Counted()
    evidence = Evidence(
        [Part(counted, "sum", 2.0), Part(toys.table(), "valid", 0.5, "looked up"), Part(counted, "square", -1.0)]
    )
    assert [(q.name, q.better, q.unit) for q in evidence.quantities] == [
        ("evidence", "larger", "sd"),
        ("sum", "smaller", ""),
        ("looked up", "larger", "%"),
        ("square", "larger", ""),
    ]
    found = evidence.measure(CELLS, key(0))
    assert counted.calls == 1
    assert evidence.costs == ("looks", "look-ups") and found.costs.tolist() == [[1.0, 1.0]] * 4
    total = CELLS.flatten(1).sum(dim=1).double()
    expected = 2 * normal_scores(-total) + 0.5 * normal_scores(toys.accuracy(CELLS)) - normal_scores(total)
    torch.testing.assert_close(found.values[:, 0], expected)
    assert torch.equal(found.values[:, 1:], torch.stack((total, toys.accuracy(CELLS), total**2), dim=1))
    assert evidence.measure(CELLS[:1], key(0)).values[0, 0] == 0.0


def test_bad_parts_are_refused():
    table = toys.table()
    with pytest.raises(InputError, match="parts: got none"):
        Evidence([])
    with pytest.raises(InputError, match="quantity: got 'speed', expected one of valid, test"):
        Part(table, "speed")
    with pytest.raises(InputError, match="weight: got nan"):
        Part(table, "valid", float("nan"))
    with pytest.raises(InputError, match="2 quantities called 'valid'"):
        Evidence([Part(table, "valid"), Part(table, "valid")])
    with pytest.raises(InputError, match="nas_bench_201 and darts"):
        Evidence([Part(table, "valid"), Part(Size(DARTS, NetworkConfig(), 3, 8), "macs")])


def test_a_search_that_measures_one_by_one_refuses_it():
    evidence = Evidence([Part(toys.table(), "valid")])
    for objective in (evidence, Together([Counted(), evidence])):
        with pytest.raises(InputError, match="measures one at a time"):
            AskTellSearch(RandomSearch(), objective, 5, key(0))


def test_evidence_from_a_file(tmp_path):
    toys.write_csv(tmp_path / "t.csv.gz")
    (tmp_path / "search.toml").write_text(
        f"""
        [objective]
        kinds = ["evidence"]
        [[objective.tables]]
        path = "{tmp_path}/t.csv.gz"
        columns = ["valid"]
        [[objective.tables]]
        path = "{tmp_path}/t.csv.gz"
        columns = ["ms"]
        better = "smaller"
        [[objective.evidence.parts]]
        objective = "table"
        quantity = "valid"
        weight = 1
        [[objective.evidence.parts]]
        objective = "table"
        quantity = "ms"
        weight = 0.5
        name = "milliseconds"
        """
    )
    settings = load_config(tmp_path / "search.toml", SearchSettings)
    save_config(tmp_path / "again.toml", settings)
    assert load_config(tmp_path / "again.toml", SearchSettings) == settings
    assert not settings.objective.needs_task
    evidence = open_objective(settings.objective, NAS_BENCH_201)
    assert [q.name for q in evidence.quantities] == ["evidence", "valid", "milliseconds"] and evidence.relative
    values = evidence.measure(CELLS, key(0)).values
    expected = normal_scores(toys.accuracy(CELLS)) + 0.5 * normal_scores(-values[:, 2])
    torch.testing.assert_close(values[:, 0], expected)
    assert replace(settings.objective, evidence=EvidenceConfig((PartConfig("size", "macs"),)), tables=()).needs_task
    with pytest.raises(InputError, match="evidence.parts: got none"):
        ObjectiveConfig(("evidence",))
    with pytest.raises(InputError, match="tables: got none"):
        ObjectiveConfig(("evidence",), (), evidence=EvidenceConfig((PartConfig("table", "valid"),)))
    with pytest.raises(InputError, match="objective: got 'evidence'"):
        from_dict(PartConfig, {"objective": "evidence", "quantity": "evidence"})
    missing = EvidenceConfig((PartConfig("table", "speed"),))
    tables = (TableConfig(tmp_path / "t.csv.gz", ("valid",)),)
    with pytest.raises(InputError, match="got 'speed', expected one of valid"):
        open_objective(ObjectiveConfig(("evidence",), tables, evidence=missing), NAS_BENCH_201)
