"""Search spaces and genotypes as data, and how a genotype is read off probabilities. Needs NumPy only."""

from __future__ import annotations

from base_fast.space import genotypes
from base_fast.space.derivation import Candidate, UndecidedEdge, derive, most_probable, undecided
from base_fast.space.genotype import Genotype
from base_fast.space.space import DARTS, NAS_BENCH_201, Space, get

__all__ = [
    "DARTS",
    "NAS_BENCH_201",
    "Candidate",
    "Genotype",
    "Space",
    "UndecidedEdge",
    "derive",
    "genotypes",
    "get",
    "most_probable",
    "undecided",
]
