"""What the weighted sums of an edge's branches share: their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import autocast, checks


def present(branches: Sequence[Tensor | None], weights: Tensor) -> tuple[list[Tensor], Tensor, list[int]]:
    """The branches that are not None, the weights, and the positions of those branches in them.

    Any mix of the two memory formats stays as it is; what lies in neither, such as a slice, is copied. Under
    `torch.autocast` branches take the widest of their dtypes, float32 for float16, and the weights follow them.

    Raises:
        InputError: there are none, or they or the weights do not fit together.
    """
    positions = [l for l, branch in enumerate(branches) if branch is not None]
    found = [branch for branch in branches if branch is not None]
    if not found:
        got = f"{len(branches)} None" if branches else "an empty list"
        raise InputError(f"branches: got {got}, expected at least one tensor")
    found = [autocast.widened(x) for x in found]
    first, name = found[0], f"branches[{positions[0]}]"
    checks.floating(name, first)
    under_autocast = autocast.asked(first.device.type) is not None
    if under_autocast and all(isinstance(x, Tensor) for x in found):
        wide = reduce(torch.promote_types, (x.dtype for x in found))
        found = [x.to(wide) for x in found]
        first = found[0]
    for l, branch in zip(positions[1:], found[1:], strict=True):
        checks.like(f"branches[{l}]", branch, name, first)
    weights = autocast.widened(weights)
    checks.floating("weights", weights)
    if under_autocast:
        weights = weights.to(first.dtype)
    if (weights.shape, weights.dtype, weights.device) != ((len(branches),), first.dtype, first.device):
        raise InputError(
            f"weights: got {checks.describe(weights)}, expected shape ({len(branches)},), one per branch, "
            f"and the branches' dtype and device: {checks.describe(first)}"
        )
    checks.no_tangents(weights, *found)
    return [dense(branch) for branch in found], weights.contiguous(), positions


def dense_like(x: Tensor) -> Tensor:
    """What kernels return for x: a new tensor in its memory format."""
    return torch.empty_like(x, memory_format=format_of(x))


def dense(y: Tensor, like: Tensor | None = None) -> Tensor:
    """y in the memory format of `like`, by default its own; copied only where it lies in none or another."""
    try:
        return y.contiguous(memory_format=format_of(y if like is None else like))
    except RuntimeError:  # torch.func.vmap knows one format only
        return y.contiguous()


def format_of(x: Tensor) -> torch.memory_format:
    """channels_last for a tensor that lies so in memory, else contiguous."""
    try:
        last = not x.is_contiguous() and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    except RuntimeError:  # torch.func.vmap knows one format only
        last = False
    return torch.channels_last if last else torch.contiguous_format


def in_formats(results: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """What a reference computed, in the memory formats in which kernels return it."""
    return [dense(y, x) for y, x in zip(results, like, strict=True)]
