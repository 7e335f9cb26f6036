"""How well do scores of untrained networks rank the cells of a database, such as `base-fast collect` leaves?

    python -m benchmarks.database_evidence --database docs/data/darts_cifar10.csv --data data --json runs/evidence.json

The scores are those that a search in the space weighs by default, on one batch of CIFAR-10 (`--data`/cifar10): each of
them, and their sum of normal scores. Printed are Kendall's τ with the accuracies over all cells and within their better
half, and Spearman's ρ with its 95 % interval by bootstrap over the cells; beside them parameters and multiply-adds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from base_fast.errors import InputError
from base_fast.experiments import read_cells
from base_fast.meta.evidence import CellEvidenceConfig, evidence_on
from base_fast.objectives import Table, evidence_quality, spearman_interval
from base_fast.random import key
from base_fast.runs import atomic_write
from base_fast.space import get
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.tasks import SourceConfig, TargetConfig, Task, open_target

SCORES = CellEvidenceConfig(shared=0.0, own_steps=0.0, training_free=1.0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", type=Path, required=True, help="cells.csv of `base-fast collect`")
    parser.add_argument("--space", default="darts", help="its space")
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10")
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--cache-dir", default="", help="folder for decoded images")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batch")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given: Any = parser.parse_args(arguments)
    try:
        table = read_cells(given.database, get(given.space))
        source = SourceConfig("shards", str(given.data / "cifar10"), split="train", cache_dir=given.cache_dir)
        task = open_target(TargetConfig(train=source, resolution=given.resolution))
        figures = ranked(table, task, given.seed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json is not None:
        atomic_write(given.json, json.dumps(figures, indent=1).encode())
    print(f"{len(table)} cells")
    print(f"{'evidence':14}{'τ, all':>8}{'τ, better half':>16}{'ρ, all':>8}   95 % interval   CPU s a cell")
    for row in figures:
        print(
            f"{row['evidence']:14}{row['kendall']:8.2f}{row['kendall_better_half']:16.2f}{row['spearman']:8.2f}"
            f"   {row['low']:5.2f} to {row['high']:5.2f}{row['cpu_seconds']:15.2f}"
        )
    return 0


def ranked(table: Table, task: Task, seed: int) -> list[dict[str, Any]]:
    """A row for the sum, for each score, and for each column of the table but the accuracy."""
    names = [quantity.name for quantity in table.quantities]
    accuracy = table.values[:, names.index("accuracy")]
    supernet = Supernet.from_config(SupernetConfig(table.space.name, num_classes=task.num_classes))
    evidence = evidence_on(SCORES, supernet, supernet.prior(key(seed)).mu, task)
    begin = time.process_time()
    values = evidence.measure(table.choices, key(seed)).values
    seconds = (time.process_time() - begin) / len(table)
    found: dict[str, tuple[Tensor, float]] = {}
    for i, quantity in enumerate(evidence.quantities):
        found["sum" if i == 0 else quantity.name] = quantity.sign * values[:, i], seconds
    # More of them may well be better: that is what a score has to beat.
    found["macs"] = table.values[:, names.index("macs")], 0.0
    rows = []
    for name, (x, cost) in found.items():
        quality, (low, high) = evidence_quality(x, accuracy), spearman_interval(x, accuracy)
        figures = {
            "kendall": quality.all.kendall,
            "kendall_better_half": quality.better_half.kendall,
            "spearman": quality.all.spearman,
            "low": low,
            "high": high,
            "cpu_seconds": cost,
        }
        rows.append({"evidence": name, **figures})
    return rows


if __name__ == "__main__":
    sys.exit(main())
