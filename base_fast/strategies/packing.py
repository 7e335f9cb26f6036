"""States as the tensors and the JSON of a checkpoint, and back."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from base_fast.errors import InputError

S = TypeVar("S")


def pack(state: Any, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A NamedTuple of tensors, JSON values, tuples of tensors, and further such NamedTuples, by dotted names."""
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {}
    for name, value in state._asdict().items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif hasattr(value, "_fields"):
            inner = pack(value, f"{prefix}{name}.")
            tensors |= inner[0]
            header |= inner[1]
        elif isinstance(value, tuple):
            tensors |= {f"{prefix}{name}.{i}": x for i, x in enumerate(value)}
        else:
            header[prefix + name] = value
    return tensors, header


def unpack(like: S, tensors: dict[str, Tensor], header: dict[str, Any], prefix: str = "") -> S:
    """The inverse of `pack`; `like` is a state of the same search, such as its first.

    Only the first axis of a tensor may have another length: archives and populations grow.

    Raises:
        InputError: a name is missing, or a tensor is of another dtype or shape.
    """
    values: dict[str, Any] = {}
    for name, value in like._asdict().items():  # type: ignore[attr-defined]
        full = prefix + name
        if isinstance(value, Tensor):
            values[name] = _taken(full, value, tensors)
        elif hasattr(value, "_fields"):
            values[name] = unpack(value, tensors, header, f"{full}.")
        elif isinstance(value, tuple):
            values[name] = tuple(_taken(f"{full}.{i}", x, tensors) for i, x in enumerate(value))
        elif full in header:
            values[name] = header[full]
        else:
            raise InputError(f"got nothing for {full}; it was written with other settings")
    return type(like)(**values)


def _taken(name: str, like: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    found = tensors.get(name)
    if found is None or found.dtype != like.dtype or found.shape[1:] != like.shape[1:] or found.dim() != like.dim():
        was = "nothing" if found is None else f"{found.dtype} {tuple(found.shape)}"
        shape = ", ".join(("n", *map(str, like.shape[1:])))
        raise InputError(f"got {was} for {name}, expected {like.dtype} ({shape}); it was written with other settings")
    # A copy: what is read from a file may be aligned differently, and sums over it then differ in the last bit.
    return found.to(like.device, copy=True)
