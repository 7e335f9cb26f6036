"""How well does evidence rank cells? Every part of it, and the sum, against a table of trained cells of NAS-Bench-201.

    python -m benchmarks.evidence_quality --accuracy data/nasbench201/accuracy.csv.gz \\
        --columns cifar10_test,cifar100_test --cells 200 --json runs/evidence_quality.json

Uniformly drawn cells are measured on CIFAR-10, with shared weights that were trained there on uniform single paths
for `--steps` steps from a fresh prior (or from `--posterior`, one of a meta-training). Printed are Kendall's τ and
Spearman's ρ with each column over all cells and within their better half, of the whole evidence as the shipped recipe
weighs it, and of each part alone (the training-free one counts while weights are cold), with its CPU seconds a cell.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from base_fast.device import resolve
from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.meta import AdaptConfig, Budget, InnerConfig, StepRule, adapt
from base_fast.meta.evidence import CellEvidenceConfig, evidence_on
from base_fast.objectives import Quality, Quantity, Table, evidence_quality
from base_fast.posterior import Posterior
from base_fast.random import key
from base_fast.runs import atomic_write
from base_fast.space import NAS_BENCH_201
from base_fast.supernet import Supernet
from base_fast.tasks import SourceConfig, TargetConfig, Task, open_target
from benchmarks.search_quality import ADAPT, META, RESOLUTION, genotype_column


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", type=Path, required=True, help="CSV with a column of cell strings, or .gz")
    parser.add_argument("--columns", default="cifar10_test,cifar100_test", help="columns that judge, larger is better")
    parser.add_argument("--cells", type=int, default=200, help="how many cells are measured")
    parser.add_argument("--steps", type=int, default=3000, help="steps of the shared weights before")
    parser.add_argument("--posterior", type=Path, help="where the weights start; fresh ones if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder with cifar10")
    parser.add_argument("--cache-dir", default="", help="folder for decoded images")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given: Any = parser.parse_args(arguments)
    try:
        if given.cells < 4 or given.steps < 1:
            raise InputError(f"cells, steps: got {given.cells}, {given.steps}, expected at least 4 and 1")
        quantities = [Quantity(column, "larger", "%") for column in given.columns.split(",")]
        table = Table.read(given.accuracy, NAS_BENCH_201, quantities, genotype_column(given.accuracy))
        data = given.data or given.accuracy.resolve().parents[1]
        source = SourceConfig("shards", str(data / "cifar10"), split="train", cache_dir=given.cache_dir)
        task = open_target(TargetConfig(train=source, resolution=RESOLUTION))
        start = Supernet.from_config(META.supernet).prior(key(given.seed))
        if given.posterior is not None:
            start = Posterior.load(given.posterior)
        figures = measured(shared_weights(start, task, given.steps, given.seed), task, table, given.cells, given.seed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json is not None:
        atomic_write(given.json, json.dumps(figures, indent=1).encode())
    print(f"{'evidence':22}{'column':16}{'all: τ':>8}{'ρ':>7}{'better half: τ':>16}{'ρ':>7}{'CPU s a cell':>14}")
    for row in figures:
        numbers = "".join(f"{row[name]:{width}.2f}" for name, width in zip(NUMBERS, (8, 7, 16, 7, 14), strict=True))
        print(f"{row['evidence']:22}{row['column']:16}{numbers}")
    return 0


NUMBERS = ("kendall", "spearman", "kendall_better_half", "spearman_better_half", "cpu_seconds")


def shared_weights(start: Posterior, task: Task, steps: int, seed: int) -> Posterior:
    """The posterior after training on uniform single paths; its edge logits stay."""
    inner: InnerConfig = replace(ADAPT.inner, uniform=1.0, alpha=StepRule(lr=0.0))
    config = AdaptConfig(inner, Budget(steps=steps), evaluate_every=0, seed=seed, device="cpu")
    return adapt(start.to(resolve("cpu")), task, config).posterior


def measured(posterior: Posterior, task: Task, table: Table, count: int, seed: int) -> list[dict[str, Any]]:
    """A row for each kind of evidence and column."""
    supernet, recipe = Supernet.for_posterior(posterior), ADAPT.inner.evidence
    nothing = {"shared": 0.0, "own_steps": 0.0, "alone": 0.0, "training_free": 0.0}
    kinds: dict[str, CellEvidenceConfig] = {"as shipped": recipe}
    kinds |= {name: replace(recipe, **(nothing | {name: 1.0})) for name in ("shared", "own_steps", "training_free")}
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(seed), count).unique(dim=0)
    truth = table.measure(cells, key(0)).values
    rows: list[dict[str, Any]] = []
    for name, config in kinds.items():
        evidence = evidence_on(config, supernet, posterior.mu, task)
        begin = time.process_time()
        values = evidence.measure(cells, key(seed)).values
        seconds = (time.process_time() - begin) / len(cells)
        signs = torch.tensor([quantity.sign for quantity in evidence.quantities], dtype=torch.float64)
        # A single part's own quantities are looked at too: naswot, jacov, ...
        several = name == "training_free"
        for i, quantity in enumerate(evidence.quantities if several else evidence.quantities[:1]):
            for j, column in enumerate(table.quantities):
                found = evidence_quality(signs[i] * values[:, i], truth[:, j])
                label = f"  {quantity.name}" if i else name
                rows.append({"evidence": label, "column": column.name, **numbers(found), "cpu_seconds": seconds})
    return rows


def numbers(found: Quality) -> dict[str, float]:
    """The four figures by name."""
    return {
        "kendall": found.all.kendall,
        "spearman": found.all.spearman,
        "kendall_better_half": found.better_half.kendall,
        "spearman_better_half": found.better_half.spearman,
    }


if __name__ == "__main__":
    sys.exit(main())
