"""The data set that a posterior is adapted to or a network trained on, as configuration."""

from __future__ import annotations

from dataclasses import dataclass

from base_fast.random import key
from base_fast.tasks.config import SourceConfig, open_source
from base_fast.tasks.task import Task, whole_task


@dataclass(frozen=True)
class TargetConfig:
    """One data set as one task: all classes of its source."""

    train: SourceConfig = SourceConfig()
    """Images to learn from."""
    valid: SourceConfig | None = None
    """Images to measure on; without it, a part of `train` is held out."""
    resolution: int = 32
    """Pixels per side."""
    valid_fraction: float = 0.2
    """Share of each class that is held out when there is no `valid`."""
    limit_per_class: int | None = None
    """The largest number of training images per class; all if unset."""
    seed: int = 0
    """Decides on the limited and the held-out images."""


def open_target(config: TargetConfig) -> Task:
    """Open the data set.

    Raises:
        InputError: see open_source and whole_task.
    """
    train = open_source(config.train, config.resolution)
    return whole_task(
        train,
        None if config.valid is None else open_source(config.valid, config.resolution, train.class_names),
        resolution=config.resolution,
        key=key(config.seed),
        valid_fraction=config.valid_fraction,
        limit_per_class=config.limit_per_class,
    )
