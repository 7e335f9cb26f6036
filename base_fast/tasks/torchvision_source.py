"""torchvision's classification data sets by name."""

from __future__ import annotations

import difflib
import inspect
import os
import re
from pathlib import Path
from typing import Any

from base_fast.errors import InputError
from base_fast.tasks.dataset import from_dataset
from base_fast.tasks.optional import require
from base_fast.tasks.source import Source, select_classes

HALVES = ("train", "test")


def open_torchvision(
    name: str,
    root: str | Path,
    split: str = "train",
    download: bool = False,
    cache: bool = True,
    **options: Any,
) -> Source:
    """Open a data set of `torchvision.datasets`; classes of which it has no images are left out.

    Args:
        name: the class, e.g. "CIFAR10", "FashionMNIST", "SVHN".
        root: folder that holds the data, as torchvision lays it out.
        split: "train" or "test"; data sets with other splits take their own names, e.g. "val"; EMNIST a variety, such
            as "letters" or, for its other half, "letters-test".
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
    accepted = _parameters(kind)
    root = os.path.expanduser(root)
    arguments: dict[str, Any] = {"root": root, **_split(kind, accepted, split)}
    if download and "download" in accepted:
        arguments["download"] = True
    arguments.update(options)
    try:
        dataset = kind(**arguments)
    except Exception as error:  # the files are the user's, and each class reads its own kind of them
        reason = " ".join(str(error).split()) or type(error).__name__
        absent = "download" in accepted and not download and not isinstance(error, (ValueError, TypeError))
        hint = " (download = True lets torchvision fetch it)" if absent else ""
        raise InputError(f"{name} cannot be opened in {root}: {reason}{hint}") from error
    source = from_dataset(dataset, name=name, cache=cache)
    occurring = source.labels.unique().tolist()
    return source if len(occurring) == source.num_classes else select_classes(source, occurring)


def _parameters(kind: type[Any]) -> set[str]:
    """What a class takes: what it documents, and through `**kwargs` what the classes take that it passes them to."""
    accepted = set(re.findall(r"^ +(\w+) \(", kind.__doc__ or "", re.MULTILINE))
    for one in inspect.getmro(kind):
        parameters = inspect.signature(one).parameters
        accepted |= set(parameters)
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return accepted


def _split(kind: type[Any], accepted: set[str], split: str) -> dict[str, Any]:
    """The arguments that `split` means for this class."""
    name = kind.__name__
    if {"train", "split"} <= accepted:  # EMNIST: varieties, each of two halves
        varieties = tuple(getattr(kind, "splits", ()))
        variety, _, half = split.rpartition("-")
        if half not in HALVES:
            variety, half = split, "train"
        if variety not in varieties:
            expected = f"one of its varieties ({', '.join(varieties)}), followed by -test for the images to test on"
            raise InputError(f"split: {split!r}, but {name} expects {expected}")
        return {"split": variety, "train": half == "train"}
    if "train" in accepted and split in HALVES:
        return {"train": split == "train"}
    for other in ("split", "what"):
        if other in accepted:
            return {other: split}
    if "train" in accepted:
        raise InputError(f"split: {split!r}, expected 'train' or 'test' for {name}")
    if split not in ("", "train"):
        raise InputError(f"split: {split!r}, but {name} has no splits; leave it at train, and a part is held out")
    return {}
