"""Where each weight tensor lives in the flat vector of all weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from base_fast.errors import InputError


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors that lie one after another in a vector of `numel` elements."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.shapes):
            raise InputError(f"layout: got {len(self.names)} names and {len(self.shapes)} shapes, expected as many")
        for name, shape in zip(self.names, self.shapes, strict=True):
            if not isinstance(name, str) or any(not isinstance(size, int) or size < 0 for size in shape):
                raise InputError(f"layout: got {name!r} of shape {shape!r}, expected a name and sizes ≥ 0")
        if len(set(self.names)) != len(self.names):
            raise InputError("layout: names must be unique")

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        """From shapes by name, in this order."""
        return cls(tuple(shapes), tuple(tuple(shape) for shape in shapes.values()))

    @cached_property
    def sizes(self) -> list[int]:
        """Elements of each tensor."""
        return [math.prod(shape) for shape in self.shapes]

    @cached_property
    def numel(self) -> int:
        """P, elements of all."""
        return sum(self.sizes)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each tensor lies in the vector, by name."""
        ends = list(accumulate(self.sizes))
        return {name: slice(end - size, end) for name, end, size in zip(self.names, ends, self.sizes, strict=True)}

    def split(self, theta: Tensor) -> list[Tensor]:
        """Views of `theta` (numel,) in order, made by one split, whose backward is one concatenation."""
        parts = torch.split(theta, self.sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """The same views by name."""
        return dict(zip(self.names, self.split(theta), strict=True))

    def difference(self, other: Layout) -> str | None:
        """The first way in which `other` differs, in words; None if they are equal."""
        mine, theirs = (
            dict(zip(self.names, self.shapes, strict=True)),
            dict(zip(other.names, other.shapes, strict=True)),
        )
        for name, shape in mine.items():
            if name not in theirs:
                return f"{name} is missing"
            if theirs[name] != shape:
                return f"{name} has shape {theirs[name]}, expected {shape}"
        extra = next((name for name in theirs if name not in mine), None)
        if extra is not None:
            return f"{extra} is not expected"
        return None if self == other else "the order of the tensors differs"
