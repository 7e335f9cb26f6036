"""Reading architectures off a posterior, or off any distribution over genotypes."""

from __future__ import annotations

from dataclasses import dataclass

from base_fast.distributions import Distribution
from base_fast.errors import InputError
from base_fast.posterior.posterior import Posterior
from base_fast.space import Candidate, Genotype, Space, UndecidedEdge, most_probable, undecided
from base_fast.space import derive as derive_genotype
from base_fast.space.derivation import Rule


@dataclass(frozen=True)
class Derivation:
    """The genotype that a rule reads off the edge probabilities, the most probable ones, and the undecided edges."""

    genotype: Genotype
    candidates: list[Candidate]
    undecided: list[UndecidedEdge]


def derive(
    posterior: Posterior | Distribution,
    rule: Rule = "darts",
    *,
    k: int = 5,
    samples: int = 4096,
    margin: float = 0.1,
    seed: int = 0,
) -> Derivation:
    """Derive a genotype from the probability of each primitive on each edge: π = softmax(φ), or the marginals.

    The candidates of a posterior are the genotypes that the rule reads off relaxed samples of z, with estimated
    probabilities; those of a distribution are its own, with exact ones. Where all edges are kept the two agree.

    Args:
        posterior: adapted to the task at hand; or the distribution that a search left.
        rule: "darts" keeps per node the two strongest edges with different predecessors (Liu et al. 2019); "pairs"
            the two strongest (predecessor, primitive) pairs, as in the published BASE cells (Shaw et al. 2019). Or a
            function of your own: rule(pi float64 (T, E, L), space) -> Genotype.
        k: how many of the most probable genotypes to list.
        samples: draws of z that their probabilities are estimated from.
        margin: an edge is undecided when its best primitive leads the next by less than this share.
        seed: of the draws.

    Raises:
        InputError: for an unknown rule, NaN logits, or a space without cells.
    """
    if isinstance(posterior, Distribution):
        return _derive_from(posterior, rule, k, margin)
    pi = posterior.probabilities.double().cpu().numpy()
    logits = posterior.alpha.double().cpu().numpy()
    space = posterior.space
    return Derivation(
        derive_genotype(pi, space, rule),
        most_probable(logits, space, rule, k=k, samples=samples, seed=seed),
        undecided(pi, space, margin),
    )


def _derive_from(distribution: Distribution, rule: Rule, k: int, margin: float) -> Derivation:
    space = distribution.space
    if not isinstance(space, Space):
        raise InputError(f"posterior: got a distribution over {space.name}, expected a space with cells; see mode()")
    pi = distribution.marginals().detach().numpy()
    return Derivation(derive_genotype(pi, space, rule), distribution.candidates(k), undecided(pi, space, margin))
