"""`base-fast collect` and its report."""

from __future__ import annotations

from pathlib import Path

from base_fast.experiments import read_cells
from base_fast.space import NAS_BENCH_201
from tests.cli.test_main import complaint, run

CONFIG = """
space = "nas_bench_201"
cells = 2
network = { skeleton = "nas_bench_201", channels = 2, layers = 5 }
train = { steps = 2, batch_size = 16, augmentation = "none" }
[target]
resolution = 8
limit_per_class = 20
"""


def test_a_collection_leaves_a_table_and_a_report(tmp_path: Path, capsys) -> None:
    (tmp_path / "c.toml").write_text(CONFIG)
    words = ("collect", "--config", tmp_path / "c.toml", "--run", tmp_path / "r")
    assert run(*words) == 0
    assert "cells.csv: 2 cells" in capsys.readouterr().out
    table = read_cells(tmp_path / "r/cells.csv", NAS_BENCH_201)
    assert len(table) == 2
    assert run(*words, "--resume") == 0
    assert run("report", tmp_path / "r") == 0
    page = (tmp_path / "r/report/index.html").read_text()
    assert 'id="collection"' in page and "2 random cells of nas_bench_201" in page
    assert (tmp_path / "r/report/accuracy-by-cost.png").is_file()


def test_what_does_not_fit_is_refused_in_a_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "c.toml").write_text(CONFIG)
    words = ("collect", "--config", tmp_path / "c.toml", "--run", tmp_path / "r")
    assert "cells: got 20000, expected at most the 15625" in complaint(capsys, *words, "--cells", "20000")
    assert "expected one with reduce" in complaint(capsys, *words, "--network.skeleton", "cifar")
    assert "did you mean" in complaint(capsys, *words, "--space", "nas_bench_20")
    assert not (tmp_path / "r").exists()
