"""What a supernet is built from, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from base_fast.arguments import integer, whole_numbers
from base_fast.errors import InputError
from base_fast.ops.memory import MEMORY
from base_fast.space import Space, get
from base_fast.supernet.stems import STEMS


@dataclass(frozen=True)
class SupernetConfig:
    """Size and shape of the supernet."""

    space: str | Space = "darts"
    """Search space: darts, nas_bench_201, or one of your own: a `Space`, in a file a table of its fields."""
    nodes: int | None = None
    """Computed nodes of a cell; by default the space's own."""
    channels: int = 16
    """Channels of the first cell; every reduction doubles them."""
    layers: int = 8
    """Cells in the stack, reductions included."""
    num_classes: int = 10
    """Classes of a task."""
    stems: tuple[str, ...] = ("32",)
    """Stems around the one cell stack: 32 keeps the resolution, 64 halves it, 224 divides it by eight."""
    reductions: tuple[int, ...] | None = None
    """Indices of the reduction cells; by default layers//3 and 2*layers//3."""
    memory: Literal["store", "store_bf16", "recompute"] = "store"
    """What edges keep for backward: the values before every batch norm, the same in bfloat16, or nothing, to
    compute them again."""
    partial: int = 1
    """K of partial channels: 1/K of them meets an edge's primitives, the rest passes (PC-DARTS: 4); 1 is all."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        # The limits keep what a file says from building for ever.
        for name, most in (("channels", 100_000), ("layers", 1000), ("num_classes", 10_000_000)):
            integer(name, getattr(self, name), 1, most)
        integer("partial", self.partial, 1)
        if self.channels % self.partial:
            raise InputError(f"partial: got {self.partial}, expected a divisor of channels = {self.channels}")
        unknown = [stem for stem in self.stems if stem not in STEMS]
        if unknown or not self.stems or len(set(self.stems)) != len(self.stems):
            raise InputError(f"stems: got {self.stems}, expected different ones of {', '.join(STEMS)}")
        if self.memory not in MEMORY:
            raise InputError(f"memory: got {self.memory!r}, expected one of {', '.join(MEMORY)}")
        if any(not 0 <= i < self.layers for i in self.reductions or ()):
            raise InputError(f"reductions: got {self.reductions}, expected indices below layers = {self.layers}")

    def build_space(self) -> Space:
        """The space that `space` and `nodes` describe."""
        space = get(self.space)
        return space if self.nodes is None else space.with_nodes(self.nodes)

    @property
    def reduction_cells(self) -> frozenset[int]:
        """Indices of the blocks that halve the image."""
        if self.reductions is not None:
            return frozenset(self.reductions)
        return frozenset((self.layers // 3, 2 * self.layers // 3))
