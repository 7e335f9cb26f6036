"""Any map-style PyTorch data set as a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from base_fast.errors import InputError
from base_fast.tasks.decode import BROKEN_IMAGE, square_rgb
from base_fast.tasks.lazy import LazySource
from base_fast.tasks.resize import square


def from_dataset(
    dataset: Dataset[Any],
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    cache: bool = True,
) -> LazySource:
    """Use a data set whose items are (image, class number).

    Labels come from the attribute `targets`, `labels` or `_labels` when there is one; otherwise every item is read
    once. The data set must give the same image each time: augmentation belongs to training, not to the data.

    Args:
        dataset: has `__len__` and `__getitem__`; images are Pillow images, or tensors (C, H, W) or (H, W) with one or
            three channels, uint8 in [0, 255] or floating point in [0, 1].
        name: what the data is called; None takes the class's name.
        class_names: one per class; None takes `dataset.classes` when there is one.
        cache: keep decoded images in memory.

    Raises:
        InputError: items are not (image, class number), an image cannot be read, or labels are out of range.
    """
    name = name or type(dataset).__name__
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(f"dataset: {name} has no length or no items by index, expected a map-style data set")
    if class_names is None:
        class_names = _class_names(dataset)

    def read(index: int, resolution: int) -> Tensor:
        return _image(_item(dataset, index, name)[0], resolution, f"{name}[{index}]")

    # A user's data set may hold an open file or a cursor, which threads must not share.
    return LazySource(name, _labels(dataset, name), class_names, read, cache=cache, threads=False)


def _item(dataset: Any, index: int, name: str) -> tuple[Any, Any]:
    try:
        image, label = dataset[index]
    except (*BROKEN_IMAGE, TypeError) as error:
        raise InputError(f"{name}[{index}]: {error}; expected an (image, class number) pair") from error
    return image, label


def _class_names(dataset: Any) -> Sequence[str] | None:
    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset)
    names = getattr(dataset, "classes", None)
    if names is None:
        return None
    # torchvision's ImageNet gives a tuple of synonyms per class
    return [name if isinstance(name, str) else ", ".join(map(str, name)) for name in names]


def _labels(dataset: Any, name: str) -> Tensor:
    if isinstance(dataset, Subset):
        return _labels(dataset.dataset, name)[torch.as_tensor(list(dataset.indices), dtype=torch.int64)]
    known = None
    if getattr(dataset, "target_transform", None) is None:  # it would make the items' labels differ from the attribute
        known = next(
            (x for x in (getattr(dataset, a, None) for a in ("targets", "labels", "_labels")) if x is not None), None
        )
    if known is None or len(known) != len(dataset):
        known = [_item(dataset, i, name)[1] for i in range(len(dataset))]
    try:
        return torch.as_tensor(known if isinstance(known, Tensor) else np.asarray(known))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: labels are not class numbers; expected (image, class number) items") from error


def _image(image: Any, resolution: int, where: str) -> Tensor:
    if not isinstance(image, Tensor):
        if not hasattr(image, "convert"):
            raise InputError(f"{where}: image is {type(image).__name__}, expected a Pillow image or a tensor")
        try:
            return square_rgb(image, resolution)
        except BROKEN_IMAGE as error:
            raise InputError(f"{where}: cannot be decoded: {error}") from error
    if image.ndim == 2:
        image = image.unsqueeze(0)
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise InputError(f"{where}: image is {tuple(image.shape)}, expected (3, H, W), (1, H, W) or (H, W)")
    if image.is_floating_point():
        if image.min() < 0 or image.max() > 1:
            raise InputError(f"{where}: floating point image outside [0, 1]; leave normalization out of the data set")
        image = (image * 255).round()
    elif image.dtype != torch.uint8:
        raise InputError(f"{where}: image is {image.dtype}, expected uint8 or floating point in [0, 1]")
    return square(image.to(torch.uint8).expand(3, -1, -1).unsqueeze(0), resolution)[0]
