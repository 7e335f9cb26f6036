"""What the weighted sums of an edge's branches share: their arguments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import checks


def present(branches: Sequence[Tensor | None], weights: Tensor) -> tuple[list[Tensor], Tensor, list[int]]:
    """The branches that are not None, the weights, and the positions of those branches in them.

    Any mix of the two memory formats stays as it is; what lies in neither, such as a slice, is copied. Under
    `torch.autocast` the weights follow the branches' dtype.

    Raises:
        InputError: there are none, or they or the weights do not fit together.
    """
    positions = [l for l, branch in enumerate(branches) if branch is not None]
    found = [branch for branch in branches if branch is not None]
    if not found:
        got = f"{len(branches)} None" if branches else "an empty list"
        raise InputError(f"branches: got {got}, expected at least one tensor")
    first, name = found[0], f"branches[{positions[0]}]"
    checks.floating(name, first)
    for l, branch in zip(positions[1:], found[1:], strict=True):
        checks.like(f"branches[{l}]", branch, name, first)
    checks.floating("weights", weights)
    if torch.is_autocast_enabled(first.device.type):
        weights = weights.to(first.dtype)
    if (weights.shape, weights.dtype, weights.device) != ((len(branches),), first.dtype, first.device):
        raise InputError(
            f"weights: got {checks.describe(weights)}, expected shape ({len(branches)},), one per branch, "
            f"and the branches' dtype and device: {checks.describe(first)}"
        )
    checks.no_tangents(weights, *found)
    return [branch.contiguous(memory_format=format_of(branch)) for branch in found], weights.contiguous(), positions


def dense_like(x: Tensor) -> Tensor:
    """What kernels return for x: a new tensor in its memory format."""
    return torch.empty_like(x, memory_format=format_of(x))


def format_of(x: Tensor) -> torch.memory_format:
    """channels_last for a tensor that lies so in memory, else contiguous."""
    if not x.is_contiguous() and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def in_formats(results: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """What a reference computed, in the memory formats in which kernels return it."""
    return [y.contiguous(memory_format=format_of(x)) for y, x in zip(results, like, strict=True)]
