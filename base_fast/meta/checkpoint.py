"""Variables and their optimizers' slots as the named tensors of a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from base_fast.meta.rules import Slots
from base_fast.meta.variables import GROUPS, Group, Variables


def pack(variables: Variables, slots: Mapping[Group, Slots], prefix: str = "") -> dict[str, Tensor]:
    """Named tensors: <prefix>mu, rho, alpha, and <prefix>slots.<group>.<number>."""
    tensors = {f"{prefix}{group}": x for group, x in variables.named().items()}
    return tensors | {f"{prefix}slots.{group}.{j}": x for group, own in slots.items() for j, x in enumerate(own)}


def unpack(
    tensors: Mapping[str, Tensor], like: Mapping[Group, Slots], prefix: str = ""
) -> tuple[Variables, dict[Group, Slots]]:
    """The inverse of `pack`; `like` says how many slots each group has."""
    slots = {g: tuple(tensors[f"{prefix}slots.{g}.{j}"] for j in range(len(own))) for g, own in like.items()}
    return Variables(**{group: tensors[f"{prefix}{group}"] for group in GROUPS}), slots
