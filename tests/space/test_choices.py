from __future__ import annotations

import numpy as np
import pytest

from base_fast.errors import InputError
from base_fast.space import (
    DARTS,
    NAS_BENCH_201,
    NAS_BENCH_MACRO,
    Genotype,
    Stack,
    compact,
    configurations,
    decode,
    encode,
    genotypes,
    get_any,
    kept,
    neighbours,
)


def same_cells(one: Genotype, other: Genotype) -> bool:
    def nodes(pairs):
        return [sorted(pairs[i : i + 2]) for i in range(0, len(pairs), 2)]

    return all(nodes(one.cells[cell]) == nodes(other.cells[cell]) for cell in ("normal", "reduce"))


@pytest.mark.parametrize("genotype", [genotypes.DARTS_V1, genotypes.DARTS_V2, Genotype.random(DARTS, 3)], ids=str)
def test_cells_with_two_edges_a_node(genotype):
    choices = encode(genotype, DARTS)
    assert choices.shape == (2, 14) and ((choices != 0).sum(axis=1) == 8).all()
    assert same_cells(decode(choices, DARTS), genotype)
    assert np.array_equal(encode(decode(choices, DARTS).compact(), DARTS), choices)


def test_cells_with_all_edges_have_the_benchmarks_text():
    text = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
    choices = encode(text, NAS_BENCH_201)
    assert choices.tolist() == [[3, 0, 4, 1, 2, 0]]
    assert decode(choices, NAS_BENCH_201).compact() == compact(choices, NAS_BENCH_201) == text
    assert np.array_equal(encode(Genotype.parse(text), NAS_BENCH_201), choices)


def test_stacks():
    assert get_any("nas_bench_macro") is NAS_BENCH_MACRO
    choices = encode("02012100", NAS_BENCH_MACRO)
    assert decode(choices, NAS_BENCH_MACRO).compact() == compact(choices, NAS_BENCH_MACRO) == "02012100"
    assert np.array_equal(encode(decode(choices, NAS_BENCH_MACRO), NAS_BENCH_MACRO), choices)
    assert Stack.from_dict(NAS_BENCH_MACRO.to_dict()) == NAS_BENCH_MACRO
    for text in ("0201210", "02012103", "0201210x"):
        with pytest.raises(InputError, match="8 digits"):
            encode(text, NAS_BENCH_MACRO)
    with pytest.raises(InputError, match="layers"):
        Stack("s", ("a", "b"), 0)
    for blocks in (("a",), ("a", "a"), ("a", "b c")):
        with pytest.raises(InputError, match="primitives"):
            Stack("s", blocks, 1)


def test_one_primitive_per_edge():
    with pytest.raises(InputError, match="one primitive per edge"):
        encode(genotypes.BASE_CIFAR_TUNED, DARTS)


@pytest.mark.parametrize(
    "text", ["|none~0|", "|none~0|+|x~0|none~1|+|none~0|none~1|none~2|", "|none~0|+|none~1|none~0|"]
)
def test_texts_of_other_spaces_are_refused(text):
    with pytest.raises(InputError):
        encode(text, NAS_BENCH_201)


def test_choices_that_are_no_genotype():
    choices = encode(Genotype.random(DARTS, 0), DARTS)
    broken = choices.copy()
    broken[1, 0] = 0
    assert kept(np.stack((choices, broken)), DARTS).tolist() == [True, False]
    with pytest.raises(InputError, match="expected 2 edges"):
        decode(broken, DARTS)
    with pytest.raises(InputError, match=r"shape \(1, 14\)"):
        decode(choices[:1], DARTS)
    with pytest.raises(InputError, match="expected 0 to 7"):
        decode(choices * 0 + 8, DARTS)


def test_neighbours_are_the_genotypes_one_change_away():
    cell = encode(Genotype.random(NAS_BENCH_201, 1), NAS_BENCH_201)
    found = neighbours(cell, NAS_BENCH_201)
    assert len(np.unique(found, axis=0)) == len(found) == 6 * 4
    assert ((found != cell).sum(axis=(1, 2)) == 1).all()

    cells = encode(Genotype.random(DARTS, 1), DARTS)
    found = neighbours(cells, DARTS)
    # Per cell: 8 edges with 6 other primitives, and at nodes of 2 to 5 predecessors 2·(p − 2) exchanges.
    assert len(np.unique(found, axis=0)) == len(found) == 2 * (8 * 6 + 2 * (0 + 1 + 2 + 3))
    assert kept(found, DARTS).all()
    changed = (found != cells).sum(axis=(1, 2))
    assert set(changed) == {1, 2}
    assert all(sorted(f[f != cells].tolist())[0] == 0 for f in found[changed == 2])


def test_configurations_are_counted_by_hand():
    assert [len(rows) for _, rows in configurations(DARTS)] == [49, 3 * 49, 6 * 49, 10 * 49]
    assert [len(rows) for _, rows in configurations(NAS_BENCH_201)] == [5] * 6
