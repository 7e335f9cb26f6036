"""Any map-style PyTorch data set as a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from base_fast.errors import InputError
from base_fast.tasks.decode import damage, square_rgb
from base_fast.tasks.lazy import LazySource
from base_fast.tasks.resize import square

# So many items, drawn always alike, are read to see whether a data set's attribute says what its items say.
CHECKED = 32


def from_dataset(
    dataset: Dataset[Any],
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    cache: bool = True,
) -> LazySource:
    """Use a data set whose items are (image, class number).

    Labels are those of the items. They are taken from the attribute `targets`, `labels` or `_labels` where 32 of the
    items agree with it, and all items are compared with it when they are read; otherwise every item is read once. The
    data set must give the same image each time: augmentation belongs to training, not to the data.

    Args:
        dataset: has `__len__` and `__getitem__`; images are Pillow images, or tensors (C, H, W) or (H, W) with one or
            three channels, uint8 in [0, 255] or floating point in [0, 1].
        name: what the data is called; None takes the class's name.
        class_names: one per class; None takes `dataset.classes` when there is one and the items' labels are not
            changed on the way, else the numbers that occur.
        cache: keep decoded images in memory.

    Raises:
        InputError: items are not (image, class number), an image cannot be read, or labels are out of range.
    """
    name = name or type(dataset).__name__
    mapped = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if isinstance(dataset, IterableDataset) or not mapped:
        raise InputError(f"dataset: {name} has no length or no items by index, expected a map-style data set")
    count = len(dataset)  # type: ignore[arg-type]  # Dataset declares no __len__
    labels = _attribute(dataset)
    draws = torch.Generator().manual_seed(0)
    checked = torch.randperm(count, generator=draws, device="cpu")[:CHECKED].tolist()
    agree = (
        labels is not None and len(labels) == count and all(_item(dataset, i, name)[1] == labels[i] for i in checked)
    )
    if class_names is None and (labels is None or agree) and not _changes_labels(dataset):
        class_names = _class_names(dataset)
    if labels is None or not agree:
        labels = torch.tensor([_item(dataset, i, name)[1] for i in range(count)], device="cpu")
    known = labels

    def read(index: int, resolution: int) -> Tensor:
        image, label = _item(dataset, index, name)
        if label != known[index]:
            raise InputError(f"{name}[{index}]: its label is {label}, but was {int(known[index])} before or in targets")
        return _image(image, resolution, f"{name}[{index}]")

    # A user's data set may hold an open file or a cursor, which threads must not share.
    return LazySource(name, labels, class_names, read, cache=cache, threads=False)


def _item(dataset: Any, index: int, name: str) -> tuple[Any, int]:
    where = f"{name}[{index}]"
    try:
        item = dataset[index]
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{where}: {reason}; expected an (image, class number) pair") from error
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        found = f"{len(item)} values" if isinstance(item, (tuple, list)) else f"a {type(item).__name__}"
        raise InputError(f"{where}: the item is {found}, expected an (image, class number) pair")
    return item[0], _class_number(item[1], where)


def _class_number(label: Any, where: str) -> int:
    try:
        number = label.item() if hasattr(label, "item") else label  # one element of any shape
    except (ValueError, RuntimeError):
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or abs(number) >= 2**63:
        shape = f" {tuple(label.shape)}" if getattr(label, "shape", ()) else f" {str(label)[:40]!r}"
        raise InputError(f"{where}: labels are class numbers, got {type(label).__name__}{shape}")
    return number


def _attribute(dataset: Any) -> Tensor | None:
    """What the data set itself says of its labels: whole numbers (N,), or None."""
    if isinstance(dataset, Subset):
        inner = _attribute(dataset.dataset)
        indices = torch.as_tensor(np.asarray(list(dataset.indices), dtype=np.int64), device="cpu")
        fits = inner is not None and (len(indices) == 0 or int(indices.abs().max()) < len(inner))
        return inner[indices] if inner is not None and fits else None
    if isinstance(dataset, ConcatDataset):
        parts = [_attribute(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if known and len(known) == len(parts) else None
    for name in ("targets", "labels", "_labels"):
        value = getattr(dataset, name, None)
        if value is not None:
            return _numbers(value)
    return None


def _numbers(value: Any) -> Tensor | None:
    try:
        numbers = (
            value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value), device="cpu")
        )
    except (TypeError, ValueError, RuntimeError):
        return None
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers.flatten()
    whole = not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool)
    return numbers.to(torch.int64) if numbers.ndim == 1 and whole else None


def _changes_labels(dataset: Any) -> bool:
    if isinstance(dataset, Subset):
        return _changes_labels(dataset.dataset)
    return getattr(dataset, "target_transform", None) is not None


def _class_names(dataset: Any) -> Sequence[str] | None:
    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset)
    names = getattr(dataset, "classes", None)
    if not isinstance(names, (list, tuple, np.ndarray)):
        return None
    # torchvision's ImageNet gives a tuple of synonyms per class
    return [", ".join(map(str, name)) if isinstance(name, (list, tuple)) else str(name) for name in names]


def _image(image: Any, resolution: int, where: str) -> Tensor:
    if not isinstance(image, Tensor):
        if not hasattr(image, "convert"):
            raise InputError(f"{where}: image is {type(image).__name__}, expected a Pillow image or a tensor")
        try:
            return square_rgb(image, resolution)
        except Exception as error:  # Pillow raises errors of many types on damaged files
            raise InputError(f"{where}: cannot be decoded ({damage(error)})") from error
    image = image.detach().cpu()
    if image.ndim == 2:
        image = image.unsqueeze(0)
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise InputError(f"{where}: image is {tuple(image.shape)}, expected (3, H, W), (1, H, W) or (H, W)")
    if image.is_floating_point():
        low, high = image.min(), image.max()
        if not (low >= 0 and high <= 1):  # also where one is NaN
            outside = f"{low:g} to {high:g}"
            raise InputError(
                f"{where}: floating point image outside [0, 1] ({outside}); leave normalization out of the data set"
            )
        image = (image * 255).round()
    elif image.dtype != torch.uint8:
        raise InputError(f"{where}: image is {image.dtype}, expected uint8 or floating point in [0, 1]")
    return square(image.to(torch.uint8).expand(3, -1, -1).unsqueeze(0), resolution)[0]
