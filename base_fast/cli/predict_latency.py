"""Latency on a new device: which few genotypes to measure there, and from them that of all others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from base_fast.cli.command import Command, required
from base_fast.errors import InputError
from base_fast.experiments.collect import csv_text
from base_fast.objectives import Quantity, Table
from base_fast.objectives.latency_transfer import KnownDevices
from base_fast.objectives.table_files import first_row, read_columns
from base_fast.random import key
from base_fast.runs import atomic_write
from base_fast.space import compact, encode, get_any


@dataclass(frozen=True)
class PredictLatency(Command):
    """Without `measured`, writes the genotypes to measure to `out`; with it, the latencies of all genotypes of `known`,
    as a table that `base-fast search` and `base-fast pareto` take."""

    known: Path | None = None
    """Table of genotypes and a column of latencies (ms) for each known device, .csv or .json, or either with .gz."""
    devices: tuple[str, ...] = ()
    """Columns of it; all but the genotypes if not given. Names that differ in a number behind _ count as one family."""
    genotypes: str = "arch"
    """Column of the genotypes, in both tables."""
    space: str = "nas_bench_201"
    """The space of the genotypes."""
    choose: int = 10
    """How many genotypes to measure."""
    seed: int = 0
    """Of the genotypes among which they are chosen."""
    measured: Path | None = None
    """Table of the genotypes that were measured on the new device, and a column of latencies."""
    column: str = "latency"
    """Column of it with the latencies (ms)."""
    out: Path | None = None
    """File (.csv) to write."""

    def execute(self) -> int:
        out = required("out", self.out, "a file for the table")
        path = required("known", self.known, "a table of genotypes and latencies")
        names = self.devices or tuple(name for name in first_row(path) if name != self.genotypes)
        space = get_any(self.space)
        table = Table.read(path, space, [Quantity(name, "smaller", "ms") for name in names], self.genotypes)
        known = KnownDevices(table)
        if self.measured is None:
            chosen = table.choices[known.choose(self.choose, key(self.seed))]
            lines = [(compact(choices.numpy(), space),) for choices in chosen]
            atomic_write(out, csv_text((self.genotypes,), lines).encode())
            print(f"{out}: {len(lines)} genotypes to measure")
            return 0
        texts, (values,) = read_columns(self.measured, self.genotypes, [self.column])
        try:
            chosen = torch.from_numpy(np.stack([encode(text, space) for text in texts]))
            rows = table.rows(chosen)
        except InputError as error:
            raise InputError(f"measured: {self.measured}: {error}") from None
        measured = torch.tensor(values, dtype=torch.float64, device="cpu")
        predicted = known.predict(rows, measured)
        texts = [compact(choices.numpy(), space) for choices in table.choices]
        written = zip(texts, predicted.tolist(), strict=True)
        atomic_write(out, csv_text((self.genotypes, self.column), list(written)).encode())
        print(f"nearest known device: {known.devices[known.nearest(rows, measured)]}")
        print(f"{out}: {len(texts)} genotypes, from {len(values)} measured")
        return 0
