from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from base_fast.errors import InputError
from base_fast.space import DARTS, NAS_BENCH_201, Genotype, Space, derive, genotypes, most_probable, undecided
from base_fast.space.derivation import best_products

TINY = Space("tiny", ("none", "a", "b"), inputs=2, nodes=2, cell_types=("normal",), concat=(2, 3), arity=2)
Array = NDArray[np.float64]


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def random_logits(space: Space, seed: int, scale: float = 1.0) -> Array:
    shape = (len(space.cell_types), space.num_edges, space.num_primitives)
    return scale * np.random.default_rng(seed).normal(size=shape)


def random_pi(space: Space, seed: int) -> Array:
    return softmax(random_logits(space, seed))


def official_darts(weights: Array, primitives: tuple[str, ...], steps: int = 4) -> list[tuple[str, int]]:
    """The parsing loop of quark0/darts, cnn/model_search.py, as published."""
    none = primitives.index("none")
    gene, n, start = [], 2, 0
    for i in range(steps):
        end = start + n
        w = weights[start:end].copy()
        edges = sorted(range(i + 2), key=lambda x: -max(w[x][k] for k in range(len(w[x])) if k != none))[:2]
        for j in edges:
            k_best = None
            for k in range(len(w[j])):
                if k != none and (k_best is None or w[j][k] > w[j][k_best]):
                    k_best = k
            assert k_best is not None
            gene.append((primitives[k_best], j))
        start = end
        n += 1
    return gene


def canonical(genotype: Genotype) -> tuple[Any, ...]:
    """The genotype with the order within a node forgotten."""
    return tuple(
        frozenset(Counter(pairs[i : i + 2]).items())
        for pairs in genotype.cells.values()
        for i in range(0, len(pairs), 2)
    )


# -- derive ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_darts_rule_is_the_official_code(seed: int) -> None:
    pi = random_pi(DARTS, seed)
    genotype = derive(pi, DARTS)
    assert list(genotype.normal) == official_darts(pi[0], DARTS.primitives)
    assert list(genotype.reduce) == official_darts(pi[1], DARTS.primitives)
    genotype.validate(DARTS)


@pytest.mark.parametrize("seed", range(20))
def test_pairs_rule_keeps_the_two_largest_entries(seed: int) -> None:
    pi = random_pi(DARTS, seed)
    genotype = derive(pi, DARTS, rule="pairs")
    for cell, kept in zip(pi, genotype.cells.values(), strict=True):
        for node in DARTS.node_numbers:
            entries = [
                (-cell[edge, column], predecessor, column)
                for predecessor, edge in enumerate(DARTS.incoming(node))
                for column in range(1, DARTS.num_primitives)
            ]
            expected = [(DARTS.primitives[column], predecessor) for _, predecessor, column in sorted(entries)[:2]]
            assert list(kept[2 * (node - 2) : 2 * (node - 1)]) == expected


def test_none_never_competes_where_edges_are_dropped() -> None:
    pi = np.full((2, 14, 8), 0.01 / 7)
    pi[..., 0] = 0.99
    for rule in ("darts", "pairs"):
        assert "none" not in {name for cell in derive(pi, DARTS, rule).cells.values() for name, _ in cell}


def test_pairs_may_share_a_predecessor_and_darts_may_not() -> None:
    cell = np.full((14, 8), 1 / 8)
    for node in DARTS.node_numbers:
        edge = DARTS.incoming(node)[1]
        cell[edge] = 0
        cell[edge, [4, 1]] = 0.6, 0.4
    pi = np.stack([cell, cell])
    assert derive(pi, DARTS, "pairs").normal == (("sep_conv_3x3", 1), ("max_pool_3x3", 1)) * 4
    assert derive(pi, DARTS, "darts").normal == (("sep_conv_3x3", 1), ("max_pool_3x3", 0)) * 4


def test_ties_go_to_the_lower_index() -> None:
    pi = np.full((2, 14, 8), 1 / 8)
    assert derive(pi, DARTS).normal == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    assert derive(pi, DARTS, "pairs").normal == (("max_pool_3x3", 0), ("avg_pool_3x3", 0)) * 4
    assert set(derive(np.full((1, 6, 5), 0.2), NAS_BENCH_201).normal) == {("none", 0), ("none", 1), ("none", 2)}


@pytest.mark.parametrize("rule", ["darts", "pairs"])
def test_nas_bench_201_keeps_every_edge_and_none(rule: str) -> None:
    pi = np.full((1, 6, 5), 0.05)
    for edge, column in enumerate([3, 0, 4, 1, 2, 0]):
        pi[0, edge, column] = 0.8
    genotype = derive(pi, NAS_BENCH_201, rule)
    assert genotype.compact() == "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
    genotype.validate(NAS_BENCH_201)


def test_a_published_genotype_is_read_back_from_its_one_hot_probabilities() -> None:
    target = genotypes.PDARTS
    pi = np.zeros((2, 14, 8))
    pi[..., 0] = 1
    for cell, pairs in zip(pi, target.cells.values(), strict=True):
        for index, (name, predecessor) in enumerate(pairs):
            edge = DARTS.incoming(2 + index // 2)[predecessor]
            cell[edge] = np.eye(8)[DARTS.primitives.index(name)]
    assert derive(pi, DARTS) == derive(pi, DARTS, "pairs") == target


def test_a_single_cell_space_leaves_reduce_empty() -> None:
    genotype = derive(random_pi(TINY, 0), TINY)
    assert genotype.reduce == ()
    assert genotype.reduce_concat == ()
    genotype.validate(TINY)


def test_single_precision_and_lists_are_accepted() -> None:
    pi = random_pi(DARTS, 3)
    assert derive(pi.astype(np.float32), DARTS) == derive(pi.tolist(), DARTS) == derive(pi, DARTS)


def spoiled(value: float) -> Array:
    pi = np.full((2, 14, 8), 1 / 8)
    pi[1, 5, 3] = value
    return pi


@pytest.mark.parametrize(
    ("pi", "message"),
    [
        (np.full((14, 8), 1 / 8), r"pi: shape \(14, 8\); expected \(cell types, edges, primitives\) = \(2, 14, 8\)"),
        (np.full((1, 14, 8), 1 / 8), r"pi: shape \(1, 14, 8\)"),
        (spoiled(float("nan")), "pi: nan at reduce 0->4 skip_connect; expected finite numbers"),
        (spoiled(float("inf")), "pi: inf at reduce 0->4 skip_connect; expected finite"),
        (spoiled(-0.125), "pi: -0.125 at reduce 0->4 skip_connect; expected probabilities, never negative"),
        (spoiled(2.125), "pi: edge reduce 0->4 sums to 3; expected probabilities that sum to 1"),
        ("hello", "pi: not an array of numbers"),
    ],
)
def test_bad_probabilities_are_refused(pi: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        derive(pi, DARTS)
    with pytest.raises(InputError, match=message):
        undecided(pi, DARTS)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError, match="rule: 'best'; expected one of darts, pairs"):
        derive(random_pi(DARTS, 0), DARTS, "best")
    with pytest.raises(InputError, match="rule: 'best'"):
        most_probable(random_logits(DARTS, 0), DARTS, "best")


# -- most_probable -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["darts", "pairs"])
def test_factorization_agrees_with_deriving_every_sample(rule: str) -> None:
    logits = random_logits(TINY, 1, scale=1.5)
    draws = 20_000
    noise = np.random.default_rng(7).gumbel(size=(draws, *logits.shape))
    counts = Counter(canonical(derive(z, TINY, rule)) for z in softmax(logits + noise))
    candidates = most_probable(logits, TINY, rule, k=10_000, samples=50_000, seed=3)
    estimates = {canonical(c.genotype): c for c in candidates}
    assert len(estimates) == len(candidates)
    assert sum(c.probability for c in candidates) == pytest.approx(1)
    for genotype, count in counts.items():
        p = count / draws
        # Five standard deviations of the difference of the two estimates; few enough genotypes for no false alarm.
        tolerance = 5 * math.sqrt(p * (1 - p) / draws + estimates[genotype].standard_error ** 2)
        assert abs(p - estimates[genotype].probability) < tolerance


def test_a_node_with_two_predecessors_has_a_closed_form() -> None:
    # Both edges are kept, so P(g) is the product of the non-none conditionals: softmax without the none column.
    space = replace(TINY, nodes=1, concat=(2,))
    logits = random_logits(space, 4)
    conditional = softmax(logits[0, :, 1:])
    candidates = most_probable(logits, space, k=4, samples=40_000)
    assert len(candidates) == 4
    for candidate in candidates:
        columns = {predecessor: "ab".index(name) for name, predecessor in candidate.genotype.normal}
        exact = conditional[0, columns[0]] * conditional[1, columns[1]]
        assert abs(candidate.probability - exact) < 5 * candidate.standard_error
        assert candidate.standard_error == pytest.approx(math.sqrt(exact * (1 - exact) / 40_000), rel=0.1)


def test_standard_errors_are_the_spread_over_seeds() -> None:
    logits = random_logits(TINY, 5)
    target = most_probable(logits, TINY, k=1, samples=20_000)[0].genotype
    estimates = [
        next(c for c in most_probable(logits, TINY, k=10_000, samples=500, seed=s) if c.genotype == target)
        for s in range(200)
    ]
    spread = np.std([c.probability for c in estimates])
    # The spread of 200 values is itself known to 5 %.
    assert np.mean([c.standard_error for c in estimates]) == pytest.approx(spread, rel=0.25)


def test_nas_bench_201_is_exact() -> None:
    logits = random_logits(NAS_BENCH_201, 2)
    q = softmax(logits)[0]
    candidates = most_probable(logits, NAS_BENCH_201, k=20)
    products = sorted((math.prod(c) for c in itertools.product(*q.tolist())), reverse=True)
    assert [c.probability for c in candidates] == pytest.approx(products[:20])
    assert all(c.standard_error == 0 for c in candidates)
    assert candidates[0].genotype == derive(softmax(logits), NAS_BENCH_201)
    for candidate in candidates:
        candidate.genotype.validate(NAS_BENCH_201)
        columns = [NAS_BENCH_201.primitives.index(name) for name, _ in candidate.genotype.normal]
        assert candidate.probability == pytest.approx(math.prod(q[e, c] for e, c in enumerate(columns)))


@pytest.mark.parametrize("rule", ["darts", "pairs"])
def test_sharp_logits_leave_one_genotype(rule: str) -> None:
    target = genotypes.DARTS_V2
    logits = np.zeros((2, 14, 8))
    logits[..., 0] = 40
    for cell, pairs in zip(logits, target.cells.values(), strict=True):
        for index, (name, predecessor) in enumerate(pairs):
            cell[DARTS.incoming(2 + index // 2)[predecessor], [0, DARTS.primitives.index(name)]] = 0, 40
    first = most_probable(logits, DARTS, rule)[0]
    assert canonical(first.genotype) == canonical(target)
    assert first.genotype == derive(softmax(logits), DARTS, rule)
    assert first.probability > 0.99
    assert first.standard_error < 0.01


@pytest.mark.parametrize("rule", ["darts", "pairs"])
def test_candidates_are_distinct_valid_sorted_and_repeatable(rule: str) -> None:
    logits = random_logits(DARTS, 8, scale=3)
    candidates = most_probable(logits, DARTS, rule, k=30, samples=512)
    assert candidates == most_probable(logits, DARTS, rule, k=30, samples=512)
    assert candidates[:5] == most_probable(logits, DARTS, rule, samples=512)
    probabilities = [c.probability for c in candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(candidates) == 30
    assert len({canonical(c.genotype) for c in candidates}) == 30
    for candidate in candidates:
        candidate.genotype.validate(DARTS)
        assert 0 < candidate.probability <= 1
        assert candidate.standard_error > 0


def test_best_products_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    factors = [sorted(rng.random(n).tolist(), reverse=True) for n in (3, 1, 4, 2)]
    every = itertools.product(*(range(len(f)) for f in factors))
    ranked = sorted(every, key=lambda ranks: -math.prod(f[r] for f, r in zip(factors, ranks, strict=True)))
    assert best_products(factors, 10) == ranked[:10]
    assert best_products(factors, 1000) == ranked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k: got 0, expected an integer ≥ 1"),
        ({"k": 1.5}, "k: got 1.5, expected an integer"),
        ({"samples": 0}, "samples: got 0, expected an integer ≥ 1"),
        ({"samples": True}, "samples: got True, expected an integer"),
    ],
)
def test_bad_counts_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        most_probable(random_logits(DARTS, 0), DARTS, **arguments)


def test_bad_logits_are_refused() -> None:
    with pytest.raises(InputError, match=r"logits: shape \(1, 6, 5\); expected .* \(2, 14, 8\)"):
        most_probable(np.zeros((1, 6, 5)), DARTS)
    logits = np.zeros((2, 14, 8))
    logits[0, 0, 0] = -np.inf
    with pytest.raises(InputError, match="logits: -inf at normal 0->2 none; expected finite numbers"):
        most_probable(logits, DARTS)


# -- undecided ---------------------------------------------------------------------------------------------------------


def test_undecided_names_the_close_edges_only() -> None:
    pi = np.zeros((2, 14, 8))
    pi[..., 4], pi[..., 0] = 0.4, 0.6
    pi[1, 5] = [0.2, 0, 0, 0.39, 0.41, 0, 0, 0]
    (edge,) = undecided(pi, DARTS)
    assert (edge.cell_type, edge.predecessor, edge.node) == ("reduce", 0, 4)
    assert (edge.best, edge.runner_up) == ("sep_conv_3x3", "skip_connect")
    assert edge.probabilities == (0.41, 0.39)


def test_the_margin_is_relative_and_strict() -> None:
    pi = np.zeros((1, TINY.num_edges, 3))
    pi[..., :] = [0.25, 0.5, 0.25]
    assert undecided(pi, TINY, margin=0.5) == []
    assert len(undecided(pi, TINY, margin=0.51)) == TINY.num_edges
    pi[..., :] = [0.5, 0.25, 0.25]
    assert undecided(pi, TINY, margin=0) == []
    assert len(undecided(pi, TINY, margin=1e-9)) == TINY.num_edges


def test_none_counts_only_where_every_edge_is_kept() -> None:
    darts = np.zeros((2, 14, 8))
    darts[..., 0], darts[..., 4] = 0.5, 0.5
    assert undecided(darts, DARTS) == []
    nas_bench = np.zeros((1, 6, 5))
    nas_bench[..., 0], nas_bench[..., 3] = 0.5, 0.5
    edges = undecided(nas_bench, NAS_BENCH_201)
    assert len(edges) == 6
    assert {(e.best, e.runner_up) for e in edges} == {("none", "nor_conv_3x3")}


def test_a_single_primitive_is_never_undecided() -> None:
    space = replace(TINY, primitives=("none", "a"))
    assert undecided(np.full((1, space.num_edges, 2), 0.5), space) == []


@pytest.mark.parametrize("margin", [-0.1, float("nan")])
def test_a_bad_margin_is_refused(margin: float) -> None:
    with pytest.raises(InputError, match=r"margin: .*; expected a number of at least 0"):
        undecided(random_pi(DARTS, 0), DARTS, margin)


def weakest_edges(pi: np.ndarray, space: Space) -> Genotype:
    """A rule of one's own: convolutions of the edges whose best primitive is least probable."""
    cells = []
    for cell in pi:
        pairs = []
        for node in space.node_numbers:
            order = np.argsort(cell[space.incoming(node)].max(axis=1), kind="stable")
            pairs += [("sep_conv_3x3", int(predecessor)) for predecessor in order[: space.arity]]
        cells.append(pairs)
    return Genotype.from_cells(cells, space)


def test_a_rule_of_one_s_own() -> None:
    space = DARTS.with_nodes(2)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 8))
    pi = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    genotype = derive(pi, space, weakest_edges)
    kept = np.argsort(pi[0, 2:].max(axis=1))[:2].tolist()
    assert genotype.normal[2:] == tuple(("sep_conv_3x3", predecessor) for predecessor in kept)
    found = most_probable(logits, space, weakest_edges, k=50, samples=300, seed=1)
    assert found == most_probable(logits, space, weakest_edges, k=50, samples=300, seed=1)
    # Only which two of three predecessors the second node keeps can differ, in both cells: nine genotypes.
    assert 1 < len(found) <= 9
    assert sum(one.probability for one in found) == pytest.approx(1.0)
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    p = found[0].probability
    assert found[0].standard_error == pytest.approx((p * (1 - p) / 300) ** 0.5)


def test_a_rule_may_not_change_what_it_reads() -> None:
    def rule(pi: np.ndarray, space: Space) -> Genotype:
        pi[:] = 0.0
        return Genotype.random(space, 0)

    pi = np.full((2, 14, 8), 1 / 8)
    assert derive(pi, DARTS, rule) == Genotype.random(DARTS, 0)
    assert (pi == 1 / 8).all()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda pi, space: None, "rule: <lambda> gives NoneType; expected a Genotype"),
        (
            lambda pi, space: Genotype.random(DARTS.with_nodes(3), 0),
            "rule: <lambda> gives no genotype of darts: normal",
        ),
    ],
)
def test_what_a_rule_must_give(rule: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        derive(np.full((2, 14, 8), 1 / 8), DARTS, rule)
