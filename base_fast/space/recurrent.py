"""The recurrent cells of language models, in which each node has one predecessor and one activation."""

from __future__ import annotations

from base_fast.errors import InputError
from base_fast.space.genotype import ACTIVATIONS, Genotype, Pair
from base_fast.space.lookup import lookup
from base_fast.space.space import CELL_TYPES, NONE, Space

RECURRENT = Space(
    name="recurrent",
    primitives=(NONE, *ACTIVATIONS),
    inputs=1,
    nodes=8,
    cell_types=CELL_TYPES[:1],
    concat=(1, 2, 3, 4, 5, 6, 7, 8),
    arity=1,
)
"""Liu et al., DARTS, ICLR 2019: node 0 mixes input and hidden state, each of eight nodes an activation of one
node before it, and the mean of all eight is the next hidden state: 8!·4^8 = 2.6·10⁹ cells. ENAS and NAO search the same
with other numbers of nodes (`RECURRENT.with_nodes`), ENAS with the mean of loose ends as output."""


def recurrent(pairs: tuple[Pair, ...], concat: tuple[int, ...] | None = None) -> Genotype:
    """The genotype of a recurrent cell: one (activation, predecessor) pair for each node, and the nodes whose mean is
    its output, all of them if not given."""
    return Genotype(pairs, concat or tuple(range(1, len(pairs) + 1)), (), ())


def check_recurrent(genotype: Genotype) -> None:
    """Raises InputError unless the genotype is a recurrent cell, of any number of nodes and any mean of them."""
    if not genotype.is_recurrent:
        raise InputError(
            f"genotype: {genotype.compact()!r} has no recurrent cell; expected one of {', '.join(ACTIVATIONS)} from "
            "one node before it for every node"
        )
    for index, (_, predecessor) in enumerate(genotype.normal):
        if not 0 <= predecessor <= index:
            raise InputError(
                f"recurrent[{index}]: predecessor {predecessor} of node {index + 1} is not before it; expected 0 to "
                f"{index}"
            )
    nodes, concat = len(genotype.normal), genotype.normal_concat
    if len(set(concat)) < len(concat) or not all(1 <= node <= nodes for node in concat):
        raise InputError(f"concat: {concat}; expected different nodes from 1 to {nodes}")


# fmt: off

PUBLISHED: dict[str, Genotype] = {
    "DARTS_RNN_V1": recurrent((
        ("relu", 0), ("relu", 1), ("tanh", 2), ("relu", 3), ("relu", 4), ("identity", 1),
        ("relu", 5), ("relu", 1),
    )),
    "DARTS_RNN_V2": recurrent((
        ("sigmoid", 0), ("relu", 1), ("relu", 1), ("identity", 1), ("tanh", 2), ("sigmoid", 5),
        ("tanh", 3), ("relu", 5),
    )),
    "ENAS_RNN": recurrent((
        ("tanh", 0), ("tanh", 1), ("relu", 1), ("tanh", 3), ("tanh", 3), ("relu", 3), ("relu", 4), ("relu", 7),
        ("relu", 8), ("relu", 8), ("relu", 8),
    ), (2, 5, 6, 9, 10, 11)),
}
"""Published cells, from quark0/darts rnn/genotypes.py: DARTS's of first and second order, and ENAS's."""

# fmt: on


def published(name: str) -> Genotype:
    """The published recurrent cell called `name`; raises InputError with the nearest names."""
    return lookup("genotype", name, PUBLISHED)
