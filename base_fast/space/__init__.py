"""Search spaces and genotypes as data, and how a genotype is read off probabilities. Needs NumPy only."""

from __future__ import annotations

from base_fast.space import genotypes
from base_fast.space.choices import compact, configurations, decode, encode, kept, neighbours
from base_fast.space.decisions import Decision, decisions, from_decisions, to_decisions, ways
from base_fast.space.derivation import Candidate, UndecidedEdge, derive, most_probable, undecided
from base_fast.space.genotype import Genotype
from base_fast.space.primitives import PRIMITIVES, Primitive, register
from base_fast.space.recurrent import RECURRENT, check_recurrent, recurrent
from base_fast.space.skip_limit import SkipLimit, skip_edges
from base_fast.space.space import DARTS, NAS_BENCH_201, Space, get
from base_fast.space.stack import NAS_BENCH_MACRO, AnyGenotype, AnySpace, Stack, StackGenotype, from_dict_any, get_any

__all__ = [
    "DARTS",
    "NAS_BENCH_201",
    "NAS_BENCH_MACRO",
    "PRIMITIVES",
    "RECURRENT",
    "AnyGenotype",
    "AnySpace",
    "Candidate",
    "Decision",
    "Genotype",
    "Primitive",
    "SkipLimit",
    "Space",
    "Stack",
    "StackGenotype",
    "UndecidedEdge",
    "check_recurrent",
    "compact",
    "configurations",
    "decisions",
    "decode",
    "derive",
    "encode",
    "from_decisions",
    "from_dict_any",
    "genotypes",
    "get",
    "get_any",
    "kept",
    "most_probable",
    "neighbours",
    "recurrent",
    "register",
    "skip_edges",
    "to_decisions",
    "undecided",
    "ways",
]
