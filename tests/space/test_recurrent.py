"""The space of recurrent cells, and the notations of its genotypes."""

from __future__ import annotations

import numpy as np
import pytest

from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.random import key
from base_fast.space import (
    RECURRENT,
    Genotype,
    check_recurrent,
    decode,
    derive,
    encode,
    from_decisions,
    genotypes,
    neighbours,
    recurrent,
    to_decisions,
)
from base_fast.space.recurrent import PUBLISHED, published


def test_the_space_has_36_edges_of_four_activations() -> None:
    assert RECURRENT.num_edges == 36 and RECURRENT.num_primitives == 5
    entropy = IndependentEdges.uniform(RECURRENT).entropy().item()
    # 8! choices of predecessors, 4^8 of activations.
    assert entropy == pytest.approx(np.log(40320.0) + 8 * np.log(4.0), rel=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_round_trip(name: str) -> None:
    genotype = PUBLISHED[name]
    check_recurrent(genotype)
    assert genotype.compact().startswith("recurrent: ")
    assert Genotype.parse(genotype.compact()) == genotype == Genotype.from_json(genotype.to_json())
    printed = f"Genotype(recurrent={list(genotype.normal)}, concat={list(genotype.normal_concat)})"
    assert Genotype.parse(printed) == Genotype.parse(f"epoch 3 {genotype.compact()}") == genotype


def test_what_darts_prints_is_read() -> None:
    text = "Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=range(1, 3))"
    assert Genotype.parse(text) == recurrent((("relu", 0), ("tanh", 1)))
    assert published("DARTS_RNN_V2").normal[5] == ("sigmoid", 5)
    with pytest.raises(InputError, match="did you mean DARTS_RNN_V1"):
        published("DARTS_RNN_v1")


@pytest.mark.parametrize("name", ["DARTS_RNN_V1", "DARTS_RNN_V2"])
def test_choices_decisions_and_neighbours(name: str) -> None:
    choices = encode(PUBLISHED[name], RECURRENT)
    assert decode(choices, RECURRENT) == PUBLISHED[name]
    assert (from_decisions(to_decisions(choices[None], RECURRENT), RECURRENT)[0] == choices).all()
    # Three other activations for each of 8 nodes, and the other predecessors: 0 + 1 + ... + 7.
    assert len(neighbours(choices, RECURRENT)) == 8 * 3 + 28
    drawn = IndependentEdges.uniform(RECURRENT).sample(key(1), 3).numpy()
    assert all(decode(one, RECURRENT).is_recurrent for one in drawn)


def test_derivation_keeps_the_strongest_pair_of_every_node() -> None:
    pi = np.full((1, 36, 5), 0.2)
    for edge, row in enumerate(encode(PUBLISHED["DARTS_RNN_V1"], RECURRENT)[0]):
        if row:
            pi[0, edge] = 0.1
            pi[0, edge, row] = 0.6
    assert derive(pi, RECURRENT) == PUBLISHED["DARTS_RNN_V1"]


def test_what_is_no_recurrent_cell_is_refused() -> None:
    with pytest.raises(InputError, match="has no recurrent cell"):
        check_recurrent(genotypes.DARTS_V2)
    with pytest.raises(InputError, match=r"recurrent\[1\]: predecessor 2 of node 2 is not before it; expected 0 to 1"):
        check_recurrent(recurrent((("relu", 0), ("relu", 2))))
    with pytest.raises(InputError, match=r"concat: \(1, 3\)"):
        check_recurrent(recurrent((("relu", 0), ("relu", 1)), (1, 3)))
