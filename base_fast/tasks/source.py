"""Where images come from: the protocol, arrays in memory, and a view of some classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.resize import check_resolution, square

COPIED = 256
LISTED = 5


@runtime_checkable
class Source(Protocol):
    """N labelled images that can be read by index at any resolution."""

    @property
    def name(self) -> str:
        """What the data is called in the names of tasks and in reports."""

    @property
    def num_classes(self) -> int:
        """Number of classes, at least 2."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""

    @property
    def labels(self) -> Tensor:
        """int64 (N,), each in [0, num_classes)."""

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        """Read the images `indices` (int64 (B,)) as RGB: uint8 (B, 3, R, R) with R = `resolution`."""


def on_demand(source: Source) -> bool:
    """Whether images are best left in a source until batches ask for them, as its attribute `on_demand` says.

    Without one, tasks take copies.
    """
    return bool(getattr(source, "on_demand", False))


def expect(source: Source, batches: Sequence[Tensor], resolution: int) -> None:
    """Tell a source that has a method `expect` which batches (indices, int64 (B,)) will be asked for next."""
    ahead = getattr(source, "expect", None)
    if ahead is not None:
        ahead(batches, resolution)


def check_labels(
    name: str, labels: Tensor | Sequence[int], class_names: Sequence[str] | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Check the labels of a source against its class names.

    Args:
        name: the source's name, for messages.
        labels: N class numbers.
        class_names: one name per class; None names the classes 0 to max(labels) by their numbers.

    Returns:
        Labels as int64 (N,), and the class names.

    Raises:
        InputError: no images, a label out of range, or fewer than two classes.
    """
    try:
        numbers = torch.as_tensor(labels, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: labels are no class numbers ({' '.join(str(error).split())})") from None
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers.flatten()
    whole = not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool)
    if numbers.ndim != 1 or not whole:
        raise InputError(f"{name}: labels are {numbers.dtype} {tuple(numbers.shape)}, expected whole numbers (N,)")
    numbers = numbers.to(torch.int64)
    if len(numbers) == 0:
        raise InputError(f"{name}: no images; check the path and the split")
    low, high = int(numbers.min()), int(numbers.max())
    if class_names is None and low >= 0:
        # Not 0 to the largest: numbering that starts at 1, or one stray label of 10⁹, must not make empty classes.
        occurring, numbers = torch.unique(numbers, return_inverse=True)
        class_names, high = list(map(str, occurring.tolist())), len(occurring) - 1
    names = tuple(map(str, class_names or ()))
    if low < 0 or high >= len(names):
        wrong = low if low < 0 else high
        raise InputError(f"{name}: label {wrong} is out of range for {len(names)} classes; number them from 0")
    if len(names) < 2:
        raise InputError(f"{name}: only one class ({', '.join(names)}), expected at least two to tell apart")
    return numbers, names


def check_known(name: str, found: Sequence[str], known: Sequence[str]) -> None:
    """Raise InputError when there are images to measure on of a class of which there are none to learn from.

    Args:
        name: what the images to measure on are called, for the message.
        found: the names of their classes.
        known: the names of the classes of the images to learn from.
    """
    unknown = [one for one in found if one not in set(known)]
    if unknown:
        missing = [one for one in known if one not in set(found)]
        besides = f"these have {_listed(missing)} besides" if missing else f"these have {_listed(known)}"
        raise InputError(f"{name} has images of {_listed(unknown)}, but those to learn from have none; {besides}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:LISTED])) + (", ..." if len(names) > LISTED else "")


class ArraySource:
    """Images held in memory.

    Args:
        name: what the data is called.
        images: uint8 (N, 3, H, W), or grey (N, 1, H, W) or (N, H, W).
        labels: whole numbers (N,) or (N, 1).
        class_names: one per class; None makes a class of every number that occurs.
        on_demand: let tasks take their images from here batch by batch, not copies of them all.

    Raises:
        InputError: shapes or dtypes differ, labels are out of range, or there are fewer than two classes.
    """

    def __init__(
        self,
        name: str,
        images: Tensor,
        labels: Tensor | Sequence[int],
        class_names: Sequence[str] | None = None,
        on_demand: bool = False,
    ) -> None:
        if images.dtype != torch.uint8:
            raise InputError(f"{name}: images are {images.dtype}, expected uint8 (0 to 255)")
        if images.ndim == 3:
            images = images.unsqueeze(1)
        if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
            raise InputError(
                f"{name}: images are {tuple(images.shape)}, expected (N, 3, H, W), (N, 1, H, W) or (N, H, W)"
            )
        self.name = name
        self.labels, self.class_names = check_labels(name, labels, class_names)
        if len(images) != len(self.labels):
            raise InputError(f"{name}: {len(images)} images but {len(self.labels)} labels")
        self._images, self.on_demand = images, on_demand

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        images = torch.empty(
            (len(indices), 3, check_resolution(resolution), resolution), dtype=torch.uint8, device="cpu"
        )
        # In parts: of all of them, a copy at their own size and one at the wanted size would stand beside each other.
        for to, chosen in zip(images.split(COPIED), indices.split(COPIED), strict=True):
            to[:] = square(self._images[chosen].expand(-1, 3, -1, -1), resolution)
        return images


class ClassSubset:
    """The images of some classes of a source, relabelled 0, 1, ... in the order given; copies no images."""

    def __init__(self, source: Source, classes: Sequence[int]) -> None:
        new_label = torch.full((source.num_classes,), -1, dtype=torch.int64, device="cpu")
        new_label[list(classes)] = torch.arange(len(classes), device="cpu")
        relabelled = new_label[source.labels]
        self._source = source
        self._indices = torch.nonzero(relabelled >= 0).flatten()
        self.name, self.on_demand = source.name, on_demand(source)
        names = [source.class_names[c] for c in classes]
        self.labels, self.class_names = check_labels(source.name, relabelled[self._indices], names)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        return self._source.images(self._indices[indices], resolution)

    def expect(self, batches: Sequence[Tensor], resolution: int) -> None:
        expect(self._source, [self._indices[batch] for batch in batches], resolution)


def select_classes(source: Source, classes: Sequence[int]) -> ClassSubset:
    """Keep only some classes, e.g. to hold the others out.

    Args:
        source: any source.
        classes: class numbers of `source`; they become 0, 1, ... in this order.

    Raises:
        InputError: a class is out of range or named twice, fewer than two classes are left, or they have no images.
    """
    classes = [int(c) for c in classes]
    wrong = [c for c in classes if not 0 <= c < source.num_classes]
    if wrong:
        raise InputError(f"classes: {wrong[0]} is not a class of {source.name}, expected 0 to {source.num_classes - 1}")
    if len(set(classes)) < len(classes):
        raise InputError(f"classes: {classes} names a class twice")
    if len(classes) < 2:
        raise InputError(f"classes: {classes} of {source.name}, expected at least two to tell apart")
    return ClassSubset(source, classes)
