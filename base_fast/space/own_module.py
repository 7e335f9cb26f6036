"""A primitive that is a PyTorch module of somebody's own: a name and a factory. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from base_fast.errors import InputError

Factory = Callable[[int, int, bool], Any]


@dataclass(frozen=True)
class OwnModule:
    """Whatever module a factory makes: (B, C, H, W) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""

    name: str
    stride: int
    factory: Factory = field(compare=False, repr=False)
    origin: str = field(init=False)
    """Where the factory comes from: two of one origin are versions of the same."""

    def __post_init__(self) -> None:
        named = self.factory if hasattr(self.factory, "__qualname__") else type(self.factory)
        object.__setattr__(self, "origin", f"{named.__module__}.{named.__qualname__}")

    def build(self, channels: int, affine: bool) -> Any:
        """A new module; raises InputError where the factory fails, or gives something else."""
        call = f"{self.name}: its factory, called with channels={channels}, stride={self.stride}, affine={affine},"
        try:
            module = self.factory(channels, self.stride, affine)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{call} fails: {type(error).__name__}: {' '.join(str(error).split())}") from error
        if not (callable(module) and hasattr(module, "named_parameters")):
            raise InputError(f"{call} gives {type(module).__name__}; expected a torch.nn.Module")
        return module

    def shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        """Of its weights in a search."""
        return _shapes(self.factory, self, channels)


@lru_cache(maxsize=1024)
def _shapes(factory: Factory, layer: OwnModule, channels: int) -> dict[str, tuple[int, ...]]:
    # Kept, as ops ask in every call; by the factory too, for a later version of it is an equal layer.
    return {name: tuple(weight.shape) for name, weight in layer.build(channels, affine=False).named_parameters()}
