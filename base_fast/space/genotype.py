"""A genotype: the cells that a search ends with, as data and as text."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from base_fast.errors import InputError
from base_fast.space import notation
from base_fast.space.notation import short
from base_fast.space.primitives import PRIMITIVES, is_primitive_name
from base_fast.space.space import CELL_TYPES, DARTS, NONE, SPACES, Space, check_concat, check_fields

Pair = tuple[str, int]

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
"""What a node of a recurrent cell applies to its predecessor (`space.recurrent`)."""

_PAIR = re.compile(r"([A-Za-z0-9_]+)~(-?[0-9]+)")
_CELLS = re.compile(r"(?:normal|recurrent):([^;>]*)->([^;>]*)(?:;\s*reduce:([^;>]*)->([^;>]*))?")


@dataclass(frozen=True, init=False)
class Genotype:
    """The chosen cells, written as DARTS writes them.

    A cell is a tuple of (primitive, predecessor) pairs. Pairs 2i and 2i+1 enter node i+2; predecessors 0 and 1 are
    the two previous cells. A NAS-Bench-201 genotype lists its six edges in `normal` (0→1, 0→2, 1→2, 0→3, 1→3, 2→3),
    has `normal_concat=(3,)` and an empty `reduce`.

    Lists are accepted wherever tuples are stored, so that genotypes copied from published code work as they are.
    The constructor checks types, `validate` checks the meaning.

    Raises:
        InputError: names the field and the entry that is not a (string, integer) pair or not an integer.

    Source: Liu et al., DARTS, ICLR 2019 (notation); Dong & Yang, NAS-Bench-201, ICLR 2020 (the six-edge cell).
    """

    normal: tuple[Pair, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Pair, ...]
    reduce_concat: tuple[int, ...]

    def __init__(
        self,
        normal: Sequence[Sequence[str | int]],
        normal_concat: Sequence[int],
        reduce: Sequence[Sequence[str | int]],
        reduce_concat: Sequence[int],
    ) -> None:
        object.__setattr__(self, "normal", _pairs("normal", normal))
        object.__setattr__(self, "normal_concat", _integers("normal_concat", normal_concat))
        object.__setattr__(self, "reduce", _pairs("reduce", reduce))
        object.__setattr__(self, "reduce_concat", _integers("reduce_concat", reduce_concat))

    @property
    def cells(self) -> dict[str, tuple[Pair, ...]]:
        """The pairs by cell type: {"normal": ..., "reduce": ...}."""
        return {"normal": self.normal, "reduce": self.reduce}

    @property
    def concats(self) -> dict[str, tuple[int, ...]]:
        """The concatenated nodes by cell type."""
        return {"normal": self.normal_concat, "reduce": self.reduce_concat}

    @property
    def keeps_all_edges(self) -> bool:
        """Whether this is a NAS-Bench-201 cell: one pair for each edge, the last node is the output, no reduce."""
        if self.reduce or self.reduce_concat or len(self.normal_concat) != 1:
            return False
        predecessors = [predecessor for _, predecessor in self.normal]
        output = self.normal_concat[0]
        # The length is compared first: the output is any integer, and its edges could be very many.
        return len(predecessors) == output * (output + 1) // 2 > 0 < output and predecessors == [
            predecessor for node in range(1, output + 1) for predecessor in range(node)
        ]

    @property
    def is_recurrent(self) -> bool:
        """Whether this is a recurrent cell: one pair for each node, of nothing but activations (`space.recurrent`)."""
        return (
            bool(self.normal)
            and not self.reduce
            and not self.reduce_concat
            and all(primitive in ACTIVATIONS for primitive, _ in self.normal)
        )

    @property
    def known_space(self) -> Space | None:
        """The space of this package, with as many nodes as it takes, in which the genotype lies; None outside them."""
        for space in SPACES.values():
            per_node = len(self.normal) // 2 if space.arity else max(self.normal_concat, default=0)
            if per_node > 0:
                candidate = space.with_nodes(per_node)
                try:
                    self.validate(candidate)
                except InputError:
                    continue
                return candidate
        return None

    def validate(self, space: Space | None = None) -> None:
        """Check that the genotype describes cells that can be built.

        Args:
            space: the genotype must lie in this space. None accepts every published cell: any number of nodes with
                two pairs each, any known primitive, any part of the nodes concatenated; or a NAS-Bench-201 cell.

        Raises:
            InputError: names the cell, the pair and what is wrong with it.
        """
        if space is not None:
            self._validate_in(space)
        elif self.keeps_all_edges:
            _check_primitives("normal", self.normal, tuple(PRIMITIVES), "known")
        else:
            for cell, pairs in self.cells.items():
                if not pairs:
                    raise InputError(f"{cell}: no pairs; expected two for each node")
                if len(pairs) % 2:
                    raise InputError(f"{cell}: {len(pairs)} pairs, an odd number; expected two for each node")
                _check_primitives(cell, pairs, tuple(PRIMITIVES), "known")
                _check_predecessors(cell, pairs, inputs=DARTS.inputs, arity=2)
                check_concat(f"{cell}_concat", self.concats[cell], DARTS.inputs, len(pairs) // 2)

    def _validate_in(self, space: Space) -> None:
        for cell, pairs in self.cells.items():
            concat = self.concats[cell]
            if cell not in space.cell_types:
                if pairs or concat:
                    raise InputError(f"{cell}: not empty; the space {space.name} has no {cell} cell")
                continue
            expected = space.num_edges if space.arity is None else space.nodes * space.arity
            if len(pairs) != expected:
                odd = ", an odd number" if space.arity == 2 and len(pairs) % 2 else ""
                raise InputError(f"{cell}: {len(pairs)} pairs{odd}; the space {space.name} expects {expected}")
            _check_primitives(cell, pairs, space.primitives, space.name)
            if space.arity is None:
                for index, ((_, predecessor), (source, node)) in enumerate(zip(pairs, space.edges, strict=True)):
                    if predecessor != source:
                        raise InputError(
                            f"{cell}[{index}]: predecessor {predecessor} of node {node}; expected {source} here"
                        )
            else:
                _check_predecessors(cell, pairs, space.inputs, space.arity)
            check_concat(f"{cell}_concat", concat, space.inputs, space.nodes)
            if concat != space.concat:
                raise InputError(f"{cell}_concat: {concat}; the space {space.name} expects {space.concat}")

    def to_json(self) -> str:
        """One line of JSON with the four fields; pairs are two-element lists."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """The inverse of `to_json`; raises InputError naming a missing, unknown or ill-formed field."""
        try:
            data: Any = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"genotype: not JSON: {error}") from error
        if not isinstance(data, dict):
            raise InputError(f"genotype: a JSON {type(data).__name__}; expected an object")
        check_fields("genotype", data, tuple(field.name for field in fields(cls)))
        return cls(**data)

    def compact(self) -> str:
        """One readable line that `parse` reads back.

        `normal: sep_conv_3x3~1 sep_conv_3x3~0 | ... -> 2,3,4,5; reduce: ... -> 2,3,4,5`, primitive~predecessor with
        a bar between nodes; of a recurrent cell `recurrent: relu~0 | tanh~1 | ... -> 1,2,...`. A NAS-Bench-201 genotype
        gives that benchmark's own string, `|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|...|`.
        """
        written = [f"{primitive}~{predecessor}" for primitive, predecessor in self.normal]
        if self.keeps_all_edges:
            starts = [node * (node - 1) // 2 for node in range(1, self.normal_concat[0] + 1)]
            return "+".join(f"|{'|'.join(written[start : start + 1 + i])}|" for i, start in enumerate(starts))
        parts = []
        for cell, pairs in self.cells.items():
            if cell == "reduce" and not pairs and not self.reduce_concat:
                continue
            written = [f"{primitive}~{predecessor}" for primitive, predecessor in pairs]
            name, per_node = ("recurrent", 1) if self.is_recurrent else (cell, 2)
            nodes = " | ".join(" ".join(written[i : i + per_node]) for i in range(0, len(written), per_node))
            parts.append(f"{name}: {nodes} -> {','.join(map(str, self.concats[cell]))}")
        return "; ".join(parts)

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """The inverse of `compact`; raises InputError quoting the part that cannot be read.

        Reads other notations too (`space.notation`): JSON, Genotype(normal=[...], ...) as DARTS and base_fast print
        it, a NAS-Bench-201 structure, or a text in which one of these stands.
        """
        if not isinstance(text, str):
            raise InputError(f"genotype: a {type(text).__name__}; expected a string")
        if text.strip().startswith("|"):
            return cls._parse_nas_bench_201(text.strip())
        match = _CELLS.fullmatch(text.strip())
        if match is None:
            found = notation.find(text)
            if isinstance(found, str):
                return cls.parse(found)
            check_fields("genotype", found, notation.FIELDS)
            return cls(**found)
        normal, normal_concat, reduce, reduce_concat = (group or "" for group in match.groups())
        return cls(
            _parse_pairs(re.split(r"[\s|,]+", normal.strip(" |,"))),
            _parse_concat("normal_concat", normal_concat),
            _parse_pairs(re.split(r"[\s|,]+", reduce.strip(" |,"))),
            _parse_concat("reduce_concat", reduce_concat),
        )

    @classmethod
    def _parse_nas_bench_201(cls, text: str) -> Genotype:
        pairs: list[Pair] = []
        nodes = text.split("+")
        for number, node in enumerate(nodes, start=1):
            if len(node) < 2 or node[0] != "|" or node[-1] != "|":
                raise InputError(f"genotype: cannot read node {number}, {short(node)}; expected |PRIMITIVE~0|...|")
            entering = _parse_pairs(node[1:-1].split("|"))
            if [predecessor for _, predecessor in entering] != list(range(number)):
                raise InputError(
                    f"genotype: node {number} is {short(node)}; expected predecessors 0..{number - 1} in order"
                )
            pairs += entering
        return cls(pairs, (len(nodes),), (), ())

    @classmethod
    def random(cls, space: Space, seed: int) -> Genotype:
        """A uniformly drawn genotype of `space`, the random-search baseline of the literature.

        Every node gets `space.arity` different predecessors, all sets equally likely, in increasing order, each with
        a uniformly drawn primitive other than `none`. Where all edges are kept (`arity` None, NAS-Bench-201) every
        edge gets a uniformly drawn primitive, `none` included. The same seed gives the same genotype.
        """
        rng = np.random.default_rng(seed)
        choices = [name for name in space.primitives if space.arity is None or name != NONE]
        cells = []
        for _ in space.cell_types:
            pairs: list[Pair] = []
            for node in space.node_numbers:
                kept = node if space.arity is None else space.arity
                for predecessor in sorted(rng.choice(node, size=kept, replace=False).tolist()):
                    pairs.append((choices[rng.integers(len(choices))], predecessor))
            cells.append(pairs)
        return cls.from_cells(cells, space)

    @classmethod
    def from_cells(cls, cells: Sequence[Sequence[Pair]], space: Space) -> Genotype:
        """The genotype with one list of pairs for each of `space.cell_types`, in that order."""
        by_type = dict(zip(space.cell_types, cells, strict=True))
        concat = {cell: space.concat if cell in by_type else () for cell in CELL_TYPES}
        return cls(by_type["normal"], concat["normal"], by_type.get("reduce", ()), concat["reduce"])


def _check_primitives(cell: str, pairs: tuple[Pair, ...], allowed: tuple[str, ...], whose: str) -> None:
    for index, (primitive, _) in enumerate(pairs):
        if primitive not in allowed:
            raise InputError(
                f"{cell}[{index}]: unknown primitive {primitive!r}; {whose} primitives: {', '.join(allowed)}"
            )


def _check_predecessors(cell: str, pairs: tuple[Pair, ...], inputs: int, arity: int) -> None:
    for index, (_, predecessor) in enumerate(pairs):
        node = inputs + index // arity
        if not 0 <= predecessor < node:
            raise InputError(
                f"{cell}[{index}]: predecessor {predecessor} of node {node} is not before it; expected 0 to {node - 1}"
            )


def _pairs(field: str, value: object) -> tuple[Pair, ...]:
    pairs = []
    for index, pair in enumerate(_sequence(field, value)):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise InputError(f"{field}[{index}]: {short(pair)}; expected a (primitive, predecessor) pair")
        primitive, predecessor = pair
        if not is_primitive_name(primitive):
            raise InputError(
                f"{field}[{index}]: primitive {short(primitive)}; expected letters, digits and underscores"
            )
        pairs.append((str(primitive), _integer(f"{field}[{index}]: predecessor", predecessor)))
    return tuple(pairs)


def _integers(field: str, value: object) -> tuple[int, ...]:
    return tuple(_integer(f"{field}[{index}]:", node) for index, node in enumerate(_sequence(field, value)))


def _sequence(field: str, value: object) -> Sequence[Any]:
    # range: DARTS itself writes normal_concat=range(2, 6).
    if not isinstance(value, (list, tuple, range)):
        raise InputError(f"{field}: {short(value)}; expected a list or a tuple")
    return value


def _integer(what: str, value: Any) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InputError(f"{what} {short(value)}; expected an integer") from None


def _parse_pairs(words: Sequence[str]) -> list[Pair]:
    pairs = []
    for word in words if any(words) else ():
        match = _PAIR.fullmatch(word)
        if match is None:
            raise InputError(f"genotype: cannot read {short(word)}; expected PRIMITIVE~PREDECESSOR")
        pairs.append((match[1], int(match[2])))
    return pairs


def _parse_concat(field: str, text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    for word in words:
        if re.fullmatch(r"-?[0-9]+", word) is None:
            raise InputError(f"{field}: cannot read {short(word)}; expected integers with commas between")
    return [int(word) for word in words]
