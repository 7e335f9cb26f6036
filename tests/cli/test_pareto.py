"""`base-fast pareto`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from base_fast.experiments.front import FrontConfig
from base_fast.runs import load_config
from base_fast.space import NAS_BENCH_201, Genotype
from tests.cli.test_main import complaint, run
from tests.objectives import toys

pytest.importorskip("pymoo")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pareto")
    csv = toys.write_csv(folder / "t.csv.gz")
    tables = (
        f'tables = [{{ path = "{csv}", columns = ["valid"] }}, {{ path = "{csv}", columns = ["ms"], '
        'better = "smaller", unit = "ms" }]\n'
    )
    search = '[search]\nstrategy = "nsga2"\nqueries = 40\ngoals = ["valid", "ms"]\n[objective]\n'
    (folder / "search.toml").write_text(search + tables)
    (folder / "front.toml").write_text("reference = [50.0, 30.0]\n" + tables)
    return folder


def test_the_example_loads():
    assert load_config(ROOT / "examples/front.toml", FrontConfig).goals == ("cifar10_test", "pixel3")


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_front_of_a_search_is_a_table_a_picture_and_genotypes(config, tmp_path, capsys):
    folder = tmp_path / "r"
    assert run("search", "--config", config / "search.toml", "--run", folder) == 0
    assert run("pareto", folder, "--reference", "50", "30") == 0
    out = capsys.readouterr().out
    table = rows(folder / "front/front.csv")
    front = json.loads((folder / "front/front.json").read_text())
    assert front["reference"] == [50.0, 30.0] and front["hypervolume"] > 0 and front["goals"] == 2
    assert "Hypervolume" in out and table[0]["arch"] in out
    valid, ms = ([float(row[name]) for row in table] for name in ("valid", "ms"))
    assert valid == sorted(valid, reverse=True) and ms == sorted(ms, reverse=True) and len(set(ms)) == len(ms)
    for number, row in enumerate(table, 1):
        genotype = Genotype.from_json((folder / f"front/genotypes/{number}.json").read_text())
        genotype.validate(NAS_BENCH_201)
        assert genotype.compact() == row["arch"]
    assert not (folder / f"front/genotypes/{len(table) + 1}.json").exists()
    assert (folder / "front/front.png").stat().st_size > 1000
    assert run("report", folder) == 0 and (folder / "report/front.png").is_file()
    # A longer search only adds to what was measured: its front is no worse.
    assert run("search", "--config", config / "search.toml", "--run", folder, "--resume", "--search.queries", "60") == 0
    assert run("pareto", folder, "--reference", "50", "30") == 0
    longer = json.loads((folder / "front/front.json").read_text())
    assert longer["measured"] >= front["measured"] and longer["hypervolume"] >= front["hypervolume"]


def test_the_front_of_tables(config, tmp_path, capsys):
    assert run("pareto", "--config", config / "front.toml", "--out", tmp_path / "f") == 0
    front = json.loads((tmp_path / "f/front.json").read_text())
    assert front["measured"] == 15625 and front["left_out"] == 341
    assert len(front["others"]) <= 2000 and len(rows(tmp_path / "f/front.csv")) == len(front["points"])
    assert run("pareto", "--config", config / "front.toml", "--out", tmp_path / "g", "--no-connected") == 0
    assert json.loads((tmp_path / "g/front.json").read_text())["left_out"] == 0
    capsys.readouterr()
    for options, message in [
        (["--goals", "valid"], "expected two different ones or more"),
        (["--goals", "valid", "loss"], "goals: got 'loss'"),
        (["--reference", "1"], "expected 2: one for each goal"),
    ]:
        assert message in complaint(
            capsys, "pareto", "--config", config / "front.toml", "--out", tmp_path / "h", *options
        )
    assert "--out: not given" in complaint(capsys, "pareto", "--config", config / "front.toml")
    assert "tables: got none" in complaint(capsys, "pareto", "--out", tmp_path / "h")
