"""Scores against a database of trained cells."""

from __future__ import annotations

import torch

from base_fast.distributions import IndependentEdges
from base_fast.experiments.collect import COLUMNS
from base_fast.objectives import Table
from base_fast.random import key
from base_fast.space import NAS_BENCH_201
from base_fast.tasks import Split, Task
from benchmarks.database_evidence import main, ranked


def test_each_score_and_multiply_adds_are_ranked_against_accuracies() -> None:
    space = NAS_BENCH_201
    cells = IndependentEdges.uniform(space).sample(key(0), 6).unique(dim=0)
    convolutions = (cells == space.primitives.index("nor_conv_3x3")).flatten(1).sum(dim=1).double()
    macs = 1.0 + convolutions
    values = torch.stack((convolutions, -convolutions, macs, macs), dim=1)
    images = torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.arange(64) % 4, 4, torch.full((3,), 0.5), torch.full((3,), 0.25))
    task = Task("noise", split, split, 4, 8, tuple("abcd"))
    rows = {row["evidence"]: row for row in ranked(Table(space, cells, COLUMNS, values), task, seed=0)}
    assert list(rows) == ["sum", "jacov", "synflow", "gain", "identity", "parameters", "macs"]
    assert rows["macs"]["kendall"] == 1.0


def test_a_database_that_is_missing_is_named(tmp_path, capsys) -> None:
    assert main(["--database", str(tmp_path / "no.csv"), "--data", str(tmp_path)]) == 2
    assert "no.csv" in capsys.readouterr().err
