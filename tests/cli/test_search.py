"""`base-fast search`."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from base_fast.distributions import load_distribution
from base_fast.posterior import Derivation, Posterior
from base_fast.runs import RunFolder, load_config, load_tensors
from base_fast.space import NAS_BENCH_201, Genotype
from base_fast.strategies import SearchSettings, read_search
from tests.cli.test_main import SIGNALLED, complaint, run
from tests.objectives import toys

ROOT = Path(__file__).resolve().parents[2]

SHARED = """
[search]
strategy = "random_sharing"
[search.random_sharing]
children = 4
finalists = 2
score_images = 16
training = { steps = 4, batch_size = 16 }
[objective]
kinds = ["shared_weights"]
[supernet]
space = "nas_bench_201"
channels = 2
layers = 2
[target]
resolution = 8
limit_per_class = 20
"""

TRAINED = """
[search]
strategy = "evolution"
queries = 3
[objective]
kinds = ["trained", "size"]
network = { skeleton = "nas_bench_201", channels = 2, layers = 5 }
train = { steps = 2, batch_size = 16, augmentation = "none" }
[target]
resolution = 8
limit_per_class = 20
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("search")
    toys.write_csv(path / "table.csv.gz")
    (path / "table.toml").write_text(
        f'[search]\nstrategy = "evolution"\nqueries = 25\n[objective]\ntables = [{{ path = "{path}/table.csv.gz", '
        'columns = ["valid", "test"] }]\n'
    )
    (path / "shared.toml").write_text(SHARED)
    (path / "trained.toml").write_text(TRAINED)
    return path


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("table", []),
        ("table", ["--search.strategy", "random"]),
        ("table", ["--search.strategy", "reinforce", "--search.goals", "test"]),
        ("shared", []),
        (
            "shared",
            [
                "--search.strategy",
                "base",
                "--search.base.adapt.budget.steps",
                "3",
                "--search.base.adapt.inner.head",
                "own",
            ],
        ),
        (
            "shared",
            ["--search.strategy", "parsec", "--search.parsec.training.steps", "3", "--supernet.reductions", "1"],
        ),
        ("trained", []),
    ],
)
def test_a_search_leaves_what_a_reader_and_a_report_need(config, options, folder, tmp_path, capsys):
    assert run("search", "--config", folder / f"{config}.toml", "--run", tmp_path / "r", *options) == 0
    out = capsys.readouterr().out
    found = RunFolder.open(tmp_path / "r")
    record = read_search(found)
    assert found.kind == "search" and record is not None
    assert record.genotype in out and "Spent: " in out
    genotype = found.read("genotype", Genotype)
    assert genotype.compact() == record.genotype
    distribution = load_distribution(tmp_path / "r/distribution.safetensors")
    assert distribution.space == NAS_BENCH_201
    assert distribution.marginals().tolist() == record.marginals
    assert record.best(1)[0]["genotype"] == record.genotype
    assert len(found.read("derivation", Derivation).candidates) <= 5
    if set(options) & {"base", "parsec"}:
        posterior = Posterior.load(tmp_path / "r/posterior.safetensors")
        assert torch.equal(posterior.alpha, distribution.tensors()["logits"].float())
    # Again, with nothing left to do.
    again = run("search", "--config", folder / f"{config}.toml", "--run", tmp_path / "r", "--resume", *options)
    assert again == 0 and read_search(RunFolder.open(tmp_path / "r")) == record
    assert run("report", tmp_path / "r") == 0
    page = (tmp_path / "r/report/index.html").read_text()
    assert 'id="search"' in page and record.strategy in page


@pytest.mark.parametrize("config", ["table", "shared"])
def test_a_killed_search_resumes_to_the_same_bits(config, folder, tmp_path):
    def start(name: str, *options: str, rows: int = 0, kill: int = 0) -> subprocess.CompletedProcess[str]:
        arguments = ["search", "--config", folder / f"{config}.toml", "--run", tmp_path / name, *options]
        return subprocess.run(
            [sys.executable, "-c", SIGNALLED, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "ROWS": str(rows), "SIGNAL": str(kill)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    assert run("search", "--config", folder / f"{config}.toml", "--run", tmp_path / "whole") == 0
    stopped = start("stopped", rows=3, kill=signal.SIGTERM)
    assert stopped.returncode == 130 and "--resume" in stopped.stderr.splitlines()[-1]
    assert not (tmp_path / "stopped/search.json").exists()
    assert start("stopped", "--resume", rows=4, kill=signal.SIGKILL).returncode == -signal.SIGKILL
    assert start("stopped", "--resume").returncode == 0
    for name in ("checkpoints/search.safetensors", "distribution.safetensors"):
        one, other = (load_tensors(tmp_path / which / name)[0] for which in ("whole", "stopped"))
        assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    one, other = (read_search(RunFolder.open(tmp_path / which)) for which in ("whole", "stopped"))
    assert one == other
    rows = [
        [{k: v for k, v in row.items() if k != "time"} for row in RunFolder.open(tmp_path / which).rows("search")]
        for which in ("whole", "stopped")
    ]
    assert rows[0] == rows[1]


def test_what_does_not_fit_is_refused_in_a_line(folder, tmp_path, capsys):
    table, shared = ("search", "--config", folder / "table.toml"), ("search", "--config", folder / "shared.toml")
    to = ("--run", tmp_path / "r")
    said = complaint(capsys, *table, *to, "--search.strategy", "random_sharing")
    assert "random_sharing trains a supernet's weights, which objective table lacks" in said
    assert "posterior: not given" in complaint(capsys, *shared, *to, "--search.strategy", "evolution")
    assert "no genotype of darts" in complaint(capsys, *table, *to, "--search.space", "darts")
    assert "did you mean nas_bench_201" in complaint(capsys, *table, *to, "--search.space", "nas_bench_20")
    assert "goals: got 'latency'" in complaint(capsys, *table, *to, "--search.goals", "latency")
    assert "which optimizes 1" in complaint(capsys, *table, *to, "--search.goals", "valid", "test")
    assert "which optimizes accuracy" in complaint(capsys, *shared, *to, "--search.goals", "loss")
    assert "supernet.space: got 'darts'" in complaint(capsys, *shared, *to, "--supernet.space", "darts")
    assert "--run: not given" in complaint(capsys, *table)
    assert not (tmp_path / "r").exists()


def test_a_changed_table_does_not_continue_a_search(folder, tmp_path, capsys):
    other = tmp_path / "table.csv.gz"
    other.write_bytes((folder / "table.csv.gz").read_bytes())
    config = tmp_path / "table.toml"
    config.write_text((folder / "table.toml").read_text().replace(str(folder), str(tmp_path)))
    assert run("search", "--config", config, "--run", tmp_path / "r") == 0
    capsys.readouterr()
    text = gzip.decompress(other.read_bytes()).decode().splitlines()
    other.write_bytes(gzip.compress("\n".join(text[:-1]).encode()))
    assert "another table 0" in complaint(capsys, "search", "--config", config, "--run", tmp_path / "r", "--resume")


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/search_*.toml")), ids=lambda path: path.stem)
def test_the_examples_run(path, folder, tmp_path):
    assert load_config(path, SearchSettings)
    # The same file with a table that is at hand, and less of everything.
    text = re.sub(r'path = "data/.*"', f'path = "{folder}/table.csv.gz"', path.read_text())
    text = text.replace('"cifar10_valid"', '"valid"').replace('"cifar10_test"', '"test"').replace('"pixel3"', '"ms"')
    for name, size in (("queries", 3), ("children", 4), ("finalists", 2), ("steps", 3), ("phases", 2), ("updates", 1)):
        text = re.sub(rf"\b{name} = \d+", f"{name} = {size}", text)
    (tmp_path / "example.toml").write_text(text)
    assert run("search", "--config", tmp_path / "example.toml", "--run", tmp_path / "r") == 0
    assert read_search(RunFolder.open(tmp_path / "r")) is not None
    if path.stem == "search_enas_sharing":
        assert run("report", tmp_path / "r") == 0 and (tmp_path / "r/report/controller.png").is_file()
