"""What a search leaves in its run folder, for reports and for other searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from base_fast.distributions import save_distribution
from base_fast.objectives import Quantity
from base_fast.runs import RunFolder
from base_fast.space import decode
from base_fast.strategies.metered import Cost
from base_fast.strategies.strategy import Result

NAME, COST = "search", "cost"
DISTRIBUTION, POSTERIOR = "distribution.safetensors", "posterior.safetensors"


@dataclass(frozen=True)
class SearchRecord:
    """search.json: a `Result` as data.

    Attributes:
        strategy: its name.
        space: `Space.to_dict`.
        genotype, mode: texts of the search's choice, and of the distribution's most probable genotype.
        entropy: of the distribution, in nats.
        marginals: (T, E, L), the probability of each primitive on each edge.
        quantities, history, spent, notes: as in `Result`.
    """

    strategy: str
    space: dict[str, Any]
    genotype: str
    mode: str
    entropy: float
    marginals: list[list[list[float]]]
    quantities: tuple[Quantity, ...]
    history: list[dict[str, Any]]
    spent: dict[str, float]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, strategy: str, result: Result) -> SearchRecord:
        """What a strategy of this name came to."""
        distribution = result.distribution
        return cls(
            strategy,
            distribution.space.to_dict(),
            result.genotype.compact(),
            decode(distribution.mode().numpy(), distribution.space).compact(),
            distribution.entropy().item(),
            distribution.marginals().tolist(),
            result.quantities,
            result.history,
            result.spent,
            result.notes,
        )

    @property
    def goal(self) -> Quantity:
        """What the search optimized."""
        return self.quantities[0]

    def best(self, k: int) -> list[dict[str, Any]]:
        """The k best rows of the history that name a genotype, best first, each genotype once.

        A search that follows gradients measures distributions, not genotypes: then it is the last row at which
        its choice was what it would derive, or its last row.
        """
        named = {row["genotype"]: row for row in reversed(self.history) if "genotype" in row}
        if not named:
            own = [row for row in self.history if row.get("derived") == self.genotype]
            return [(own or self.history)[-1] | {"genotype": self.genotype}]
        return sorted(named.values(), key=lambda row: (-self.goal.sign * row["values"][self.goal.name], row["step"]))[
            :k
        ]


def write_search(run: RunFolder, strategy: str, result: Result, cost: Cost | None = None) -> SearchRecord:
    """Write search.json last, when all else stands beside it: the distribution, and where there are any, posterior and
    cost."""
    record = SearchRecord.of(strategy, result)
    save_distribution(run.path / DISTRIBUTION, result.distribution)
    if result.posterior is not None:
        result.posterior.save(run.path / POSTERIOR)
    if cost is not None:
        run.write(COST, cost)
    run.write(NAME, record)
    return record


def read_search(run: RunFolder) -> SearchRecord | None:
    """What `write_search` wrote; None where there is no such file.

    Raises:
        InputError: the file is damaged, or lacks something.
    """
    return run.read(NAME, SearchRecord) if run.holds(NAME) else None


def read_cost(run: RunFolder) -> Cost | None:
    """The cost that `write_search` wrote; None where there is no such file.

    Raises:
        InputError: the file is damaged, or lacks something.
    """
    return run.read(COST, Cost) if run.holds(COST) else None
