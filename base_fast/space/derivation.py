"""Read genotypes off edge probabilities: the one a rule picks, the most probable ones, and the close calls."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.space.genotype import Genotype, Pair
from base_fast.space.space import NONE, Space
from base_fast.space.stack import AnyGenotype

RULES = ("darts", "pairs")

Floats = NDArray[np.float64]
Choice = tuple[Pair, ...]
Rule = str | Callable[[Floats, Space], Genotype]
"""The name of a rule, or one of your own: what it reads off probabilities (T, E, L), a genotype of the space."""


@dataclass(frozen=True)
class Candidate:
    """A genotype, the estimate of its probability, and the standard error of that estimate."""

    genotype: AnyGenotype
    probability: float
    standard_error: float


@dataclass(frozen=True)
class UndecidedEdge:
    """An edge whose two most probable primitives are close; `probabilities` are those of (best, runner_up)."""

    cell_type: str
    predecessor: int
    node: int
    best: str
    runner_up: str
    probabilities: tuple[float, float]


def derive(pi: ArrayLike, space: Space, rule: Rule = "darts") -> Genotype:
    """The genotype that `rule` reads off edge probabilities, strongest pair of a node first, ties to the lower index.

    Args:
        pi: (T, E, L) probabilities for each of `space.cell_types`, edge of `space.edges` and primitive.
        space: the search space.
        rule: "darts": each node keeps the `space.arity` strongest incoming edges, an edge being as strong as its
            most probable primitive other than `none`, which it gets. "pairs": each node keeps the `space.arity` most
            probable (predecessor, primitive) pairs other than `none`, which may share their predecessor.
            Where all edges are kept (`arity` None, NAS-Bench-201) both mean: each edge, in the order of
            `space.edges`, gets its most probable primitive, `none` included. A function of your own is called with
            pi, float64, and the space, and gives a genotype of it.

    Raises:
        InputError: unknown rule, wrong shape, an entry that is not finite or is negative, an edge whose
            probabilities don't sum to 1, or a rule of your own that gives no genotype of the space.

    Source: Liu et al., DARTS, ICLR 2019 ("darts"); Shaw et al., BASE, NeurIPS 2019, whose published cells share
        predecessors ("pairs"); Dong & Yang, NAS-Bench-201, ICLR 2020 (all edges kept).
    """
    _check_rule(rule)
    probabilities = _probabilities(pi, space)
    if callable(rule):
        return _read_by(rule, probabilities, space)
    return read(probabilities, space, rule)


def read(strengths: Floats, space: Space, rule: str = "darts") -> Genotype:
    """What `derive` reads, by the name of a rule, off strengths (T, E, L) that need not be probabilities."""
    cells = []
    for cell in strengths:
        pairs: list[Pair] = []
        for node in space.node_numbers:
            kept = _read_node(cell[None, space.incoming(node)], space, rule)
            pairs += _decode(kept[0], space)
        cells.append(pairs)
    return Genotype.from_cells(cells, space)


def most_probable(
    logits: ArrayLike, space: Space, rule: Rule = "darts", k: int = 5, samples: int = 4096, seed: int = 0
) -> list[Candidate]:
    """The k most probable genotypes under q(z), most probable first.

    The genotype is a random variable: what `derive` reads off z = softmax(logits + ξ), ξ ~ Gumbel(0, 1), a
    temperature-1 sample of q. Edges are independent and the rules work node by node, so with g_u the pairs that node
    u of one cell type keeps,

        P(genotype) = Π_u P(g_u)

    Each P(g_u) is estimated as the frequency p_u among `samples` draws; the k best products of frequencies are then
    found exactly, by best-first search. The draws of different nodes are independent, so by the delta method

        standard error = P · sqrt(Σ_u (1 − p_u) / (samples · p_u))

    (0 for a choice that every draw made: then P is known to about 1/samples).

    Where all edges are kept, z's largest entry is distributed as softmax(logits) itself (the Gumbel-max trick): edges
    take the place of nodes, probabilities are exact and standard errors 0.

    A rule of your own may look at all edges at once: P(genotype) is then its frequency p among the draws, with
    standard error √(p·(1 − p) / samples).

    A node adds its inputs up, so the order of its pairs carries no meaning: choices are counted as sets and written
    with the larger softmax(logits) first, as `derive` would write them.

    Args:
        logits: (T, E, L), finite.
        space: the search space.
        rule: as in `derive`.
        k: how many genotypes; fewer come back when fewer were seen.
        samples: draws for each node.
        seed: of the draws; the same seed gives the same result.

    Raises:
        InputError: unknown rule, wrong shape, an entry that is not finite, k or samples below 1.

    Source: Shaw et al., BASE, NeurIPS 2019 (the posterior over architectures).
    """
    _check_rule(rule)
    for name, value in (("k", k), ("samples", samples)):
        integer(name, value, 1)
    alpha = _array("logits", logits, space)
    if callable(rule):
        return _most_frequent(alpha, space, rule, int(k), int(samples), seed)
    if space.arity is None:
        factors = [
            _edge_factor(cell[index], predecessor, space)
            for cell in alpha
            for index, (predecessor, _) in enumerate(space.edges)
        ]
    else:
        rng = np.random.default_rng(seed)
        factors = [
            _node_factor(cell[space.incoming(node)], space, rule, int(samples), rng)
            for cell in alpha
            for node in space.node_numbers
        ]
    candidates = []
    for ranks in best_products([probabilities for _, probabilities in factors], int(k)):
        chosen = [choices[rank] for (choices, _), rank in zip(factors, ranks, strict=True)]
        p = np.array([probabilities[rank] for (_, probabilities), rank in zip(factors, ranks, strict=True)])
        error = 0.0 if space.arity is None else math.sqrt(float(((1 - p) / (samples * p)).sum()))
        per_cell = len(factors) // len(space.cell_types)
        cells = [sum(chosen[i : i + per_cell], ()) for i in range(0, len(chosen), per_cell)]
        probability = float(p.prod())
        candidates.append(Candidate(Genotype.from_cells(cells, space), probability, probability * error))
    return candidates


def _most_frequent(
    alpha: Floats, space: Space, rule: Callable[[Floats, Space], Genotype], k: int, samples: int, seed: int
) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    counts: Counter[Genotype] = Counter()
    written: dict[Genotype, Genotype] = {}
    for _ in range(samples):
        genotype = _read_by(rule, _softmax(alpha + rng.gumbel(size=alpha.shape)), space)
        same = _in_order(genotype, space)
        counts[same] += 1
        written.setdefault(same, genotype)
    found = []
    for genotype, count in counts.most_common(k):
        p = count / samples
        found.append(Candidate(written[genotype], p, math.sqrt(p * (1 - p) / samples)))
    return found


def _read_by(rule: Callable[[Floats, Space], Genotype], pi: Floats, space: Space) -> Genotype:
    name = getattr(rule, "__name__", type(rule).__name__)
    genotype = rule(pi.copy(), space)
    if not isinstance(genotype, Genotype):
        raise InputError(f"rule: {name} gives {type(genotype).__name__}; expected a Genotype")
    try:
        genotype.validate(space)
    except InputError as error:
        raise InputError(f"rule: {name} gives no genotype of {space.name}: {error}") from None
    return genotype


def _in_order(genotype: Genotype, space: Space) -> Genotype:
    """The same with the pairs of every node sorted: their order carries no meaning."""
    if space.arity is None:
        return genotype
    cells = []
    for cell in space.cell_types:
        pairs = genotype.cells[cell]
        nodes = [pairs[i : i + space.arity] for i in range(0, len(pairs), space.arity)]
        cells.append([pair for node in nodes for pair in sorted(node)])
    return Genotype.from_cells(cells, space)


def undecided(pi: ArrayLike, space: Space, margin: float = 0.1) -> list[UndecidedEdge]:
    """Edges whose best primitive leads the runner-up by less than `margin` of the best: p1 − p2 < margin · p1.

    The primitives compared are those that `derive` chooses from: without `none`, except where all edges are kept.

    Args:
        pi: (T, E, L) probabilities, as in `derive`.
        space: the search space.
        margin: relative lead below which an edge counts as undecided; 0 reports none.

    Returns:
        Undecided edges, cell type by cell type in the order of `space.edges`.

    Raises:
        InputError: as `derive`, and for a margin that is negative or not a number.
    """
    if not margin >= 0:
        raise InputError(f"margin: {margin!r}; expected a number of at least 0")
    columns = readable(space)
    found: list[UndecidedEdge] = []
    if len(columns) < 2:  # a single primitive has no runner-up
        _probabilities(pi, space)
        return found
    for cell_type, cell in zip(space.cell_types, _probabilities(pi, space), strict=True):
        for (predecessor, node), edge in zip(space.edges, cell, strict=True):
            first, second = columns[np.argsort(-edge[columns], kind="stable")[:2]]
            p1, p2 = float(edge[first]), float(edge[second])
            if p1 - p2 < margin * p1:
                names = space.primitives[first], space.primitives[second]
                found.append(UndecidedEdge(cell_type, predecessor, node, *names, (p1, p2)))
    return found


def readable(space: Space) -> NDArray[np.intp]:
    """Columns of the primitives that a genotype may get: `none` counts only where every edge is kept."""
    return np.array([i for i, name in enumerate(space.primitives) if space.arity is None or name != NONE])


def _read_node(z: Floats, space: Space, rule: str) -> NDArray[np.intp]:
    """What one node keeps in each of S samples, z (S, predecessors, L) → (S, kept) codes predecessor·L + primitive."""
    columns = readable(space)
    strengths = z[:, :, columns]
    predecessors = np.arange(z.shape[1])
    codes = predecessors[:, None] * space.num_primitives + columns
    if space.arity is not None and rule == "pairs":
        kept = np.argsort(-strengths.reshape(len(z), -1), axis=1, kind="stable")[:, : space.arity]
        return np.take(codes, kept)
    best: NDArray[np.intp] = codes[predecessors, strengths.argmax(axis=2)]
    if space.arity is None:
        return best
    kept = np.argsort(-strengths.max(axis=2), axis=1, kind="stable")[:, : space.arity]
    chosen: NDArray[np.intp] = np.take_along_axis(best, kept, axis=1)
    return chosen


def _decode(codes: NDArray[np.intp], space: Space) -> Choice:
    places = (divmod(code, space.num_primitives) for code in codes.tolist())
    return tuple((space.primitives[primitive], predecessor) for predecessor, primitive in places)


def _edge_factor(logits: Floats, predecessor: int, space: Space) -> tuple[list[Choice], list[float]]:
    """Exact choices of one edge that is always kept, most probable first."""
    probabilities = _softmax(logits)
    order = np.argsort(-probabilities, kind="stable")
    return [((space.primitives[i], predecessor),) for i in order], probabilities[order].tolist()


def _node_factor(
    logits: Floats, space: Space, rule: str, samples: int, rng: np.random.Generator
) -> tuple[list[Choice], list[float]]:
    """Choices of one node seen among the draws, with their frequencies, most frequent first."""
    z = _softmax(logits + rng.gumbel(size=(samples, *logits.shape)))
    codes = np.sort(_read_node(z, space, rule), axis=1)
    sets, counts = np.unique(codes, axis=0, return_counts=True)
    pi = _softmax(logits).ravel()
    order = np.argsort(-counts, kind="stable")
    choices = [_decode(codes[np.argsort(-pi[codes], kind="stable")], space) for codes in sets[order]]
    return choices, (counts[order] / samples).tolist()


def best_products(factors: list[list[float]], k: int) -> list[tuple[int, ...]]:
    """Ranks, one for each factor, of the k largest products of one entry from each descending factor.

    Best-first: the successors of a combination (one rank increased) are never larger than it, so whatever the heap
    yields next is the next best.
    """
    start = (0,) * len(factors)
    heap = [(-math.prod(factor[0] for factor in factors), start)]
    seen = {start}
    best: list[tuple[int, ...]] = []
    while heap and len(best) < k:
        _, ranks = heapq.heappop(heap)
        best.append(ranks)
        for i, factor in enumerate(factors):
            successor = (*ranks[:i], ranks[i] + 1, *ranks[i + 1 :])
            if successor[i] < len(factor) and successor not in seen:
                seen.add(successor)
                product = math.prod(f[rank] for f, rank in zip(factors, successor, strict=True))
                heapq.heappush(heap, (-product, successor))
    return best


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalized: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return normalized


def _check_rule(rule: Rule) -> None:
    if not callable(rule) and rule not in RULES:
        raise InputError(f"rule: {rule!r}; expected one of {', '.join(RULES)}, or a function of pi and space")


def _array(what: str, value: ArrayLike, space: Space) -> Floats:
    try:
        array: NDArray[Any] = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: not an array of numbers: {error}") from error
    expected = (len(space.cell_types), space.num_edges, space.num_primitives)
    if array.shape != expected:
        raise InputError(f"{what}: shape {array.shape}; expected (cell types, edges, primitives) = {expected}")
    if not np.isfinite(array).all():
        place = _place(~np.isfinite(array), space)
        raise InputError(f"{what}: {array[~np.isfinite(array)][0]} at {place}; expected finite numbers")
    return array


def _probabilities(pi: ArrayLike, space: Space) -> Floats:
    array = _array("pi", pi, space)
    if (array < 0).any():
        raise InputError(
            f"pi: {array[array < 0][0]:g} at {_place(array < 0, space)}; expected probabilities, never negative"
        )
    sums = array.sum(axis=2)
    # Wide enough for half precision; what it catches are logits that were never put through a softmax.
    off = np.abs(sums - 1) > 1e-2
    if off.any():
        raise InputError(
            f"pi: edge {_place(off, space)} sums to {sums[off][0]:g}; expected probabilities that sum to 1"
        )
    return array


def _place(mask: NDArray[np.bool_], space: Space) -> str:
    """Where the first True of a (T, E) or (T, E, L) mask is, in words."""
    cell, edge, *primitive = np.argwhere(mask)[0]
    predecessor, node = space.edges[edge]
    name = f" {space.primitives[primitive[0]]}" if primitive else ""
    return f"{space.cell_types[cell]} {predecessor}->{node}{name}"
