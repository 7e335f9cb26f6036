"""Modules whose forward pass is fused in place: their class becomes a subclass of what it was."""

from __future__ import annotations

from typing import Any

from torch import nn


class Fused(nn.Module):
    """Ahead of a module's own class, with another forward pass."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Its class is made, and is not to be found by a name.
        return _again, type(self).__bases__, self.__dict__


_MADE: dict[tuple[type[Fused], type[nn.Module]], type[nn.Module]] = {}


def become(module: nn.Module, fused: type[Fused]) -> None:
    """Put a class ahead of the module's own, in place."""
    module.__class__ = _joined(fused, type(module))


def _joined(fused: type[Fused], kind: type[nn.Module]) -> type[nn.Module]:
    """The fused subclass of a class; one for all its instances."""
    if (fused, kind) not in _MADE:
        _MADE[fused, kind] = type(f"Fused{kind.__name__}", (fused, kind), {"__module__": kind.__module__})
    return _MADE[fused, kind]


def _again(fused: type[Fused], kind: type[nn.Module]) -> nn.Module:
    made: nn.Module = object.__new__(_joined(fused, kind))
    return made
