"""Instance-aware networks against the best static children of the same meta-graph, equally tuned.

    python -m benchmarks.instance --out runs/instance
    python -m benchmarks.instance --out runs/instance --data data/cifar10 --resolution 16 --layers 6 --channels 8 16 32

The images are scikit-learn's digits, or shards in the folder `--data` with a train and a test split.
For each seed one meta-graph is pretrained. From there, for each window, a controller is searched and the meta-graph
finetuned on its choices; and the static child that does best within the mean cost that came out (of random children and
a greedy one, by validation images) is tuned for as many steps. Both are judged on test images, which chose nothing
(of the digits, half of those that are held out).
Policies are also permuted among the test images; and whole passes of mixed policies are timed against predictions.
What is done is kept in OUT/rows.jsonl, and is not done again.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from base_fast.experiments.intervals import student_interval
from base_fast.instance import (
    Costs,
    InstanceConfig,
    InstanceNetwork,
    InstanceTraining,
    MetaGraphConfig,
    Phase,
    agreement,
    best_static,
    judged,
    time_costs,
    train_instance,
)
from base_fast.instance.record import accuracy_of
from base_fast.random import fold_in, key
from base_fast.reference import philox
from base_fast.reports.tables import ResultTable, to_markdown
from base_fast.tasks import SourceConfig, Task, open_source, whole_task
from base_fast.tasks.digits import open_digits


def tasks(options: argparse.Namespace, seed: int) -> tuple[Task, Task]:
    """The task whose validation images choose, and the same with test images in their place."""
    if options.data is None:
        whole = whole_task(open_digits(), resolution=options.resolution, key=key(seed), valid_fraction=0.4)
        half = len(whole.valid) // 2
        return _held(whole, 0, half), _held(whole, half, 2 * half)
    config = SourceConfig("shards", str(options.data), split="train", cache_dir=str(options.out / "cache"))
    train = open_source(config, options.resolution)
    test = open_source(replace(config, split="test"), options.resolution)
    choosing, judging = (
        whole_task(train, valid, resolution=options.resolution, key=key(0), valid_fraction=0.03, limit_per_class=1000)
        for valid in (None, test)
    )
    return choosing, _held(judging, 0, options.test)


def _held(task: Task, start: int, stop: int) -> Task:
    held = task.valid
    return replace(task, valid=replace(held, images=held.images[start:stop], labels=held.labels[start:stop]))


def measured(options: argparse.Namespace, seed: int, keep: Any, done: set[str]) -> None:
    """All rows of a seed."""
    task, judging = tasks(options, seed)
    graph = MetaGraphConfig(layers=options.layers, channels=tuple(options.channels), controller=(4, 8))
    pretrain, search, finetune = options.steps
    config = InstanceConfig(
        graph,
        Phase(pretrain, 0.05),
        Phase(search, 0.02),
        Phase(finetune, 0.02),
        batch_size=32,
        controller_lr=5e-3,
        seed=seed,
    )
    began = time.process_time()
    start = InstanceNetwork(*graph.build(task.num_classes, seed))
    costs = time_costs(start.graph, start.controller, task.resolution)
    first = replace(config, search=replace(config.search, steps=0), finetune=replace(config.finetune, steps=0))
    train_instance(InstanceTraining(start, task, first, costs=costs))
    keep(
        {"what": "pretrained", "seed": seed, "cpu_seconds": time.process_time() - began, **whole(start, judging, costs)}
    )
    for upper in options.windows:
        if f"{upper}" in done:
            continue
        began, windowed = time.process_time(), replace(config, window=(max(options.first, upper), upper))
        network = copy.deepcopy(start)
        train_instance(InstanceTraining(network, task, windowed, start=pretrain, costs=costs))
        record = judged(network, judging.valid, costs, "ms", windowed.total, fold_in(key(seed), 9))
        static = copy.deepcopy(start)
        limit = max(record.cost, 1.001 * costs.lowest)
        chosen = best_static(static.graph, task.valid, costs, limit, fold_in(key(seed), 8), options.children)
        train_instance(InstanceTraining(static, task, windowed, chosen, start=pretrain, costs=costs))
        # A static child needs no controller; its cost is quoted without.
        keep(
            {
                "what": f"{upper}",
                "seed": seed,
                "accuracy": record.accuracy,
                "permuted": record.permuted,
                "permuted_p": record.permuted_p,
                "share": record.share,
                "common": record.common,
                "information": record.information,
                "information_p": record.information_p,
                "controller": record.controller,
                "static": accuracy_of(static.graph, judging.valid, chosen),
                "static_share": (costs.of(chosen.unsqueeze(0)).item() - costs.controller) / costs.highest,
                "cpu_seconds": time.process_time() - began,
            }
        )
    if "latency" not in done and seed == 0:
        began = time.process_time()
        drawn = philox.uniform(fold_in(key(seed), 7), options.passes * 16 * 2 * options.layers)
        drawn = drawn.view(options.passes, 16, options.layers, 2)
        # From batches of few blocks to batches of many.
        density = torch.linspace(0.05, 0.95, options.passes, device="cpu").view(-1, 1, 1, 1)
        # In batches of one size, of which a pass takes any part.
        again = time_costs(start.graph, start.controller, task.resolution, batch=16, repeats=40)
        found = agreement(start, again, drawn < density, task.resolution, repeats=10)
        keep(
            {
                "what": "latency",
                "seed": seed,
                "spearman": found.spearman,
                "error": found.error,
                "cpu_seconds": time.process_time() - began,
            }
        )


def whole(network: InstanceNetwork, task: Task, costs: Costs) -> dict[str, float]:
    """The meta-graph with all blocks."""
    every = torch.ones(network.graph.shape, dtype=torch.bool, device="cpu")
    return {"accuracy": accuracy_of(network.graph, task.valid, every), "milliseconds": costs.highest}


def table(rows: list[dict[str, Any]]) -> ResultTable:
    """Means over seeds, by window."""
    out = []
    for upper in sorted({row["what"] for row in rows} - {"pretrained", "latency"}):
        some = [row for row in rows if row["what"] == upper]

        def mean(name: str, some: list[dict[str, Any]] = some) -> float:
            return statistics.fmean(row[name] for row in some)

        out.append(
            (
                upper,
                f"{100 * mean('share'):.1f} %",
                f"{100 * mean('accuracy'):.1f} %",
                _interval([100 * (row["accuracy"] - row["static"]) for row in some]),
                f"{100 * mean('static_share'):.1f} %",
                _interval([100 * (row["accuracy"] - row["permuted"]) for row in some]),
                " ".join(f"{row['permuted_p']:.2f}" for row in some),
                " ".join(str(row["common"]) for row in some),
                " ".join(f"{row['information']:.3f} (p {row['information_p']:.3f})" for row in some),
                f"{100 * mean('controller'):.1f} %",
            )
        )
    columns = (
        "window",
        "cost",
        "accuracy",
        "above the static child",
        "cost of that",
        "above permuted policies",
        "p",
        "policies",
        "information",
        "controller",
    )
    times = [row for row in rows if row["what"] == "latency"]
    notes = tuple(
        f"Predicted latency, seed {row['seed']}: Spearman {row['spearman']:.3f}, mean error {100 * row['error']:.1f} %."
        for row in times
    )
    minutes = sum(row["cpu_seconds"] for row in rows) / 60
    base = [row for row in rows if row["what"] == "pretrained"]
    accuracies = " ".join(f"{100 * row['accuracy']:.1f} %" for row in base)
    return ResultTable(
        "Instance-aware networks and static children",
        columns,
        tuple(out),
        (*notes, f"With all blocks, before the search: {accuracies}. {minutes:.1f} CPU minutes."),
    )


def _interval(values: list[float]) -> str:
    interval = student_interval(values)
    wide = "" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})"
    return f"{statistics.fmean(values):.1f}{wide}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=8)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--channels", type=int, nargs="+", default=(8, 16))
    parser.add_argument("--test", type=int, default=1000, help="test images of shards")
    parser.add_argument("--steps", type=int, nargs=3, default=(300, 200, 100), help="pretraining, search, finetuning")
    parser.add_argument("--first", type=float, default=0.9, help="upper end of the window at the start of the search")
    parser.add_argument("--windows", type=float, nargs="+", default=(0.7,), help="upper ends of the window")
    parser.add_argument("--children", type=int, default=16, help="random static children")
    parser.add_argument("--passes", type=int, default=200, help="whole passes that are timed")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def keep(row: dict[str, Any]) -> None:
        if all((one["what"], one["seed"]) != (row["what"], row["seed"]) for one in rows):
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")

    for seed in range(options.seeds):
        done = {row["what"] for row in rows if row["seed"] == seed}
        if not {"pretrained", *(f"{upper}" for upper in options.windows)} <= done:
            measured(options, seed, keep, done)
    print(to_markdown(table(rows)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
