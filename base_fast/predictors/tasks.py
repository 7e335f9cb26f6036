"""Tasks as vectors: of their meta-features, and of a set of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.predictors.ensemble import layer, linear
from base_fast.tasks import FEATURES, TaskDescription

Encoding = Literal["features", "images", "both", "none"]

POOLED = 8
PIXELS = 3 * POOLED**2
HIDDEN, WIDTH = 32, 16
"""Units of the set encoder's layers; length of the vectors of a task's features and of its images."""


class TaskSets(NamedTuple):
    """features (N, F) float32, standardized, 0 where not known. pixels: of each task (n, 192) float32, and labels (n,)
    from 0 to its classes − 1."""

    features: Tensor
    pixels: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]


def feature_scale(tasks: Sequence[TaskDescription]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (F,) of what is known of the features of these tasks alone; 0 and 1 where nothing
    varies."""
    found = torch.stack([task.features for task in tasks])
    known = ~found.isnan()
    count = known.sum(dim=0).clamp_min(1)
    mean = found.nan_to_num(0.0).sum(dim=0) / count
    square = torch.where(known, (found - mean).square(), 0.0).sum(dim=0) / count
    std = square.sqrt()
    return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def task_sets(tasks: Sequence[TaskDescription], mean: Tensor, std: Tensor) -> TaskSets:
    """What the encoders read of tasks; features beyond three standard deviations are cut off there."""
    features = (torch.stack([task.features for task in tasks]).float() - mean) / std
    pixels = [F.adaptive_avg_pool2d(task.images.float() / 127.5 - 1.0, POOLED).flatten(1) for task in tasks]
    labels = [torch.unique(task.labels, return_inverse=True)[1] for task in tasks]
    return TaskSets(features.nan_to_num(0.0).clamp(-3.0, 3.0), tuple(pixels), tuple(labels))


def task_shapes(encoding: Encoding) -> dict[str, tuple[int, ...]]:
    """Tensors of a member's encoders of tasks."""
    shapes: dict[str, tuple[int, ...]] = {}
    if encoding in ("features", "both"):
        layer(shapes, "features", len(FEATURES), WIDTH)
    if encoding in ("images", "both"):
        layer(shapes, "image", PIXELS, HIDDEN)
        layer(shapes, "class", HIDDEN, HIDDEN)
        layer(shapes, "set", 2 * HIDDEN, WIDTH)
    return shapes


def task_width(encoding: Encoding) -> int:
    """Length of a task's vector."""
    return {"features": WIDTH, "images": WIDTH, "both": 2 * WIDTH, "none": 0}[encoding]


def encode_tasks(
    encoding: Encoding, p: Mapping[str, Tensor], sets: TaskSets, images: int | None = None, draws: Tensor | None = None
) -> Tensor:
    """(K, N, task_width) vectors.

    The vector of a set of images is a function of the mean and the standard deviation, over the classes, of functions
    of the classes' means of functions of images: it knows neither the order of images nor the numbers of classes
    (Zaheer et al., "Deep Sets", NeurIPS 2017). A set without images has the vector 0.

    Args:
        images: of each set, the most that are looked at; all for None.
        draws: (N,) numbers from 0 to 1 that say where in its set each begins.
    """
    found = []
    if encoding in ("features", "both"):
        members = len(p["features.weight"])
        found.append(torch.tanh(linear(sets.features.expand(members, -1, -1), p, "features")))
    if encoding in ("images", "both"):
        found.append(_encode_sets(p, sets, images, draws))
    return torch.cat(found, dim=2)


def _encode_sets(p: Mapping[str, Tensor], sets: TaskSets, images: int | None, draws: Tensor | None) -> Tensor:
    pixels, owners, classes = [], [], [0]
    for i, (own, labels) in enumerate(zip(sets.pixels, sets.labels, strict=True)):
        chosen = torch.arange(len(own), device="cpu")
        if images is not None and len(own) > images:
            start = 0 if draws is None else int(draws[i] * len(own))
            chosen = (chosen[:images] + start) % len(own)
        # Classes of all tasks are numbered through; one of which no image is looked at is left out below.
        owners.append(labels[chosen] + classes[-1])
        classes.append(classes[-1] + (int(labels.max()) + 1 if len(labels) else 0))
        pixels.append(own[chosen])
    members, width = len(p["image.weight"]), p["set.weight"].shape[-1]
    if classes[-1] == 0:
        return p["image.weight"].new_zeros(members, len(sets.pixels), width)
    x = F.relu(linear(torch.cat(pixels).expand(members, -1, -1), p, "image"))
    per_class, seen = _means(x, torch.cat(owners), classes[-1])
    per_class = F.relu(linear(per_class, p, "class"))
    tasks = torch.repeat_interleave(torch.tensor(classes, device="cpu").diff())[seen]
    mean, known = _means(per_class[:, seen], tasks, len(sets.pixels))
    square, _ = _means((per_class[:, seen] - mean[:, tasks]).square(), tasks, len(sets.pixels))
    vector = torch.tanh(linear(torch.cat((mean, (square + 1e-6).sqrt()), dim=2), p, "set"))
    return vector * known.unsqueeze(1)


def _means(x: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means (K, count, D) of x (K, n, D) by group, 0 where there is none, and which groups have some (count,)."""
    number = torch.bincount(groups, minlength=count)
    sums = x.new_zeros(len(x), count, x.shape[2]).index_add(1, groups, x)
    return sums / number.clamp_min(1).to(x).unsqueeze(1), number > 0
