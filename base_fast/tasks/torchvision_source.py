"""torchvision's classification data sets by name."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import Any

from base_fast.errors import InputError
from base_fast.tasks.dataset import from_dataset
from base_fast.tasks.lazy import LazySource
from base_fast.tasks.optional import require


def open_torchvision(
    name: str,
    root: str | Path,
    split: str = "train",
    download: bool = False,
    cache: bool = True,
    **options: Any,
) -> LazySource:
    """Open a data set of `torchvision.datasets`.

    Args:
        name: the class, e.g. "CIFAR10", "FashionMNIST", "SVHN".
        root: folder that holds the data, as torchvision lays it out.
        split: "train" or "test"; data sets with other splits take their own names, e.g. "val".
        download: let torchvision fetch missing files.
        cache: keep decoded images in memory.
        options: further arguments of the class; they win over the ones above.

    Raises:
        InputError: torchvision is missing, there is no such data set or split, or its files are not in `root`.
    """
    datasets = require("torchvision.datasets", "torchvision", f"the source torchvision ({name or 'no name'})")
    known = [n for n in datasets.__all__ if inspect.isclass(getattr(datasets, n))]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or ["CIFAR10", "CIFAR100", "FashionMNIST"]
        raise InputError(f"name: torchvision has no data set {name!r}, expected for example {', '.join(close)}")
    kind = getattr(datasets, name)
    accepted = inspect.signature(kind).parameters
    arguments: dict[str, Any] = {"root": str(root)}
    if "train" in accepted:
        if split not in ("train", "test"):
            raise InputError(f"split: {split!r}, expected 'train' or 'test' for {name}")
        arguments["train"] = split == "train"
    elif "split" in accepted:
        arguments["split"] = split
    if download and "download" in accepted:
        arguments["download"] = True
    arguments.update(options)
    try:
        dataset = kind(**arguments)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} cannot be opened in {root}: {reason} (download = True lets torchvision fetch it)"
        ) from error
    return from_dataset(dataset, name=name, cache=cache)
