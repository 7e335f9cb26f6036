from __future__ import annotations

import json

import pytest
import torch

from base_fast.cli import main as base_fast
from base_fast.distributions import IndependentEdges
from base_fast.objectives import Measurements
from base_fast.space import NAS_BENCH_201
from benchmarks.shared_quality import expectations, main, ranking
from tests.objectives import toys

CONFIG = """
[search]
strategy = "random_sharing"
[search.random_sharing]
children = 4
finalists = 2
score_images = 16
training = { steps = 2, batch_size = 16 }
[objective]
kinds = ["shared_weights"]
[supernet]
space = "nas_bench_201"
channels = 2
layers = 3
[target]
resolution = 8
limit_per_class = 20
"""


def test_a_run_is_judged(tmp_path, capsys):
    (tmp_path / "c.toml").write_text(CONFIG)
    csv = toys.write_csv(tmp_path / "t.csv.gz")
    assert base_fast(["search", "--config", str(tmp_path / "c.toml"), "--run", str(tmp_path / "r")]) == 0
    arguments = ["--run", str(tmp_path / "r"), "--accuracy", str(csv), "--columns", "valid,test"]
    assert main([*arguments, "--cells", "6", "--images", "16", "--json", str(tmp_path / "f.json")]) == 0
    assert "E[valid]" in capsys.readouterr().out
    found = json.loads((tmp_path / "f.json").read_text())
    assert [(row["quantity"], row["column"]) for row in found["ranking"]] == [
        (quantity, column) for quantity in ("accuracy", "loss") for column in ("valid", "test")
    ]
    # Accuracies on 16 images may all be equal; losses are not.
    assert all(-1.0 <= row["kendall"] <= 1.0 for row in found["ranking"][2:])
    assert main([*arguments, "--cells", "3"]) == 2 and "cells: got 3" in capsys.readouterr().err
    (tmp_path / "r/checkpoints/search.safetensors").unlink()
    assert main([*arguments, "--cells", "6"]) == 2 and "holds no shared weights" in capsys.readouterr().err


def test_weights_that_know_the_table_rank_it():
    class Oracle:
        quantities = toys.table().quantities[:1]

        def measure(self, choices, key):
            return Measurements(toys.accuracy(choices).unsqueeze(1), torch.zeros(len(choices), 1))

    rows = ranking(Oracle(), toys.table(), 30, 0)
    assert rows[0]["kendall"] == rows[0]["spearman"] == pytest.approx(1.0)
    assert rows[1]["kendall"] > 0.8


def test_expectations_are_exact():
    found = expectations(IndependentEdges.uniform(NAS_BENCH_201), toys.table())
    for mean, uniform in found["mean"].values():
        assert mean == pytest.approx(uniform)
    assert found["all_skip"] == pytest.approx(5.0**-6)
    logits = torch.zeros(1, 6, 5)
    logits[..., 3] = 30.0
    best = torch.full((1, 1, 6), 3)
    sure = expectations(IndependentEdges(NAS_BENCH_201, logits), toys.table())["mean"]["valid"][0]
    assert sure == pytest.approx(toys.accuracy(best).item())
