"""`base-fast compare-strategies`."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

import base_fast.cli.compare_strategies
from base_fast.cli import main
from base_fast.experiments import CollectConfig, ComparedStrategies, CompareStrategiesConfig, draw
from base_fast.experiments.findings import Judge
from base_fast.experiments.intervals import student_interval
from base_fast.experiments.strategy_comparison import prepare
from base_fast.random import key
from base_fast.runs import RunFolder, load_config
from base_fast.space import Space, compact
from base_fast.strategies import read_search
from tests.cli.test_main import complaint, run
from tests.objectives import toys

ROOT = Path(__file__).resolve().parents[2]

IMAGES = """
table = "{folder}/table.csv.gz"
query = "valid"
judge = ["test", "valid"]
strategies = ["uniform", "random_sharing"]
baseline = "uniform"
seeds = 1
queries = 5
steps = 3
published = true
[random_sharing]
children = 4
finalists = 2
score_images = 16
training = {{ batch_size = 16 }}
[supernet]
space = "nas_bench_201"
channels = 2
layers = 2
[target]
resolution = 8
limit_per_class = 20
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("compare")
    toys.write_csv(path / "table.csv.gz")
    (path / "images.toml").write_text(IMAGES.format(folder=path))
    return path


def test_strategies_side_by_side_on_a_table(folder, tmp_path, capsys):
    compare = ["compare-strategies", "--table", folder / "table.csv.gz", "--query", "valid", "--judge", "test"]
    assert run(*compare, "--queries", 60, "--seeds", 3, "--out", tmp_path / "c.json") == 0
    out = capsys.readouterr().out
    assert "60 queries of valid, judged by test" in out and "median" in out and "spent" in out
    data = json.loads((tmp_path / "c.json").read_text())
    found = {one["strategy"]: one for one in data["strategies"]}
    assert list(found) == ["random", "evolution", "reinforce", "enas"]
    assert found["evolution"]["mean"] > found["random"]["mean"]
    for one in found.values():
        assert [seed["seed"] for seed in one["found"]] == [0, 1, 2]
        assert one["interval"][0] <= one["mean"] <= one["interval"][1]
        assert one["interval"] == list(student_interval([s["value"] for s in one["found"]]))
        assert one["median_rank"] == sorted(s["rank"] for s in one["found"])[1]
    (tmp_path / "s.toml").write_text("evolution = { population = 3 }")
    one = (*compare, "--queries", 9, "--seeds", 1, "--strategies", "evolution", "--config", tmp_path / "s.toml")
    assert run(*one) == 0 and "9 queries of valid" in capsys.readouterr().out
    assert "no column 'train'" in complaint(capsys, *compare[:-1], "train")
    assert "got annealing, expected some of uniform, random, evolution" in complaint(
        capsys, *compare, "--strategies", "annealing"
    )
    assert "--table: not given" in complaint(capsys, "compare-strategies")
    assert "seeds: got 0" in complaint(capsys, *compare, "--seeds", 0)


def test_searches_on_images_stand_in_the_same_table(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    words = ("compare-strategies", "--config", folder / "images.toml", "--run", tmp_path / "r")
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert "Better than uniform by" in out and "published: GDAS" in out and "report: " in out
    compared = RunFolder.open(tmp_path / "r").read("results", ComparedStrategies)
    drawn, shared = compared.findings
    assert drawn.spent["queries"] == 1.0 and drawn.expected == pytest.approx(compared.means)
    assert shared.spent == {"training steps": 3.0, "images": 4 * 16 + 2 * 40.0}
    assert shared.cost is not None and shared.cost.cpu_seconds > 0.0 and shared.cost.peak_bytes > 0
    # Two finalists: the mean of the two is what their distribution promises.
    record = read_search(RunFolder.open(tmp_path / "r/searches/random_sharing-seed0"))
    table = CompareStrategiesConfig(table=folder / "table.csv.gz", query="valid", judge=("test",)).open_table()
    judge = Judge(table, ("test", "valid"))
    finalists = [judge.places(row["genotype"])["test"].value for row in record.history]
    assert shared.expected["test"] == pytest.approx(sum(finalists) / 2)
    assert shared.places == judge.places(record.genotype) and shared.curve[-1].values["test"] in finalists
    page = (tmp_path / "r/report/index.html").read_text()
    assert "Comparison of strategies" in page and (tmp_path / "r/report/learning-test.png").is_file()
    # Another strategy later: what is finished is not done again.
    log = tmp_path / "r/searches/random_sharing-seed0.log"
    before = log.read_bytes()
    monkeypatch.setattr(base_fast.cli.compare_strategies, "write_report", lambda path: path)
    assert run(*words, "--resume", "--strategies", "uniform", "random_sharing", "random", "--processes", 1) == 0
    more = RunFolder.open(tmp_path / "r").read("results", ComparedStrategies)
    assert more.findings[:2] == compared.findings and more.findings[2].strategy == "random"
    assert more.steps == {"random_sharing": 3} and log.read_bytes() == before
    assert "was 5 and is now 6" in complaint(capsys, *words, "--resume", "--queries", 6)


def test_the_examples_fit(tmp_path, capsys):
    # A table of the small space, as the collection writes it; of the searches on images, all but the training.
    space = load_config(ROOT / "examples/collect_small_space.toml", CollectConfig).space
    assert isinstance(space, Space)
    cells = draw(space, 27, key(0))
    rows = [f"{compact(cell.numpy(), space)},{int(cell.sum())}" for cell in cells]
    (tmp_path / "cells.csv").write_text("\n".join(["arch,accuracy", *rows]) + "\n")
    path = ROOT / "examples/compare_strategies.toml"
    config = replace(load_config(path, CompareStrategiesConfig), table=tmp_path / "cells.csv")
    assert config.space == space and len(prepare(config).table) == 27
    words = ("compare-strategies", "--config", path, "--table", tmp_path / "cells.csv", "--baseline", "uniform")
    assert run(*words, "--strategies", "uniform", "evolution") == 0
    assert "Better than uniform by, in accuracy" in capsys.readouterr().out
    real = load_config(ROOT / "examples/compare_one_shot.toml", CompareStrategiesConfig)
    assert len(real.one_shot) == 9 and real.columns == ("cifar10_test", "cifar100_test")
    for name in (*real.one_shot, "darts_limited"):
        settings = real.search(name, 0, real.steps)
        assert getattr(settings.search, settings.search.strategy).training.batch_size == 64


def test_what_does_not_fit_is_refused_in_a_line(folder, tmp_path, capsys):
    words = ("compare-strategies", "--config", folder / "images.toml")
    assert "--run: not given, expected a folder for the results" in complaint(capsys, *words)
    to = (*words, "--run", tmp_path / "r")
    assert "steps: got 0" in complaint(capsys, *to, "--steps", 0)
    assert "queries: got 0" in complaint(capsys, *to, "--queries", 0)
    assert "seconds: got 0.0" in complaint(capsys, *to, "--seconds", 0, "--steps", "None")
    assert "steps, seconds: got both" in complaint(capsys, *to, "--seconds", 5)
    assert "baseline: got 'random'" in complaint(capsys, *to, "--baseline", "random")
    assert "expected some of uniform" in complaint(capsys, *to, "--strategies", "uniform", "uniform")
    assert "random_sharing train a supernet, which there is none of in nas_bench_macro" in complaint(
        capsys, *_macro(tmp_path), "--run", tmp_path / "r"
    )
    assert "published: got a table of nas_bench_macro" in complaint(
        capsys, *_macro(tmp_path), "--strategies", "random", "--published"
    )
    lines = gzip.decompress((folder / "table.csv.gz").read_bytes()).splitlines(keepends=True)
    (tmp_path / "part.csv").write_bytes(b"".join(lines[:100]))
    said = complaint(capsys, *to, "--table", tmp_path / "part.csv")
    assert "has 99 of the 15625 genotypes of nas_bench_201, expected all: random_sharing may find any" in said
    assert "random_sharing: supernet.space: got 'darts'" in complaint(capsys, *to, "--supernet.space", "darts")
    assert not (tmp_path / "r").exists()


def _macro(folder: Path) -> tuple[object, ...]:
    (folder / "macro.csv").write_text("arch,accuracy\n00000000,1\n00000001,2\n")
    words = ("--table", folder / "macro.csv", "--space", "nas_bench_macro")
    return ("compare-strategies", *words, "--strategies", "random_sharing")


@pytest.mark.slow
def test_the_published_table_gives_the_published_order(shared, tmp_path):
    """Means of some hundred repeats elsewhere: random 88.20, evolution 88.54, REINFORCE 88.5; sd of a search .4."""
    table = shared / "data/nasbench201/accuracy.csv.gz"
    columns = ["--query", "cifar10_valid", "--judge", "cifar10_test"]
    assert (
        main(["compare-strategies", "--table", str(table), *columns, "--seeds", "8", "--out", str(tmp_path / "c")]) == 0
    )
    found = {one["strategy"]: one["mean"] for one in json.loads((tmp_path / "c").read_text())["strategies"]}
    for name, mean in (("random", 88.20), ("evolution", 88.54), ("reinforce", 88.5)):
        assert abs(found[name] - mean) < 3 * 0.4 / 8**0.5
