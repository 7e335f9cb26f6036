"""Reading architectures off a posterior."""

from __future__ import annotations

from dataclasses import dataclass

from base_fast.posterior.posterior import Posterior
from base_fast.space import Candidate, Genotype, UndecidedEdge, most_probable, undecided
from base_fast.space import derive as derive_genotype


@dataclass(frozen=True)
class Derivation:
    """The genotype that a rule reads off the edge probabilities, the most probable ones, and the undecided edges."""

    genotype: Genotype
    candidates: list[Candidate]
    undecided: list[UndecidedEdge]


def derive(
    posterior: Posterior, rule: str = "darts", *, k: int = 5, samples: int = 4096, margin: float = 0.1, seed: int = 0
) -> Derivation:
    """Derive a genotype from π = softmax(φ).

    Args:
        posterior: adapted to the task at hand.
        rule: "darts" keeps per node the two strongest edges with different predecessors (Liu et al. 2019); "pairs"
            the two strongest (predecessor, primitive) pairs, as in the published BASE cells (Shaw et al. 2019).
        k: how many of the most probable genotypes to list.
        samples: draws of z that their probabilities are estimated from.
        margin: an edge is undecided when its best primitive leads the next by less than this share.
        seed: of the draws.

    Raises:
        InputError: for an unknown rule or NaN logits.
    """
    pi = posterior.probabilities.double().cpu().numpy()
    logits = posterior.alpha.double().cpu().numpy()
    space = posterior.space
    return Derivation(
        derive_genotype(pi, space, rule),
        most_probable(logits, space, rule, k=k, samples=samples, seed=seed),
        undecided(pi, space, margin),
    )
