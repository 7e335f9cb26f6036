"""Join posteriors that were meta-trained apart, and say how far apart they were."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import tyro

from base_fast.cli.command import Command, required
from base_fast.errors import InputError
from base_fast.posterior import Gap, Posterior, gaps, merge
from base_fast.reports import print_table
from base_fast.reports.tables import ResultTable


@dataclass(frozen=True)
class Merge(Command):
    """Leaves their logarithmic pool in OUT: weights by precision, edges by mean log-probabilities.

    They must have one space and one supernet; their lineages are kept.
    """

    posteriors: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """posterior.safetensors of two or more meta-trainings, or their run folders."""
    weights: tuple[float, ...] | None = None
    """How much each counts, such as its number of tasks; only ratios matter. All alike if unset."""
    out: Path | None = None
    """File for the merged posterior, such as merged.safetensors."""

    def execute(self) -> int:
        out = required("out", self.out, "a file for the merged posterior")
        paths = [path / "posterior.safetensors" if path.is_dir() else path for path in self.posteriors]
        same = next((path for i, path in enumerate(paths) if path in paths[:i]), None)
        if same is not None:
            raise InputError(f"posteriors: {same} is given twice; --weights says how much each counts")
        found = [Posterior.load(path) for path in paths]
        merged = merge(found, self.weights)
        event = merged.lineage[-1] | {"sha256": [sha256(path.read_bytes()).hexdigest() for path in paths]}
        measured = gaps(found)
        replace(merged, lineage=(*merged.lineage[:-1], event)).save(out)
        for gap in measured:
            print(f"{paths[gap.first]} and {paths[gap.second]}")
            for table in _tables(gap):
                print_table(table)
        print(f"{out}: {len(found)} posteriors, entropy of an edge {_mean(merged):.3f} nats ({_before(found)} before)")
        return 0


def _tables(gap: Gap) -> list[ResultTable]:
    weights = tuple((part, kl, gap.cosine[part]) for part, kl in gap.kl_theta.items())
    edges = tuple((c, kl, gap.total_variation[c], gap.furthest[c]) for c, kl in gap.kl_z.items())
    return [
        ResultTable("weights", ("part", "symmetric KL (nats a weight)", "cosine of the means"), weights),
        ResultTable("edges", ("cell", "symmetric KL (nats)", "total variation", "of the furthest edge"), edges),
    ]


def _mean(posterior: Posterior) -> float:
    return posterior.entropy.mean().item()


def _before(posteriors: list[Posterior]) -> str:
    return ", ".join(f"{_mean(x):.3f}" for x in posteriors)
