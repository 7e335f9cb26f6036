"""What shows that a one-shot search collapses: skip connections take the cell over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.space import Genotype
from base_fast.space.space import SKIP


def skip_connections(genotype: Genotype) -> int:
    """How many edges of the normal cell are skip connections."""
    return sum(primitive == SKIP for primitive, _ in genotype.normal)


@dataclass(frozen=True)
class SkipMonitor:
    """Watches how many skip connections the normal cell would have, were it derived now, at every measurement.

    Source: Liang et al., "DARTS+: Improved Differentiable Architecture Search with Early Stopping", 2019, which stops
    at two skip connections among the eight edges of a normal cell.
    """

    warn_at: int = 4
    """Skip connections in the normal cell that are worth a warning, the first time."""
    stop_at: int | None = None
    """Skip connections that end the search with the cell measured before; DARTS+ has 2. Never if unset."""
    patience: int = 1
    """Measurements in a row that must show as many for the search to end."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("warn_at", "stop_at", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: got {value}, expected an integer ≥ 1")

    def suspects(self, skips: int) -> bool:
        """Whether a cell with as many skip connections is not one to end with."""
        return self.stop_at is not None and skips >= self.stop_at

    def stops(self, history: Sequence[dict[str, Any]]) -> bool:
        """Whether the search ends at the last row; each has the number `skips`."""
        return len(history) >= self.patience and all(self.suspects(row["skips"]) for row in history[-self.patience :])

    def warning(self, history: Sequence[dict[str, Any]]) -> str | None:
        """What is to be said of the first row, by its `step`, with as many as `warn_at`; None where there is none."""
        for row in history:
            if row["skips"] >= self.warn_at:
                return (
                    f"skip connections take over: {row['skips']} in the normal cell at step {row['step']} "
                    f"(limit {self.warn_at}); a skip limit, early stopping or a perturbation may help"
                )
        return None

    def notes(self, history: Sequence[dict[str, Any]]) -> tuple[str, ...]:
        """What a finished search has to say of its history."""
        found = self.warning(history)
        notes: tuple[str, ...] = () if found is None else (f"{found[0].upper()}{found[1:]}.",)
        if self.stops(history):
            healthy = [row["step"] for row in history if not self.suspects(row["skips"])]
            cell = f"as measured at step {healthy[-1]}" if healthy else "that it started with"
            notes += (f"Stopped early at step {history[-1]['step']}: the cell is the one {cell}.",)
        return notes
