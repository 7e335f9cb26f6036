"""Read genotypes off a posterior: the derived one, the most probable ones, and the edges that are undecided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from base_fast.cli.command import Command, required
from base_fast.posterior import Derivation, Posterior, derive
from base_fast.runs import RunFolder, atomic_write
from base_fast.space.remarks import remarks
from base_fast.supernet import Supernet


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
        print_derivation(derivation, Supernet.for_posterior(posterior).used_cell_types)
        return 0


def print_derivation(derivation: Derivation, cells: Sequence[str]) -> None:
    """The derived genotype, what is odd about it, the most probable ones and the undecided edges, for a terminal.

    cells: the cell types that the supernet has; of others, nothing was learned.
    """
    console = Console(soft_wrap=True)
    console.print(f"derived: {derivation.genotype.compact()}", markup=False)
    for remark in remarks(derivation.genotype, cells):
        console.print(f"note: {remark}", markup=False)
    for cell in derivation.genotype.cells:
        if derivation.genotype.cells[cell] and cell not in cells:
            console.print(
                f"note: no layer of the supernet has a {cell} cell, so nothing was learned of it", markup=False
            )
    table = Table("probability", "genotype", title="most probable genotypes", title_justify="left")
    for candidate in derivation.candidates:
        table.add_row(f"{candidate.probability:.2g} ± {candidate.standard_error:.1g}", candidate.genotype.compact())
    console.print(table)
    undecided = [edge for edge in derivation.undecided if edge.cell_type in cells]
    if undecided:
        edges = ", ".join(f"{e.cell_type} {e.predecessor}→{e.node} ({e.best} or {e.runner_up})" for e in undecided)
        console.print(f"undecided edges ({len(undecided)}): {edges}", markup=False)


def write_derivation(run: RunFolder, derivation: Derivation) -> None:
    """The files of a run folder that a report draws cells and tables from."""
    run.write("genotype", derivation.genotype)
    run.write("derivation", derivation)
