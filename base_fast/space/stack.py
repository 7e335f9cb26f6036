"""A space without cells: one choice of block for each layer of a network, as in NAS-Bench-Macro."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.space.genotype import Genotype
from base_fast.space.lookup import lookup
from base_fast.space.primitives import is_primitive_name
from base_fast.space.space import SPACES, Space, check_fields


@dataclass(frozen=True)
class StackGenotype:
    """The block of every layer, first layer first; its text is one digit per layer, the block's number."""

    digits: str

    def compact(self) -> str:
        """The digits."""
        return self.digits


@dataclass(frozen=True)
class Stack:
    """Networks that differ in the block of each of `layers` layers.

    It has the shape of a `Space` with one cell type and one edge per layer, so that whatever works on choices
    (T, E) works here too: T = 1, E = `layers`, L blocks.

    Raises:
        InputError: fewer than two blocks or more than ten, or no layer.
    """

    name: str
    primitives: tuple[str, ...]
    layers: int

    def __post_init__(self) -> None:
        whole_numbers(self)
        object.__setattr__(self, "primitives", tuple(self.primitives))
        if not 2 <= len(set(self.primitives)) == len(self.primitives) <= 10:
            raise InputError(f"primitives: {self.primitives!r}; expected two to ten different blocks")
        if not all(is_primitive_name(primitive) for primitive in self.primitives):
            raise InputError(f"primitives: {self.primitives!r}; expected letters, digits and underscores")
        if self.layers < 1:
            raise InputError(f"layers: {self.layers!r}; expected an integer of at least 1")

    @property
    def cell_types(self) -> tuple[str, ...]:
        """One, the whole stack."""
        return ("stack",)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(layer, next layer) of every block."""
        return tuple((layer, layer + 1) for layer in range(self.layers))

    @property
    def num_edges(self) -> int:
        """E, the number of layers."""
        return self.layers

    @property
    def num_primitives(self) -> int:
        """L, the number of blocks."""
        return len(self.primitives)

    @property
    def arity(self) -> None:
        """Every layer keeps its block."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and integers, ready for JSON; read back by `from_dict`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stack:
        """The inverse of `to_dict`; raises InputError for a missing, unknown or ill-formed field."""
        check_fields("space", data, tuple(field.name for field in fields(cls)))
        return cls(**data)


AnySpace = Space | Stack
AnyGenotype = Genotype | StackGenotype

NAS_BENCH_MACRO = Stack("nas_bench_macro", ("identity", "mb3_k3", "mb6_k5"), 8)
"""Su et al., "Prioritized Architecture Sampling with Monte-Carlo Tree Search", CVPR 2021: 3^8 = 6,561 networks of eight
layers, each an identity, or a MobileNetV2 block with kernel 3 and expansion 3, or with kernel 5 and expansion 6."""

ALL_SPACES: dict[str, AnySpace] = {**SPACES, NAS_BENCH_MACRO.name: NAS_BENCH_MACRO}


def get_any(space: str | Space) -> AnySpace:
    """As `get`, with the names of spaces without cells."""
    return space if isinstance(space, Space) else lookup("space", space, ALL_SPACES)


def from_dict_any(data: Mapping[str, Any]) -> AnySpace:
    """The inverse of a space's `to_dict`, spaces without cells included."""
    return Stack.from_dict(data) if "layers" in data else Space.from_dict(data)
