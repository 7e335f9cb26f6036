from __future__ import annotations

import gzip
import json

import pytest
import torch

from base_fast.errors import InputError
from base_fast.objectives import Quantity, Table, TableConfig
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, encode
from tests.objectives import toys

VALID = (Quantity("valid", "larger", "%"),)
CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"


def test_values_and_ranks():
    table = toys.table()
    choices = toys.all_cells()[[0, 7, 15_624, 7]]
    found = table.measure(choices, key(0))
    assert torch.equal(found.values[:, 0], toys.accuracy(choices)) and found.costs.tolist() == [[1.0]] * 4
    column = table.values[:, 1]
    expected = [1 + int((column > value).sum()) for value in found.values[:, 1]]
    assert table.ranks("test", choices).tolist() == expected
    assert table.percentiles("test", choices).tolist() == pytest.approx([100 * rank / 15_625 for rank in expected])
    smaller = Table(NAS_BENCH_201, table.choices, (Quantity("ms", "smaller", "ms"),), table.values[:, 1:])
    expected = [1 + int((column < value).sum()) for value in found.values[:, 1]]
    assert smaller.ranks("ms", choices).tolist() == expected
    with pytest.raises(InputError, match="valid, test"):
        table.ranks("train", choices)


def test_equal_values_share_the_better_rank():
    choices = toys.all_cells()[:4]
    table = Table(NAS_BENCH_201, choices, VALID, torch.tensor([[3.0], [5.0], [5.0], [1.0]], dtype=torch.float64))
    assert table.ranks("valid", choices).tolist() == [3, 1, 1, 4]


def test_a_csv_file_reads_back(tmp_path):
    path = toys.write_csv(tmp_path / "t.csv.gz")
    table = Table.read(path, NAS_BENCH_201, toys.table().quantities)
    assert torch.equal(table.choices, toys.all_cells()) and torch.equal(table.values, toys.table().values)


def test_json_by_genotype_and_as_a_list(tmp_path):
    by_genotype = {"00000000": {"mean_acc": 50.0, "test_acc": [1.0]}, "21000000": {"mean_acc": 90.5, "test_acc": [2.0]}}
    path = tmp_path / "m.json.gz"
    path.write_bytes(gzip.compress(json.dumps(by_genotype).encode()))
    one = TableConfig(path, ("mean_acc",)).open(NAS_BENCH_MACRO)
    rows = [{"net": genotype, **row} for genotype, row in by_genotype.items()]
    (tmp_path / "m.json").write_text(json.dumps(rows))
    other = TableConfig(tmp_path / "m.json", ("mean_acc",), genotypes="net").open(NAS_BENCH_MACRO)
    for table in (one, other):
        assert table.values.tolist() == [[50.0], [90.5]]
        assert table.choices[1].tolist() == [[2, 1, 0, 0, 0, 0, 0, 0]]
    with pytest.raises(InputError, match=r"row 1, column 'test_acc': got \[1\.0\]"):
        TableConfig(path, ("test_acc",)).open(NAS_BENCH_MACRO)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cell,valid\nx,1\n", "no column 'arch'; expected one of cell, valid"),
        ("arch,other\nx,1\n", "no column 'valid'"),
        ("arch,valid\n", "no rows"),
        (f"arch,valid\n{CELL},high\n", "row 1, column 'valid': got 'high'"),
        (f"arch,valid\n{CELL},nan\n", "expected a finite number"),
        (f"arch,valid\n{CELL},1\n{CELL},2\n", "2 rows for 1 genotypes"),
        ("arch,valid\n|conv~0|,1\n", "row 1 is no genotype of nas_bench_201"),
    ],
)
def test_bad_files_are_refused_in_a_line(tmp_path, text, says):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"t\.csv") as refused:
        Table.read(path, NAS_BENCH_201, VALID)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        Table.read(tmp_path / "no.csv", NAS_BENCH_201, VALID)
    with pytest.raises(InputError, match="suffix '.txt'"):
        Table.read(tmp_path / "no.txt", NAS_BENCH_201, VALID)
    (tmp_path / "t.csv.gz").write_bytes(b"plain")
    with pytest.raises(InputError, match="cannot read"):
        Table.read(tmp_path / "t.csv.gz", NAS_BENCH_201, VALID)
    for text, says in (("{", "not JSON"), ("[1]", "a list of objects"), ('{"a": 1}', "a list of objects")):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(InputError, match=says):
            Table.read(tmp_path / "t.json", NAS_BENCH_201, VALID)
    path = toys.write_csv(tmp_path / "u.csv.gz")
    with pytest.raises(InputError, match="no genotype of darts"):
        Table.read(path, DARTS, VALID)


def test_a_genotype_without_a_row():
    table = Table(NAS_BENCH_201, toys.all_cells()[:3], VALID, torch.zeros(3, 1, dtype=torch.float64))
    missing = torch.from_numpy(encode(CELL, NAS_BENCH_201)).unsqueeze(0)
    with pytest.raises(InputError) as refused:
        table.measure(missing, key(0))
    assert CELL in str(refused.value)
    with pytest.raises(InputError, match="values: got shape"):
        Table(NAS_BENCH_201, missing, VALID, torch.zeros(1, 2))


def test_the_published_tables(shared):
    columns = ("cifar10_valid", "cifar10_test")
    table = TableConfig(shared / "data/nasbench201/accuracy.csv.gz", columns).open(NAS_BENCH_201)
    assert len(table) == 5**6 == len(table.choices.flatten(1).unique(dim=0))
    best = table.choices[table.values[:, 0].argmax()].unsqueeze(0)
    assert table.values[:, 0].max().item() == pytest.approx(84.89, abs=0.005)
    assert table.measure(best, key(0)).values[0, 1].item() == pytest.approx(89.03, abs=0.005)
    assert table.ranks("cifar10_test", best).tolist() == [5]
    ms = TableConfig(shared / "data/nasbench201/latency.csv.gz", ("pixel3",), "smaller", "ms").open(NAS_BENCH_201)
    assert torch.equal(ms.choices, table.choices)
    macro = TableConfig(shared / "data/nasbench_macro/nas-bench-macro_cifar10.json.gz", ("mean_acc",))
    found = macro.open(NAS_BENCH_MACRO)
    best = found.choices[found.values[:, 0].argmax()].unsqueeze(0)
    assert len(found) == 3**8 and best.flatten().tolist() == [2, 2, 2, 1, 2, 2, 2, 0]
