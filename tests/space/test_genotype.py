from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base_fast.errors import InputError
from base_fast.space import DARTS, NAS_BENCH_201, Genotype, genotypes

NB201_TEXT = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
NB201 = Genotype(
    [
        ("nor_conv_3x3", 0),
        ("none", 0),
        ("avg_pool_3x3", 1),
        ("skip_connect", 0),
        ("nor_conv_1x1", 1),
        ("nor_conv_3x3", 2),
    ],
    [3],
    [],
    [],
)

V2 = genotypes.DARTS_V2

pairs = st.lists(st.tuples(st.from_regex(r"[A-Za-z0-9_]{1,8}", fullmatch=True), st.integers(-3, 9)), max_size=12)
concats = st.lists(st.integers(-3, 12), max_size=6)
anything = st.builds(Genotype, pairs, concats, pairs, concats)


def changed(field: str, index: int, pair: tuple[Any, Any], of: Genotype = V2) -> Genotype:
    value = list(getattr(of, field))
    value[index] = pair
    return replace(of, **{field: value})


# -- data --------------------------------------------------------------------------------------------------------------


def test_lists_tuples_and_numpy_integers_are_the_same_genotype() -> None:
    as_lists = Genotype(
        [[p, np.int64(i)] for p, i in V2.normal], range(2, 6), [[p, i] for p, i in V2.reduce], [2, 3, 4, 5]
    )
    assert as_lists == V2
    assert hash(as_lists) == hash(V2)
    assert all(type(i) is int for _, i in as_lists.normal)
    assert {as_lists, V2} == {V2}


def test_is_frozen_and_pickles() -> None:
    with pytest.raises(FrozenInstanceError):
        V2.normal = ()  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(V2)) == V2


def test_cells() -> None:
    assert V2.cells == {"normal": V2.normal, "reduce": V2.reduce}
    assert V2.concats == {"normal": (2, 3, 4, 5), "reduce": (2, 3, 4, 5)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abc", [], [], []), "normal: 'abc'; expected a list or a tuple"),
        ((["ab"], [], [], []), r"normal\[0\]: 'ab'; expected a \(primitive, predecessor\) pair"),
        (([("a", 0, 1)], [], [], []), r"normal\[0\]: .*pair"),
        (([], [], [("a", 0), (3, 0)], []), r"reduce\[1\]: primitive 3; expected letters"),
        (([("a b", 0)], [], [], []), r"normal\[0\]: primitive 'a b'; expected letters"),
        (([("a", "0")], [], [], []), r"normal\[0\]: predecessor '0'; expected an integer"),
        (([("a", 1.0)], [], [], []), r"normal\[0\]: predecessor 1.0; expected an integer"),
        (([("a", True)], [], [], []), r"normal\[0\]: predecessor True; expected an integer"),
        (([], [2, "3"], [], []), r"normal_concat\[1\]: '3'; expected an integer"),
        (([], [], [], 4), "reduce_concat: 4; expected a list or a tuple"),
    ],
)
def test_wrong_types_are_refused_by_place(arguments: tuple[Any, Any, Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Genotype(*arguments)


# -- text --------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(anything)
def test_json_round_trip(genotype: Genotype) -> None:
    assert Genotype.from_json(genotype.to_json()) == genotype


@settings(deadline=None)
@given(anything)
def test_compact_round_trip(genotype: Genotype) -> None:
    text = genotype.compact()
    assert "\n" not in text
    assert Genotype.parse(text) == genotype


@settings(deadline=None)
@given(st.lists(st.sampled_from(NAS_BENCH_201.primitives), min_size=6, max_size=6))
def test_nas_bench_201_round_trip(names: list[str]) -> None:
    genotype = Genotype([(n, p) for n, (p, _) in zip(names, NAS_BENCH_201.edges, strict=True)], (3,), (), ())
    genotype.validate()
    genotype.validate(NAS_BENCH_201)
    text = genotype.compact()
    assert text.count("|") == 9
    assert text.count("+") == 2
    assert "->" not in text
    assert Genotype.parse(text) == genotype


def test_compact_of_nas_bench_201_is_the_official_string() -> None:
    assert NB201.compact() == NB201_TEXT
    assert Genotype.parse(f" {NB201_TEXT}\n") == NB201


def test_compact_of_darts() -> None:
    assert V2.compact() == (
        "normal: sep_conv_3x3~0 sep_conv_3x3~1 | sep_conv_3x3~0 sep_conv_3x3~1 | sep_conv_3x3~1 skip_connect~0 "
        "| skip_connect~0 dil_conv_3x3~2 -> 2,3,4,5; reduce: max_pool_3x3~0 max_pool_3x3~1 | skip_connect~2 "
        "max_pool_3x3~1 | max_pool_3x3~0 skip_connect~2 | skip_connect~2 max_pool_3x3~1 -> 2,3,4,5"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "genotype: cannot read ''; expected 'normal:"),
        ("hello", "genotype: cannot read 'hello'"),
        ("normal: a~0 b -> 2", "genotype: cannot read 'b'; expected PRIMITIVE~PREDECESSOR"),
        ("normal: a~x -> 2", "genotype: cannot read 'a~x'"),
        ("normal: a~0 -> 2,,3", "normal_concat: cannot read ''; expected integers"),
        ("normal: a~0 -> 2; reduce: a~0 -> two", "reduce_concat: cannot read 'two'"),
        ("|a~0|+b~0|c~1|", r"genotype: cannot read node 2, 'b~0\|c~1\|'; expected"),
        ("|a~0|+|b~0|", r"genotype: node 2 is '\|b~0\|'; expected predecessors 0..1 in order"),
        ("|a~0|+|b~1|c~0|", "genotype: node 2 is .* expected predecessors 0..1 in order"),
        ("|a|", "genotype: cannot read 'a'; expected PRIMITIVE~PREDECESSOR"),
        ("|", r"genotype: cannot read node 1, '\|'"),
        (None, "genotype: a NoneType; expected a string"),
    ],
)
def test_parse_names_what_it_cannot_read(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Genotype.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "genotype: not JSON"),
        (None, "genotype: not JSON"),
        ("[]", "genotype: a JSON list; expected an object"),
        ('{"normal": [], "normal_concat": [], "reduce": []}', "genotype: field 'reduce_concat' is missing"),
        (
            '{"normal": [], "normal_concat": [], "reduce": [], "reduce_concat": [], "extra": 1}',
            "genotype: unknown field 'extra'",
        ),
        (
            '{"normal": [["a", 1.5]], "normal_concat": [], "reduce": [], "reduce_concat": []}',
            r"normal\[0\]: predecessor 1.5; expected an integer",
        ),
        ('{"normal": {}, "normal_concat": [], "reduce": [], "reduce_concat": []}', "normal: {}; expected a list"),
        (
            '{"normal": [], "normal_concat": [], "reduce": [], "reduce_concat": "2345"}',
            "reduce_concat: '2345'; expected a list",
        ),
    ],
)
def test_from_json_names_the_bad_field(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Genotype.from_json(text)


# -- validation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [None, DARTS], ids=["any", "darts"])
@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (
            changed("normal", 3, ("conv_9x9", 0)),
            r"normal\[3\]: unknown primitive 'conv_9x9'; \w+ primitives: none, max",
        ),
        (
            changed("reduce", 1, ("skip_connect", 2)),
            r"reduce\[1\]: predecessor 2 of node 2 is not before it; .* 0 to 1",
        ),
        (changed("normal", 7, ("skip_connect", 5)), r"normal\[7\]: predecessor 5 of node 5 is not before it"),
        (changed("normal", 0, ("skip_connect", -1)), r"normal\[0\]: predecessor -1 of node 2 is not before it"),
        (replace(V2, normal=V2.normal[:7]), "normal: 7 pairs, an odd number"),
        (replace(V2, reduce_concat=(2, 6)), "reduce_concat: no node 6; the cell's nodes are 2 to 5"),
        (replace(V2, reduce_concat=(1, 2)), "reduce_concat: no node 1; the cell's nodes are 2 to 5"),
        (replace(V2, normal_concat=(2, 3, 3)), "normal_concat: node 3 appears 2 times"),
        (replace(V2, normal_concat=()), "normal_concat: empty"),
        (replace(V2, reduce=(), reduce_concat=()), "reduce: (no|0) pairs"),
    ],
)
def test_validate_names_what_is_wrong(genotype: Genotype, message: str, space: Any) -> None:
    with pytest.raises(InputError, match=message):
        genotype.validate(space)


def test_validate_in_a_space_is_stricter() -> None:
    part = replace(V2, normal_concat=(4, 5))
    part.validate()
    with pytest.raises(InputError, match=r"normal_concat: \(4, 5\); the space darts expects \(2, 3, 4, 5\)"):
        part.validate(DARTS)
    without_dilated = replace(DARTS, name="mine", primitives=("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"))
    with pytest.raises(InputError, match=r"normal\[7\]: unknown primitive 'dil_conv_3x3'; mine primitives: none, skip"):
        V2.validate(without_dilated)


def test_validate_against_nas_bench_201() -> None:
    NB201.validate()
    NB201.validate(NAS_BENCH_201)
    with pytest.raises(InputError, match="normal: 6 pairs; the space darts expects 8"):
        NB201.validate(DARTS)
    with pytest.raises(InputError, match="reduce: not empty; the space nas_bench_201 has no reduce cell"):
        replace(NB201, reduce=V2.reduce).validate(NAS_BENCH_201)
    with pytest.raises(InputError, match="normal: 5 pairs; the space nas_bench_201 expects 6"):
        replace(NB201, normal=NB201.normal[:5]).validate(NAS_BENCH_201)
    with pytest.raises(InputError, match=r"normal\[2\]: predecessor 0 of node 2; expected 1 here"):
        changed("normal", 2, ("none", 0), NB201).validate(NAS_BENCH_201)
    with pytest.raises(InputError, match=r"normal\[0\]: unknown primitive 'sep_conv_3x3'; nas_bench_201 primitives"):
        changed("normal", 0, ("sep_conv_3x3", 0), NB201).validate(NAS_BENCH_201)
    with pytest.raises(InputError, match=r"normal\[0\]: unknown primitive 'what'; known primitives"):
        changed("normal", 0, ("what", 0), NB201).validate()


# -- random ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([DARTS, NAS_BENCH_201]))
def test_random_is_valid_and_repeatable(seed: int, space: Any) -> None:
    genotype = Genotype.random(space, seed)
    genotype.validate(space)
    genotype.validate()
    assert genotype == Genotype.random(space, seed)


def test_random_darts_is_uniform() -> None:
    draws = 4200
    last, primitives = Counter[tuple[int, ...]](), Counter[str]()
    for seed in range(draws):
        genotype = Genotype.random(DARTS, seed)
        (_, first), (_, second) = genotype.reduce[6:]
        assert first < second
        last[first, second] += 1
        primitives.update(name for name, _ in genotype.normal)
    # Ten sets of two among five predecessors, seven primitives; five standard deviations of a binomial count.
    assert len(last) == 10
    assert "none" not in primitives
    assert len(primitives) == 7
    assert all(abs(count - draws / 10) < 5 * (draws * 0.1 * 0.9) ** 0.5 for count in last.values())
    total = 8 * draws
    assert all(abs(count - total / 7) < 5 * (total / 7 * 6 / 7) ** 0.5 for count in primitives.values())


def test_random_nas_bench_201_is_uniform_with_none() -> None:
    draws = 2000
    names = Counter[str](n for seed in range(draws) for n, _ in Genotype.random(NAS_BENCH_201, seed).normal)
    total = 6 * draws
    assert set(names) == set(NAS_BENCH_201.primitives)
    assert all(abs(count - total / 5) < 5 * (total * 0.2 * 0.8) ** 0.5 for count in names.values())
