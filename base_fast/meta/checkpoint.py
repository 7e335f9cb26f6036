"""Variables and their optimizers' slots as the named tensors of a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from base_fast.errors import InputError
from base_fast.meta.rules import Slots
from base_fast.meta.variables import Variables


def pack(variables: Variables, slots: Sequence[Slots]) -> dict[str, Tensor]:
    """Named tensors: mu, rho, alpha, and slots.<group>.<number>."""
    tensors = dict(zip(Variables._fields, variables, strict=True))
    return tensors | {f"slots.{i}.{j}": x for i, own in enumerate(slots) for j, x in enumerate(own)}


def unpack(tensors: Mapping[str, Tensor], like: Sequence[Slots]) -> tuple[Variables, tuple[Slots, ...]]:
    """The inverse of `pack`; `like` says how many slots each group has."""
    slots = tuple(tuple(tensors[f"slots.{i}.{j}"] for j in range(len(own))) for i, own in enumerate(like))
    return Variables(*(tensors[name] for name in Variables._fields)), slots


def matching(name: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors, on the devices of those that the present configuration writes.

    Raises:
        InputError: they are not the same, or of another shape or dtype.
    """
    for key in sorted(found.keys() | expected.keys()):
        was, now = (f"{x[key].dtype} {tuple(x[key].shape)}" if key in x else "nothing" for x in (found, expected))
        if was != now:
            raise InputError(
                f"checkpoint {name}: got {was} for {key}, expected {now}; it was written under another configuration"
            )
    # Copies: what is read from a file may be aligned differently, and sums over it then differ in the last bit.
    return {key: x.to(expected[key].device, copy=True) for key, x in found.items()}
