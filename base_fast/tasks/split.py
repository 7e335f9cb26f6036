"""One half of a task: images, in memory or found when asked for, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from base_fast.engine import current
from base_fast.errors import InputError
from base_fast.random import fold_in, generator
from base_fast.tasks.augmentation import Augmentation, random_crop_flip, random_cutout
from base_fast.tasks.on_demand import OnDemand
from base_fast.tasks.source import Source

R = TypeVar("R")

STATISTICS_IMAGES = 2000
STATISTICS_PIXELS = 2**20  # at once
STATISTICS_SEED = 0
# Batches that a source which decodes when asked may begin with before they are asked for.
AHEAD = 2
# Images of one flat colour have no spread; a grey level of 1 keeps their normalization finite.
SMALLEST_STD = 1 / 255


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images of one size."""

    images: Tensor | OnDemand
    """uint8 (N, 3, R, R)."""
    labels: Tensor
    """int64 (N,), each in [0, num_classes)."""
    num_classes: int
    """Number of classes."""
    mean: Tensor
    """float32 (3,), per channel, of pixels in [0, 1]."""
    std: Tensor
    """float32 (3,), per channel, of pixels in [0, 1]."""

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise InputError(f"images: {self.images.dtype} {shape}, expected uint8 (N, 3, R, R)")
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != shape[:1]:
            raise InputError(f"labels: {self.labels.dtype} {tuple(self.labels.shape)}, expected int64 ({shape[0]},)")
        if shape[0] == 0:
            raise InputError("images: none, expected at least one")
        if int(self.labels.min()) < 0 or int(self.labels.max()) >= self.num_classes:
            worst = max(self.labels.tolist(), key=lambda label: abs(label - (self.num_classes - 1) / 2))
            raise InputError(f"labels: {worst} is out of range for num_classes = {self.num_classes}")
        for field in ("mean", "std"):
            value = getattr(self, field)
            if value.dtype != torch.float32 or tuple(value.shape) != (3,):
                raise InputError(f"{field}: {value.dtype} {tuple(value.shape)}, expected float32 (3,)")
        if not bool((self.std > 0).all()):
            raise InputError(f"std: {self.std.tolist()}, expected positive numbers")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resolution(self) -> int:
        """R, pixels per side."""
        return self.images.shape[-1]

    def at_most(self, images: int | None) -> int:
        """How many images there are, of so many that are asked for; all of them for None."""
        return len(self) if images is None else min(images, len(self))

    def batch(
        self, key: Tensor, step: int, batch_size: int, augmentation: Augmentation | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw training batch number `step`: a pure function of its arguments.

        An epoch is a permutation drawn from fold_in(key, epoch), cut into batches; what is left over at its end is
        dropped. With fewer than `batch_size` images, a batch is all of them.

        Args:
            key: int64 (2,).
            step: 0, 1, ..., over all epochs.
            batch_size: B.
            augmentation: random changes; None changes nothing.

        Returns:
            x float32 (B, 3, R, R), normalized; y int64 (B,).

        Raises:
            InputError: batch_size < 1 or step < 0.
        """
        _check_batch_size(batch_size)
        if step < 0:
            raise InputError(f"step: {step}, expected 0 or more")
        size = min(batch_size, len(self))
        epoch, place = divmod(step, len(self) // size)
        chosen = self._chosen(key, step, size)
        images, labels = self.read(chosen), self.labels[chosen]
        if isinstance(self.images, OnDemand):
            self.images.expect([self._chosen(key, step + i, size) for i in range(1, 1 + AHEAD)])
        if augmentation is None:
            return self.normalized(images), labels
        draws = generator(fold_in(fold_in(key, epoch), 1 + place))
        images = random_crop_flip(images, augmentation, draws)
        return random_cutout(self.normalized(images), augmentation, draws), labels

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through all images in order, not augmented; the last batch may be smaller.

        Yields:
            x float32 (B, 3, R, R), normalized; y int64 (B,).
        """
        _check_batch_size(batch_size)
        places = torch.arange(len(self), device="cpu").split(batch_size)
        for number, chosen in enumerate(places):
            images = self.read(chosen)
            if isinstance(self.images, OnDemand):
                self.images.expect(places[number + 1 : number + 1 + AHEAD])
            yield self.normalized(images), self.labels[chosen]

    def over_batches(
        self, batch_size: int, function: Callable[[Tensor, Tensor], R], images: int | None = None
    ) -> list[R]:
        """function(x, y) of every batch of the first `images` images (all of them for None), as `batches` has them, in
        order. Several processes share the batches; what it gives goes between them as pickles."""
        _check_batch_size(batch_size)
        places = torch.arange(self.at_most(images), device="cpu").split(batch_size)
        engine = current()
        step = engine.world

        def one(number: int) -> R:
            images = self.read(places[number])
            if isinstance(self.images, OnDemand):
                self.images.expect(places[number + step : number + step * (1 + AHEAD) : step])
            return function(self.normalized(images), self.labels[places[number]])

        return engine.map(range(len(places)), one)

    def read(self, chosen: Tensor) -> Tensor:
        """Images by their places, int64 (B,): uint8 (B, 3, R, R)."""
        return self.images.read(chosen) if isinstance(self.images, OnDemand) else self.images[chosen]

    def _chosen(self, key: Tensor, step: int, size: int) -> Tensor:
        epoch, place = divmod(step, len(self) // size)
        return _order(*key.tolist(), epoch, len(self))[place * size : (place + 1) * size]

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, R, R) → float32 (B, 3, R, R): pixels in [0, 1], less the mean, by the standard deviation."""
        scale = 1 / (255 * self.std)
        return images.float().mul_(scale.view(3, 1, 1)).sub_((self.mean / self.std).view(3, 1, 1))


@lru_cache(maxsize=8)
def _order(seed: int, offset: int, epoch: int, count: int) -> Tensor:
    """The permutation of an epoch: its batches ask for it one after another. Nobody writes to it."""
    epoch_key = fold_in(torch.tensor([seed, offset], device="cpu"), epoch)
    return torch.randperm(count, generator=generator(epoch_key), device="cpu")


def statistics_images(source: Source) -> Tensor:
    """The images that stand for a source, always the same: the indices of at most 2000, int64 (n,)."""
    return some_of(len(source.labels))


def some_of(count: int) -> Tensor:
    """Places among `count`, always the same: at most 2000, int64 (n,)."""
    draws = torch.Generator().manual_seed(STATISTICS_SEED)
    return torch.randperm(count, generator=draws, device="cpu")[:STATISTICS_IMAGES]


def channel_statistics(source: Source, resolution: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a source's pixels in [0, 1], each float32 (3,).

    Taken over `statistics_images`.
    """
    # How often each of the 256 levels occurs says all, and takes no copy of the pixels in floating point.
    counts = torch.zeros(3, 256, dtype=torch.int64, device="cpu")
    for some in statistics_images(source).split(max(STATISTICS_PIXELS // resolution**2, 1)):
        for channel, pixels in enumerate(source.images(some, resolution).unbind(1)):
            counts[channel] += torch.bincount(pixels.flatten(), minlength=256)
    shares = counts.double() / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64, device="cpu") / 255
    mean = shares @ levels
    std = (shares * (levels - mean[:, None]).square()).sum(1).sqrt()
    return mean.float(), std.float().clamp_min(SMALLEST_STD)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size}, expected 1 or more")
