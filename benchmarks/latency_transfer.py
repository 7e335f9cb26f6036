"""Latency on a device that is not known, from a few measurements: how well it is predicted, device by device.

    python -m benchmarks.latency_transfer --latency data/nasbench201/latency.csv.gz --seeds 20

Each column of the table in turn is the new device, without the other columns of its family (a name is a family and a
batch size: 1080ti_32). Of it, `--measured` genotypes are known, and Spearman's ρ of all its genotypes is printed of two
predictions from them: ours (`objectives.latency_transfer`), and the latencies of the known device that ranks the
measured ones best. Both see the same genotypes: those that ours asks for, and then as many random ones. Intervals are
95 % of the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.experiments.intervals import mean_interval
from base_fast.objectives import Quantity, Table
from base_fast.objectives.latency_transfer import KnownDevices, family
from base_fast.objectives.ranks import mean_ranks
from base_fast.objectives.table_files import first_row
from base_fast.random import fold_in, key
from base_fast.reference import philox
from base_fast.runs import atomic_write
from base_fast.space import get_any
from benchmarks.search_quality import genotype_column

WAYS = ("chosen", "chosen, nearest", "random", "random, nearest")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=Path, required=True, help="CSV of genotypes and a column for each device")
    parser.add_argument("--space", default="nas_bench_201", help="of the genotypes")
    parser.add_argument("--devices", default="", help="columns, separated by commas; all if not given")
    parser.add_argument("--measured", type=int, default=10, help="genotypes that are measured on the new device")
    parser.add_argument("--seeds", type=int, default=20, help="repetitions: seed 0, 1, ...")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given: Any = parser.parse_args(arguments)
    try:
        column = genotype_column(given.latency)
        names = [name for name in given.devices.split(",") if name] or [
            name for name in first_row(given.latency) if name != column
        ]
        table = Table.read(
            given.latency, get_any(given.space), [Quantity(name, "smaller", "ms") for name in names], column
        )
        found = {name: of_device(table, name, given.measured, range(given.seeds)) for name in names}
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json is not None:
        atomic_write(given.json, json.dumps(found, indent=1).encode())
    print(f"Spearman's ρ, {given.measured} genotypes measured, {given.seeds} seeds")
    print(f"{'device':18}{'chosen':>8}  {'95 %':14}{'nearest':>8}   {'random':>7}  {'95 %':14}{'nearest':>8}")
    by_seed = {way: zip(*(found[name][way] for name in names), strict=True) for way in WAYS}
    mean = {way: [sum(of_devices) / len(names) for of_devices in rows] for way, rows in by_seed.items()}
    for name, figures in [*found.items(), ("mean", mean)]:
        ours, near, drawn, drawn_near = (figures[way] for way in WAYS)
        means = [sum(x) / len(x) for x in (ours, near, drawn, drawn_near)]
        intervals = ["{:.3f} – {:.3f}".format(*mean_interval(x)) for x in (ours, drawn)]
        print(
            f"{name:18}{means[0]:8.3f}  {intervals[0]:14}{means[1]:8.3f}   {means[2]:7.3f}  {intervals[1]:14}"
            f"{means[3]:8.3f}"
        )
    totals = {way: [sum(found[name][way]) for name in names] for way in WAYS}
    for ours, near in (("chosen", "chosen, nearest"), ("chosen", "random, nearest"), ("random", "random, nearest")):
        better = sum(a > b for a, b in zip(totals[ours], totals[near], strict=True))
        print(f"ours from {ours} ones above {near}: {better} of {len(names)} devices")
    return 0


def of_device(table: Table, name: str, count: int, seeds: range) -> dict[str, list[float]]:
    """ρ by way, a number for each seed."""
    names = [quantity.name for quantity in table.quantities]
    others = [i for i, other in enumerate(names) if family(other) != family(name)]
    known = KnownDevices(
        Table(table.space, table.choices, [table.quantities[i] for i in others], table.values[:, others])
    )
    truth = table.values[:, names.index(name)]
    ranks = centred(truth)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in seeds:
        drawn = torch.argsort(philox.uniform(fold_in(key(seed), 7), len(truth)), stable=True)[:count]
        for way, rows in (("chosen", known.choose(count, key(seed))), ("random", drawn)):
            # What a phone rounds to nothing was measured all the same: it is less than the smallest number.
            measured = truth[rows].clamp_min(1e-3)
            found[way].append(float(ranks @ centred(known.predict(rows, measured))))
            near = known.table.values[:, known.nearest(rows, measured)]
            found[f"{way}, nearest"].append(float(ranks @ centred(near)))
    return found


def centred(values: Tensor) -> Tensor:
    """Ranks about their mean, of length 1: products are Spearman's ρ."""
    ranks = mean_ranks(values)
    ranks = ranks - ranks.mean()
    return ranks / ranks.norm()


if __name__ == "__main__":
    sys.exit(main())
