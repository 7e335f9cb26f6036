"""Measure latency on this device: of the parts that networks are made of, and of whole networks beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, ClassVar

import torch

from base_fast.arguments import whole_numbers
from base_fast.cli.command import Flat, RunCommand
from base_fast.device import resolve
from base_fast.errors import InputError, Interrupted
from base_fast.evaluation import NetworkConfig, measure_latency
from base_fast.evaluation.latency_parts import Lookup
from base_fast.experiments.collect import csv_text, draw, genotype_of
from base_fast.objectives import rank_correlation
from base_fast.objectives.table_files import read_columns
from base_fast.random import key
from base_fast.runs import RunFolder, atomic_write, changeable, progress
from base_fast.runs.interruption import interruptible
from base_fast.runs.provenance import cpu_model
from base_fast.space import Genotype, Space, encode, get

COLUMNS = ("latency", "predicted_latency")


@dataclass(frozen=True)
class LatencyConfig:
    """Which networks are measured, and how."""

    space: str | Space = "nas_bench_201"
    """nas_bench_201, darts, or one of your own."""
    genotypes: Path | None = None
    """Table with a column `arch`: the genotypes to measure, in place of random ones."""
    cells: int = changeable(20)
    """Random genotypes, all different; those of a smaller number come first."""
    seed: int = 0
    """Of them."""
    network: NetworkConfig = NetworkConfig("nas_bench_201", channels=16, layers=17)
    resolution: int = 32
    """Pixels of an image's side."""
    num_classes: int = 10
    """Outputs of the classifier."""
    batch_size: int = 1
    """Images at once."""
    repeats: int = 50
    """Forward passes of which the median is taken."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("cells", "resolution", "num_classes", "batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")

    def chosen(self) -> list[Genotype]:
        """The genotypes.

        Raises:
            InputError: the file cannot be read, or one is not of the space; or the space has fewer.
        """
        space = get(self.space)
        if self.genotypes is None:
            return [genotype_of(z, space) for z in draw(space, self.cells, key(self.seed))]
        texts, _ = read_columns(self.genotypes.expanduser(), "arch", [])
        return [genotype_of(torch.from_numpy(encode(text, space)), space) for text in texts]


@dataclass(frozen=True)
class Latency(RunCommand):
    """Leaves the latencies of parts in RUN/lookup.json, for the objective `latency_lookup`, and in RUN/latency.csv, a
    table, those of whole networks beside what the sum of their parts says. With --resume there may be more cells."""

    Settings: ClassVar = LatencyConfig
    settings: Annotated[LatencyConfig, Flat] = LatencyConfig()

    def execute(self) -> int:
        genotypes = self.settings.chosen()
        with self.open_run("latency", self.settings) as run:
            rows = measure(self.settings, genotypes, run)
        measured, predicted = ([row[i] for row in rows.values()] for i in (0, 1))
        error = fmean(abs(p / m - 1.0) for m, p in zip(measured, predicted, strict=True))
        rho = rank_correlation(
            *(torch.tensor(x, dtype=torch.float64, device="cpu") for x in (measured, predicted))
        ).spearman
        print(
            f"{len(rows)} networks: the sum of parts is off by {100 * error:.1f} % on average, Spearman's ρ {rho:.3f}"
        )
        print(f"{run.path / 'latency.csv'}: latencies; {run.path / 'lookup.json'}: parts")
        return 0


def measure(config: LatencyConfig, genotypes: list[Genotype], run: RunFolder) -> dict[str, tuple[float, float]]:
    """Latency and predicted latency (ms) by genotype; both files are written after each one.

    Raises:
        Interrupted: SIGINT or SIGTERM; what was measured stays.
    """
    lookup_path, path = run.path / "lookup.json", run.path / "latency.csv"
    device = resolve(config.network.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()
    lookup = Lookup.load(lookup_path) if lookup_path.exists() else Lookup(name, config.batch_size)
    rows: dict[str, tuple[float, float]] = {}
    if path.exists():
        texts, columns = read_columns(path, "arch", COLUMNS)
        rows = {text: (m, p) for text, m, p in zip(texts, *columns, strict=True)}
    wanted = [genotype for genotype in genotypes if genotype.compact() not in rows]
    shape = (3, config.resolution, config.resolution)
    with interruptible() as interruption, progress("latency", len(genotypes), len(genotypes) - len(wanted)) as bar:
        for genotype in wanted:
            if interruption.requested:
                raise Interrupted(f"stopped after {len(rows)} of {len(genotypes)} networks")
            network = config.network.build(genotype, config.num_classes, 0)
            lookup = lookup.measured(network, config.resolution, config.repeats)
            lookup.save(lookup_path)
            whole = 1e3 * measure_latency(network, shape, config.batch_size, config.repeats).median
            rows[genotype.compact()] = (whole, lookup.predict(network, config.resolution))
            atomic_write(path, csv_text(("arch", *COLUMNS), [(text, *row) for text, row in rows.items()]).encode())
            bar.advance(1, latency=whole)
    return rows
