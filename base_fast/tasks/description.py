"""What can be said of a task before anything is trained on it: meta-features, and a few of its images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.random import generator, key
from base_fast.tasks.task import Task

FEATURES = (
    "log classes",
    "log images",
    "log images per class",
    "log resolution",
    "label entropy",
    "brightness",
    "contrast",
    "colour",
    "flat pixels",
    "edges",
    "coarse variance",
    "variance between classes",
    "centroid accuracy",
)
"""Names of the meta-features (F); see `describe`."""
SIDE = 16
"""Pixels a side of the images that a description keeps."""
IMAGES = 256
"""The most images of a task that its description keeps, and PER_CLASS the most of a class."""
PER_CLASS = 16

_COARSE = 4
_LOOKED_AT = 1024


@dataclass(frozen=True, eq=False)
class TaskDescription:
    """A task as a value network sees it.

    Attributes:
        name: of the task.
        features: (F,) float64 meta-features; NaN for what is not known.
        images: (n, 3, SIDE, SIDE) uint8, a few of each class; none where they are not known.
        labels: (n,) int64 of these images.
    """

    name: str
    features: Tensor
    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.features.dtype != torch.float64 or self.features.shape != (len(FEATURES),):
            raise InputError(
                f"features: got {self.features.dtype} {tuple(self.features.shape)}, expected float64 ({len(FEATURES)},)"
            )
        if self.images.dtype != torch.uint8 or self.images.shape[1:] != (3, SIDE, SIDE):
            raise InputError(
                f"images: got {self.images.dtype} {tuple(self.images.shape)}, expected uint8 (n, 3, {SIDE}, {SIDE})"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"labels: got {self.labels.dtype} {tuple(self.labels.shape)}, expected int64 ({len(self.images)},)"
            )

    @classmethod
    def of_numbers(
        cls,
        name: str,
        classes: int | None = None,
        images: int | None = None,
        resolution: int | None = None,
    ) -> TaskDescription:
        """A task of which numbers are known at most, not the images: a benchmark's column."""
        known = dict.fromkeys(FEATURES, math.nan)
        if classes is not None:
            known["log classes"] = known["label entropy"] = math.log(classes)
        if images is not None:
            known["log images"] = math.log(images)
        if images is not None and classes is not None:
            known["log images per class"] = math.log(images / classes)
        if resolution is not None:
            known["log resolution"] = math.log(resolution)
        features = torch.tensor(list(known.values()), dtype=torch.float64, device="cpu")
        none = torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8, device="cpu")
        return cls(name, features, none, torch.empty(0, dtype=torch.int64, device="cpu"))


def describe(task: Task) -> TaskDescription:
    """Describe a task by its training images alone; a pure function of them.

    Of at most 1024 images, pixels in [0, 1]: brightness and contrast are their mean and standard deviation; colour the
    mean standard deviation over the channels of a pixel; flat pixels the share that equals its right neighbour; edges
    the mean absolute difference of neighbours, in units of the contrast; coarse variance the share of the variance that
    images of 4×4 pixels keep, and variance between classes that of these pixels which the classes' means explain.
    Centroid accuracy is that of the nearest class mean of 4×4 pixels, of one half of the images, on the other half: a
    landmark of how hard the task is (Pfahringer et al., ICML 2000). Label entropy is in nats.
    """
    train = task.train
    order = torch.randperm(len(train), generator=generator(key(0)), device="cpu")
    looked = order[:_LOOKED_AT]
    x, y = train.read(looked).double() / 255, train.labels[looked]
    shares = torch.bincount(train.labels, minlength=task.num_classes).double() / len(train)
    contrast = x.std(correction=0).clamp_min(1 / 255)
    across = (x[..., 1:] - x[..., :-1]).abs()
    down = (x[..., 1:, :] - x[..., :-1, :]).abs()
    pooled = F.adaptive_avg_pool2d(x, _COARSE).flatten(1)
    between = _class_means(pooled, y, task.num_classes)[y]
    spread = (pooled - pooled.mean(dim=0)).square().mean().clamp_min(1e-12)
    features = (
        math.log(task.num_classes),
        math.log(len(train)),
        math.log(len(train) / task.num_classes),
        math.log(task.resolution),
        torch.special.entr(shares).sum().item(),
        x.mean().item(),
        contrast.item(),
        x.std(dim=1, correction=0).mean().item(),
        (across == 0).double().mean().item() if across.numel() else 1.0,
        ((across.mean() if across.numel() else 0.0) + (down.mean() if down.numel() else 0.0)) / (2 * contrast.item()),
        (pooled.var(correction=0) / contrast.square()).item(),
        ((between - pooled.mean(dim=0)).square().mean() / spread).item(),
        _centroid_accuracy(pooled, y, task.num_classes),
    )
    kept = _some_of_each(train.labels[order], task.num_classes)
    return TaskDescription(
        task.name,
        torch.tensor([float(value) for value in features], dtype=torch.float64, device="cpu"),
        _small(train.read(order[kept])),
        train.labels[order[kept]],
    )


def _class_means(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, D): means of x (n, D) by label; 0 for a class without any."""
    sums = x.new_zeros(classes, x.shape[1]).index_add_(0, labels, x)
    return sums / torch.bincount(labels, minlength=classes).clamp_min(1).unsqueeze(1)


def _centroid_accuracy(x: Tensor, labels: Tensor, classes: int) -> float:
    """Share of the second half of x (n, D) whose nearest class mean of the first half is its own."""
    half = len(x) // 2
    if half == 0:
        return 1.0 / classes
    known = torch.bincount(labels[:half], minlength=classes) > 0
    distances = torch.cdist(x[half:], _class_means(x[:half], labels[:half], classes))
    nearest = distances.masked_fill(~known, math.inf).argmin(dim=1)
    return (nearest == labels[half:]).double().mean().item()


def _some_of_each(labels: Tensor, classes: int) -> Tensor:
    """Numbers of the first images of each class, as many of each, in their order: (n,) int64."""
    count = min(max(IMAGES // classes, 1), PER_CLASS)
    found = [(labels == label).nonzero()[:count, 0] for label in range(classes)]
    return torch.cat(found[: max(IMAGES, 1)]).sort().values


def _small(images: Tensor) -> Tensor:
    """uint8 (n, 3, R, R) → (n, 3, SIDE, SIDE)."""
    if images.shape[-1] == SIDE:
        return images.clone()
    resized = F.interpolate(images.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)
