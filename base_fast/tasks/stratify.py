"""Draws that treat every class alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from base_fast.errors import InputError


def check_fraction(valid_fraction: float) -> None:
    """Raise InputError unless 0 < valid_fraction < 1."""
    if not 0 < valid_fraction < 1:
        raise InputError(f"valid_fraction: {valid_fraction}, expected a share between 0 and 1, e.g. 0.2")


def draw_per_class(
    members: Sequence[Tensor], names: Sequence[str], count: int | None, generator: torch.Generator
) -> list[Tensor]:
    """Shuffle every class's images and keep `count` of them.

    Args:
        members: per class, the indices of its images: int64 (n,).
        names: the classes' names, for messages.
        count: images to keep per class; None keeps all.
        generator: where the draws come from.

    Returns:
        Per class int64 (count,), in drawn order.

    Raises:
        InputError: a class has fewer images than `count`.
    """
    drawn = []
    for indices, name in zip(members, names, strict=True):
        if count is not None and not 1 <= count <= len(indices):
            raise InputError(f"examples per class: {count}, expected 1 to {len(indices)}, as class {name!r} has")
        drawn.append(indices[torch.randperm(len(indices), generator=generator, device="cpu")[:count]])
    return drawn


def split_per_class(drawn: Sequence[Tensor], names: Sequence[str], valid_fraction: float) -> tuple[Tensor, Tensor]:
    """Cut every class into training and validation images, at least one each.

    Args:
        drawn: per class, its images' indices in random order: int64 (n,).
        names: the classes' names, for messages.
        valid_fraction: share of validation images, rounded per class.

    Returns:
        Training and validation indices, int64, sorted by class.

    Raises:
        InputError: a class has fewer than two images, or valid_fraction is not between 0 and 1.
    """
    check_fraction(valid_fraction)
    train, valid = [], []
    for indices, name in zip(drawn, names, strict=True):
        if len(indices) < 2:
            images = f"{len(indices)} image{'' if len(indices) == 1 else 's'}"
            raise InputError(f"class {name!r} has {images} to split, expected at least 2")
        count = min(max(round(len(indices) * valid_fraction), 1), len(indices) - 1)
        valid.append(indices[:count])
        train.append(indices[count:])
    return torch.cat(train), torch.cat(valid)


def members_by_class(labels: Tensor, num_classes: int) -> list[Tensor]:
    """Per class, the indices of its images in order: int64 (n,)."""
    order = torch.argsort(labels, stable=True)
    return list(torch.split(order, torch.bincount(labels, minlength=num_classes).tolist()))
