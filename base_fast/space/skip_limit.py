"""A derivation rule that allows a normal cell so many skip connections and no more."""

from __future__ import annotations

from dataclasses import dataclass

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.space.derivation import Floats, read
from base_fast.space.genotype import Genotype
from base_fast.space.space import SKIP, Space


def skip_edges(genotype: Genotype, space: Space) -> list[int]:
    """Which edges of the normal cell are skip connections, as indices into `space.edges`, in the cell's order."""
    found = []
    for index, (primitive, predecessor) in enumerate(genotype.normal):
        if primitive == SKIP:
            keeps_all = space.arity is None
            node = space.inputs + index // (space.arity or 1)
            found.append(index if keeps_all else space.incoming(node)[predecessor])
    return found


@dataclass(frozen=True)
class SkipLimit:
    """The rule "darts" with at most `limit` skip connections in the normal cell: `derive(pi, space, SkipLimit(2))`.

    While there are more, the weakest of them is struck out and the cell is read again: the edge then stands for its
    next best primitive, and where that is weaker than another edge's best, the node keeps that edge instead.

    Source: Chen, Xie, Wu, Tian, "Progressive Differentiable Architecture Search", ICCV 2019 (limit 2).
    """

    limit: int

    def __post_init__(self) -> None:
        integer("limit", self.limit, 0)

    def __call__(self, pi: Floats, space: Space) -> Genotype:
        strengths = pi.copy()
        skip = space.primitives.index(SKIP) if SKIP in space.primitives else None
        while True:
            genotype = read(strengths, space)
            edges = skip_edges(genotype, space)
            if skip is None or len(edges) <= self.limit:
                return genotype
            weakest = min(edges, key=lambda edge: float(strengths[0, edge, skip]))
            if strengths[0, weakest, skip] < 0.0:
                raise InputError(f"limit: got {self.limit}; {space.name} has no primitive in place of {SKIP}")
            strengths[0, weakest, skip] = -1.0
