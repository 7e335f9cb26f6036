"""A task: a classification problem with training and validation images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.random import fold_in, generator
from base_fast.tasks.source import Source
from base_fast.tasks.split import Split, channel_statistics
from base_fast.tasks.stratify import draw_per_class, members_by_class, split_per_class


@dataclass(frozen=True, eq=False)
class Task:
    """A classification problem: what BASE adapts to, and what networks are trained on."""

    name: str
    """What it is called in metrics and reports."""
    train: Split
    """Images to learn from."""
    valid: Split
    """Images to measure on."""
    num_classes: int
    """Number of classes, at least 2."""
    resolution: int
    """R, pixels per side of all images."""
    class_names: tuple[str, ...]
    """One name per class."""

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise InputError(f"num_classes: {self.num_classes}, expected at least 2")
        if len(self.class_names) != self.num_classes:
            raise InputError(f"class_names: {len(self.class_names)} names, expected num_classes = {self.num_classes}")
        for which, split in (("train", self.train), ("valid", self.valid)):
            if split.num_classes != self.num_classes:
                raise InputError(f"{which}: {split.num_classes} classes, expected num_classes = {self.num_classes}")
            if split.resolution != self.resolution:
                raise InputError(f"{which}: {split.resolution} pixels a side, expected resolution = {self.resolution}")


def whole_task(
    train_source: Source,
    valid_source: Source | None = None,
    *,
    resolution: int,
    key: Tensor,
    valid_fraction: float = 0.2,
    limit_per_class: int | None = None,
) -> Task:
    """Make all classes of a source one task, as for adapting to a new data set.

    Args:
        train_source: the images to learn from.
        valid_source: the images to measure on, of the same classes; None holds out a part of `train_source`.
        resolution: R, pixels per side.
        key: int64 (2,); draws the limited examples and the held-out part.
        valid_fraction: the share held out of each class when `valid_source` is None.
        limit_per_class: examples drawn per class of `train_source`, before a part is held out; None takes all.

    Returns:
        The task, named "<source>-<R>px". Both halves are normalized by the statistics of `train_source`.

    Raises:
        InputError: the two sources' classes differ, or a class has too few images.
    """
    if valid_source is not None and valid_source.class_names != train_source.class_names:
        raise InputError(
            f"valid_source: the {valid_source.num_classes} classes of {valid_source.name} are not the "
            f"{train_source.num_classes} of {train_source.name}, expected the same classes in the same order"
        )
    names = train_source.class_names
    members = members_by_class(train_source.labels, train_source.num_classes)
    drawn = draw_per_class(members, names, limit_per_class, generator(key))
    if valid_source is None:
        train_indices, valid_indices = split_per_class(drawn, names, valid_fraction)
        valid_source = train_source
    else:
        train_indices, valid_indices = torch.cat(drawn), torch.arange(len(valid_source.labels), device="cpu")
    # In random order, so that any first part of it is a fair sample, and batch statistics are those of a mixture.
    valid_indices = valid_indices[
        torch.randperm(len(valid_indices), generator=generator(fold_in(key, 1)), device="cpu")
    ]
    statistics = channel_statistics(train_source, resolution)

    def split(source: Source, indices: Tensor) -> Split:
        return Split(source.images(indices, resolution), source.labels[indices], len(names), *statistics)

    train, valid = split(train_source, train_indices), split(valid_source, valid_indices)
    return Task(f"{train_source.name}-{resolution}px", train, valid, len(names), resolution, names)
