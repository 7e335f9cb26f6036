"""What did a search with shared weights learn? Its weights' ranking of cells, and its distribution, against a table.

    base-fast search --config examples/search_random_sharing.toml --run runs/sharing ...
    python -m benchmarks.shared_quality --run runs/sharing --accuracy data/nasbench201/accuracy.csv.gz --cells 200

The run is one of `base-fast search` on NAS-Bench-201 with a strategy whose checkpoint holds the supernet's weights
(random_sharing, enas_sharing, ...). Printed are Kendall's τ and Spearman's ρ of the accuracy and of the loss that
uniformly drawn cells have on validation images, with the weights as they are and the batches' statistics, with each
column of the table, over all cells and within their better half; then the mean of each column under the distribution
that the search left and under the uniform one, and the probability of the cell of nothing but skip connections.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from base_fast.distributions import Distribution, IndependentEdges, load_distribution
from base_fast.errors import InputError
from base_fast.objectives import Quantity, SharedWeights, Table, evidence_quality
from base_fast.random import key
from base_fast.runs import RunFolder, atomic_write
from base_fast.space import NAS_BENCH_201
from base_fast.strategies import SearchSettings, open_search, search_task
from benchmarks.evidence_quality import NUMBERS, numbers
from benchmarks.search_quality import genotype_column

SKIP = NAS_BENCH_201.primitives.index("skip_connect")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder of a search with shared weights")
    parser.add_argument("--accuracy", type=Path, required=True, help="CSV with a column of cell strings, or .gz")
    parser.add_argument("--columns", default="cifar10_test,cifar100_test", help="columns that judge, larger is better")
    parser.add_argument("--cells", type=int, default=200, help="how many cells are measured")
    parser.add_argument("--images", type=int, help="validation images; all if not given")
    parser.add_argument("--seed", type=int, default=0, help="of the cells")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given: Any = parser.parse_args(arguments)
    try:
        if given.cells < 4:
            raise InputError(f"cells: got {given.cells}, expected at least 4")
        quantities = [Quantity(column, "larger", "%") for column in given.columns.split(",")]
        table = Table.read(given.accuracy, NAS_BENCH_201, quantities, genotype_column(given.accuracy))
        weights, distribution = opened(given.run, given.images)
        rows = ranking(weights, table, given.cells, given.seed)
        expected = expectations(distribution, table)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json is not None:
        atomic_write(given.json, json.dumps({"ranking": rows, "distribution": expected}, indent=1).encode())
    print(f"{'shared weights':16}{'column':16}{'all: τ':>8}{'ρ':>7}{'better half: τ':>16}{'ρ':>7}")
    for row in rows:
        figures = "".join(f"{row[name]:{width}.2f}" for name, width in zip(NUMBERS, (8, 7, 16, 7), strict=False))
        print(f"{row['quantity']:16}{row['column']:16}{figures}")
    for name, (found, uniform) in expected["mean"].items():
        print(f"E[{name}] = {found:.2f}, uniform {uniform:.2f}")
    print(f"p(all skip) = {expected['all_skip']:.4f}, entropy {expected['entropy']:.2f} nats")
    return 0


def opened(path: Path, images: int | None) -> tuple[SharedWeights, Distribution]:
    """What a run's weights judge by, and the distribution that it left."""
    run = RunFolder.open(path)
    settings = run.config(SearchSettings)
    task = search_task(settings)
    strategy: Any = open_search(settings, task)
    tensors, _ = run.load_checkpoint("search") or ({}, {})
    if task is None or "theta" not in tensors or not hasattr(strategy, "supernet"):
        raise InputError(f"run: {path} holds no shared weights, expected a search that trains a supernet")
    weights = SharedWeights(strategy.supernet, tensors["theta"], task.valid, images)
    return weights, load_distribution(path / "distribution.safetensors")


def ranking(weights: SharedWeights, table: Table, count: int, seed: int) -> list[dict[str, Any]]:
    """A row for each quantity of the weights and each column of the table."""
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(seed), count).unique(dim=0)
    values, truth = weights.measure(cells, key(0)).values, table.measure(cells, key(0)).values
    return [
        {"quantity": quantity.name, "column": column.name}
        | numbers(evidence_quality(quantity.sign * values[:, i], truth[:, j]))
        for i, quantity in enumerate(weights.quantities)
        for j, column in enumerate(table.quantities)
    ]


def expectations(distribution: Distribution, table: Table) -> dict[str, Any]:
    """Exact means of the table's columns, over all its cells."""
    found = table.expected(distribution)
    if found is None:
        raise InputError(f"accuracy: the table has {len(table)} cells, expected all that the search may draw")
    uniform = table.values.mean(dim=0)
    names = [quantity.name for quantity in table.quantities]
    skips = torch.full((1, 1, NAS_BENCH_201.num_edges), SKIP)
    return {
        "mean": dict(zip(names, zip(found.tolist(), uniform.tolist(), strict=True), strict=True)),
        "all_skip": distribution.log_prob(skips).exp().item(),
        "entropy": distribution.entropy().item(),
    }


if __name__ == "__main__":
    sys.exit(main())
