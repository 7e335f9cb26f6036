"""Search spaces as data: which primitives an edge chooses from, and which edges a cell has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from base_fast.arguments import integer, whole_numbers
from base_fast.errors import InputError
from base_fast.space.lookup import lookup
from base_fast.space.primitives import is_primitive_name

NONE = "none"
SKIP = "skip_connect"
# What a file says must not make a machine count for ever; published cells have up to 7 nodes and 14 primitives.
MOST_NODES, MOST_PRIMITIVES = 100, 1000
CELL_TYPES = ("normal", "reduce")


@dataclass(frozen=True)
class Space:
    """A cell-based search space.

    Node numbers count the inputs: with `inputs=2`, nodes 0 and 1 are the cell's inputs and the first computed node
    is 2. Every computed node has an edge from every node before it.

    Args:
        name: how the space is called in files and messages.
        primitives: what an edge chooses from (L names); contains `none`. Any subset of a space's own is fine.
        inputs: number of input nodes of a cell.
        nodes: number of computed nodes of a cell.
        cell_types: `("normal",)` or `("normal", "reduce")`.
        concat: the computed nodes whose concatenation is the cell's output.
        arity: edges that a node keeps in a genotype; None when it keeps them all.

    Raises:
        InputError: names the field that doesn't fit.

    Source: Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.
    """

    name: str
    primitives: tuple[str, ...]
    inputs: int
    nodes: int
    cell_types: tuple[str, ...]
    concat: tuple[int, ...]
    arity: int | None

    def __post_init__(self) -> None:
        whole_numbers(self)
        for field in ("primitives", "cell_types", "concat"):
            value = getattr(self, field)
            if not isinstance(value, (list, tuple)):
                raise InputError(f"{field}: {value!r}; expected a list or a tuple")
            object.__setattr__(self, field, tuple(value))
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"name: {self.name!r}; expected a non-empty string")
        self._check_primitives()
        for field in ("inputs", "nodes"):
            integer(field, getattr(self, field), 1, MOST_NODES)
        if self.cell_types not in (CELL_TYPES[:1], CELL_TYPES):
            raise InputError(f"cell_types: {self.cell_types!r}; expected ('normal',) or ('normal', 'reduce')")
        check_concat("concat", self.concat, self.inputs, self.nodes)
        # The first computed node has only the inputs before it, so no node can promise more than that many.
        if self.arity is not None and not (_is_int(self.arity) and 1 <= self.arity <= self.inputs):
            raise InputError(f"arity: {self.arity!r}; expected None or an integer from 1 to inputs={self.inputs}")

    def _check_primitives(self) -> None:
        if len(self.primitives) > MOST_PRIMITIVES:
            raise InputError(f"primitives: {len(self.primitives):,}; expected at most {MOST_PRIMITIVES}")
        for primitive in self.primitives:
            if not is_primitive_name(primitive):
                raise InputError(f"primitives: {primitive!r}; expected letters, digits and underscores")
            if self.primitives.count(primitive) > 1:
                raise InputError(f"primitives: {primitive!r} appears {self.primitives.count(primitive)} times")
        if NONE not in self.primitives:
            raise InputError(f"primitives: no 'none' in {self.primitives!r}; an edge must be able to be absent")
        if len(self.primitives) < 2:
            raise InputError("primitives: only 'none'; expected at least one primitive that computes something")

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(predecessor, node) of every edge in DARTS order: for each node, for each predecessor."""
        return tuple((predecessor, node) for node in self.node_numbers for predecessor in range(node))

    @property
    def node_numbers(self) -> range:
        """The numbers of the computed nodes."""
        return range(self.inputs, self.inputs + self.nodes)

    @property
    def num_edges(self) -> int:
        """E, the number of edges of one cell."""
        return _sum_below(self.inputs + self.nodes) - _sum_below(self.inputs)

    @property
    def num_primitives(self) -> int:
        """L, the number of primitives."""
        return len(self.primitives)

    def incoming(self, node: int) -> range:
        """Indices into `edges` of the edges that end in `node`; edge `incoming(node)[p]` comes from node p."""
        if node not in self.node_numbers:
            numbers = self.node_numbers
            raise InputError(f"node: {node!r}; the nodes of {self.name} are {numbers[0]} to {numbers[-1]}")
        start = _sum_below(node) - _sum_below(self.inputs)
        return range(start, start + node)

    def with_nodes(self, nodes: int) -> Space:
        """The same space with another number of computed nodes, all concatenated (only the last where all edges are
        kept, as in NAS-Bench-201)."""
        nodes = integer("nodes", nodes, 1, MOST_NODES)
        computed = tuple(range(self.inputs, self.inputs + nodes))
        return replace(self, nodes=nodes, concat=computed if self.arity is not None else computed[-1:])

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and integers, ready for JSON; read back by `from_dict`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Space:
        """The inverse of `to_dict`; raises InputError for a missing, unknown or ill-formed field."""
        if not isinstance(data, Mapping):
            raise InputError(f"space: a {type(data).__name__}; expected a mapping")
        check_fields("space", data, tuple(field.name for field in fields(cls)))
        return cls(**data)


def check_fields(what: str, data: Mapping[str, Any], expected: tuple[str, ...]) -> None:
    """Raises InputError unless the keys of `data` are exactly `expected`, in any order."""
    for field in expected:
        if field not in data:
            raise InputError(f"{what}: field {field!r} is missing; expected {', '.join(expected)}")
    for field in data:
        if field not in expected:
            raise InputError(f"{what}: unknown field {field!r}; expected {', '.join(expected)}")


def check_concat(what: str, concat: tuple[int, ...], inputs: int, nodes: int) -> None:
    """Raises InputError unless `concat` names at least one computed node, each at most once."""
    if not concat:
        raise InputError(f"{what}: empty; expected at least one node")
    times: Counter[int] = Counter()
    for node in concat:
        if not _is_int(node) or not inputs <= node < inputs + nodes:
            raise InputError(f"{what}: no node {node!r}; the cell's nodes are {inputs} to {inputs + nodes - 1}")
        times[node] += 1
    for node, count in times.items():
        if count > 1:
            raise InputError(f"{what}: node {node} appears {count} times")


def _sum_below(n: int) -> int:
    """0 + 1 + ... + (n - 1)."""
    return n * (n - 1) // 2


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


DARTS = Space(
    name="darts",
    primitives=(
        NONE,
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    ),
    inputs=2,
    nodes=4,
    cell_types=CELL_TYPES,
    concat=(2, 3, 4, 5),
    arity=2,
)
"""The space of Liu et al., DARTS, ICLR 2019, which Shaw et al., BASE, NeurIPS 2019 search too: 14 edges a cell."""

NAS_BENCH_201 = Space(
    name="nas_bench_201",
    primitives=(NONE, "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
    inputs=1,
    nodes=3,
    cell_types=CELL_TYPES[:1],
    concat=(3,),
    arity=None,
)
"""The space of Dong & Yang, NAS-Bench-201, ICLR 2020: 6 edges, all kept, 5^6 = 15,625 genotypes."""

SPACES = {space.name: space for space in (DARTS, NAS_BENCH_201)}


def get(space: str | Space) -> Space:
    """The space of this name ("darts", "nas_bench_201"), or one of your own as it is; raises InputError with what there
    is."""
    return space if isinstance(space, Space) else lookup("space", space, SPACES)
