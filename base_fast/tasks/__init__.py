"""Data sources → task distributions → batches."""

from __future__ import annotations

from base_fast.tasks.augmentation import Augmentation
from base_fast.tasks.config import SourceConfig, TaskConfig, open_source, open_tasks
from base_fast.tasks.dataset import from_dataset
from base_fast.tasks.description import FEATURES, TaskDescription, describe
from base_fast.tasks.distribution import TaskDistribution
from base_fast.tasks.on_demand import OnDemand, images_of
from base_fast.tasks.source import ArraySource, Source, select_classes
from base_fast.tasks.split import Split
from base_fast.tasks.target import TargetConfig, open_target
from base_fast.tasks.task import Task, whole_task

__all__ = [
    "FEATURES",
    "ArraySource",
    "Augmentation",
    "OnDemand",
    "Source",
    "SourceConfig",
    "Split",
    "TargetConfig",
    "Task",
    "TaskConfig",
    "TaskDescription",
    "TaskDistribution",
    "describe",
    "from_dataset",
    "images_of",
    "open_source",
    "open_target",
    "open_tasks",
    "select_classes",
    "whole_task",
]
