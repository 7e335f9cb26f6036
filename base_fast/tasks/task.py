"""A task: a classification problem with training and validation images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.random import fold_in, generator
from base_fast.tasks.digest import digest
from base_fast.tasks.memory import check_fits
from base_fast.tasks.on_demand import images_of
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.source import Source, check_known, on_demand
from base_fast.tasks.split import Split, channel_statistics, some_of
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

    @cached_property
    def digest(self) -> str:
        """A digest of all labels and class names, and of at most 2000 images of each half, which stand for the others;
        not of what the data is called, nor of where it is read from."""
        halves = [(split.read(some_of(len(split)).sort().values), split.labels) for split in (self.train, self.valid)]
        return digest(self.class_names, *(tensor for half in halves for tensor in half))


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
        valid_source: the images to measure on; its classes go by their names, in any order, and some may be missing.
            None holds out a part of `train_source`.
        resolution: R, pixels per side.
        key: int64 (2,); draws the limited examples and the held-out part.
        valid_fraction: the share held out of each class when `valid_source` is None.
        limit_per_class: examples drawn per class of `train_source`, before a part is held out; None takes all.

    Returns:
        The task, named "<source>-<R>px". Both halves are normalized by the statistics of `train_source`.

    Raises:
        InputError: `valid_source` has a class that `train_source` lacks, a class has too few images, or the images do
            not fit into memory, of which their size is told before the first is read.
    """
    resolution = check_resolution(resolution)
    names = train_source.class_names
    members = members_by_class(train_source.labels, train_source.num_classes)
    drawn = draw_per_class(members, names, limit_per_class, generator(key))
    if valid_source is None:
        train_indices, valid_indices = split_per_class(drawn, names, valid_fraction)
        valid_source, valid_labels = train_source, train_source.labels
    else:
        empty = next((name for name, indices in zip(names, drawn, strict=True) if len(indices) == 0), None)
        if empty is not None:
            raise InputError(f"class {empty!r} of {train_source.name} has no images to learn from, expected some")
        train_indices, valid_indices = torch.cat(drawn), torch.arange(len(valid_source.labels), device="cpu")
        valid_labels = _labels_by_name(valid_source, train_source)
    if not on_demand(train_source):
        check_fits(train_source.name, len(train_indices) + len(valid_indices), resolution)
    # In random order, so that any first part of it is a fair sample, and batch statistics are those of a mixture.
    valid_indices = valid_indices[
        torch.randperm(len(valid_indices), generator=generator(fold_in(key, 1)), device="cpu")
    ]
    # Before the statistics, so that a source that keeps what it reads keeps these images in these very tensors.
    train_images = images_of(train_source, train_indices, resolution)
    valid_images = images_of(valid_source, valid_indices, resolution)
    statistics = channel_statistics(train_source, resolution)
    train = Split(train_images, train_source.labels[train_indices], len(names), *statistics)
    valid = Split(valid_images, valid_labels[valid_indices], len(names), *statistics)
    return Task(f"{train_source.name}-{resolution}px", train, valid, len(names), resolution, names)


def _labels_by_name(valid_source: Source, train_source: Source) -> Tensor:
    """The labels of the images to measure on, as the images to learn from number their classes: int64 (N,)."""
    names, known = valid_source.class_names, train_source.class_names
    if names == known:
        return valid_source.labels
    counts = torch.bincount(valid_source.labels, minlength=len(names)).tolist()
    check_known(
        f"valid_source: {valid_source.name}", [n for n, count in zip(names, counts, strict=True) if count], known
    )
    if len(set(names)) < len(names) or len(set(known)) < len(known):
        raise InputError(
            f"valid_source: {valid_source.name} has other classes than {train_source.name}, and names occur twice; "
            "expected the same, or names to tell them by"
        )
    number = {name: label for label, name in enumerate(known)}
    return torch.tensor([number.get(name, -1) for name in names], device="cpu")[valid_source.labels]
