"""Read genotypes off a posterior: the derived one, the most probable ones, and the edges that are undecided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from base_fast.cli.command import Command, required
from base_fast.posterior import Derivation, Posterior, derive
from base_fast.runs import RunFolder, atomic_write


@dataclass(frozen=True)
class Derive(Command):
    """Prints them, and writes the derived genotype as JSON."""

    posterior: Path | None = None
    """posterior.safetensors of an adaptation (or of a meta-training, for the prior's own cells)."""
    rule: Literal["darts", "pairs"] = "darts"
    """darts: two edges with different predecessors per node. pairs: two (predecessor, primitive) pairs, as in the
    published BASE cells."""
    k: int = 5
    """How many of the most probable genotypes to list."""
    margin: float = 0.1
    """An edge is undecided when its best primitive leads the next by less than this share."""
    samples: int = 4096
    """Draws of z that the probabilities are estimated from."""
    out: Path | None = None
    """File for the derived genotype, as JSON."""

    def execute(self) -> int:
        posterior = Posterior.load(required("posterior", self.posterior, "a posterior.safetensors"))
        derivation = derive(posterior, self.rule, k=self.k, samples=self.samples, margin=self.margin)
        # Written first: what is printed may end in a pipe that nobody reads to its end.
        if self.out is not None:
            atomic_write(self.out, derivation.genotype.to_json().encode())
        print_derivation(derivation)
        return 0


def print_derivation(derivation: Derivation) -> None:
    """The derived genotype, the most probable ones and the undecided edges, for a terminal."""
    console = Console(soft_wrap=True)
    console.print(f"derived: {derivation.genotype.compact()}", markup=False)
    table = Table("probability", "genotype", title="most probable genotypes", title_justify="left")
    for candidate in derivation.candidates:
        table.add_row(f"{candidate.probability:.2g} ± {candidate.standard_error:.1g}", candidate.genotype.compact())
    console.print(table)
    if derivation.undecided:
        edges = ", ".join(
            f"{e.cell_type} {e.predecessor}→{e.node} ({e.best} or {e.runner_up})" for e in derivation.undecided
        )
        console.print(f"undecided edges ({len(derivation.undecided)}): {edges}", markup=False)


def write_derivation(run: RunFolder, derivation: Derivation) -> None:
    """The files of a run folder that a report draws cells and tables from."""
    run.write("genotype", derivation.genotype)
    run.write("derivation", derivation)
