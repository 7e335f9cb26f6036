"""Data sources and task distributions as configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from base_fast.errors import InputError
from base_fast.runs import changeable
from base_fast.runs.workers import usable_cores
from base_fast.tasks.digits import open_digits
from base_fast.tasks.distribution import TaskDistribution
from base_fast.tasks.image_folder import FolderListing, read_folder
from base_fast.tasks.memory import can_keep
from base_fast.tasks.on_the_fly import OnTheFly
from base_fast.tasks.prepare import cached
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.shard_index import ShardIndex
from base_fast.tasks.shards import list_shards, read_shards
from base_fast.tasks.source import Source, select_classes
from base_fast.tasks.store import open_stores
from base_fast.tasks.torchvision_source import open_torchvision

Kind = Literal["digits", "torchvision", "folder", "shards", "store"]

MOST_CLASSES = 1_000_000
# What folders inside a data set are called when they are not classes.
SPLITS = ("train", "val", "valid", "validation", "test")


@dataclass(frozen=True)
class SourceConfig:
    """Labelled images, and where they are."""

    kind: Kind = "digits"
    """digits: scikit-learn's 8×8 digits, nothing to fetch. torchvision: one of its data sets. folder: one folder of
    images per class. shards: WebDataset .tar or .tar.gz files. store: what `base-fast prepare` leaves."""
    path: str = changeable("")
    """torchvision: folder that holds the data. folder: folder of class folders, or of <split>/<class>. shards: a file,
    a glob, a brace pattern like train-{000000..000004}.tar, or a folder of files with the split in their names. store:
    the folder that was prepared."""
    name: str = changeable("")
    """torchvision: the data set, e.g. CIFAR10. Otherwise what to call the data; by default the folder's name."""
    split: str = "train"
    """Which part of the data: train, test, val; of EMNIST a variety, e.g. letters or letters-test. Not used by digits,
    nor by folder and shards when the path alone says it."""
    classes: str = ""
    """Keep only these classes, e.g. 0-79 or 0,3,5-7; they are renumbered from 0. Classes that are called by numbers are
    meant by these, others by their place, from 0. Empty keeps all."""
    download: bool = changeable(False)
    """torchvision: let it download missing files."""
    cache: bool = changeable(True)
    """torchvision, folder, shards: keep decoded images in memory; if not, they are decoded each time they are used."""
    cache_dir: str = changeable("")
    """folder, shards: folder in which stores of the decoded images are kept and found again. Empty keeps none."""
    max_corrupt: float = changeable(0.01)
    """folder, shards: largest share of corrupt images to leave out with a warning; more is an error."""
    workers: int | None = changeable(None)
    """folder, shards: processes that decode for `cache_dir`, and ahead of use without `cache`; None takes all cores."""
    verify: bool = changeable(False)
    """store: compare all images with their hashes at the start, not only sizes, labels and numbering."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_corrupt <= 1:
            raise InputError(f"max_corrupt: {self.max_corrupt}, expected a share from 0 to 1")
        if self.kind != "digits" and not self.path:
            raise InputError(f"path: empty, expected where the data of kind {self.kind!r} is")
        if self.workers is not None and self.workers < 0:
            raise InputError(f"workers: {self.workers}, expected 0 or more processes")


@dataclass(frozen=True)
class TaskConfig:
    """A distribution over tasks."""

    sources: tuple[SourceConfig, ...] = (SourceConfig(),)
    """Where the classes come from; each task takes all of its classes from one source."""
    ways: int | tuple[int, int] = 10
    """Classes per task; two numbers draw it from that range, both included."""
    resolutions: tuple[int, ...] = (32,)
    """Pixels per side; one is drawn for each task."""
    examples_per_class: int | tuple[int, int] | None = None
    """Images per class and task, training and validation together; two numbers draw it from that range, both included,
    evenly in its logarithm; None takes all."""
    valid_fraction: float = 0.2
    """Share of a task's images that is held out for validation."""


def open_source(
    config: SourceConfig, resolution: int | Sequence[int] = 32, class_names: Sequence[str] | None = None
) -> Source:
    """Open the data that `config` describes.

    Args:
        config: what to open.
        resolution: R, pixels per side at which shards are decoded, or several; the other kinds decode at any.
        class_names: the classes of the images to learn from, where `config` has those to measure on: class folders may
            then be missing or empty.

    Raises:
        InputError: the data is missing or damaged, a package is missing, or an option does not fit.
    """
    resolutions = [check_resolution(one) for one in ([resolution] if isinstance(resolution, int) else resolution)]
    source: Source
    if config.kind == "digits":
        source = open_digits()
    elif config.kind == "torchvision":
        source = open_torchvision(config.name, config.path, config.split, config.download, config.cache)
    elif config.kind == "store":
        source = open_stores(_folder_of_split(_path(config), config.split), resolutions, config.verify)
    else:
        listing = open_listing(config, class_names)
        if config.cache_dir:
            folder = Path(os.path.expanduser(config.cache_dir))
            source = cached(listing, resolutions, folder, config.max_corrupt, config.workers)
        elif isinstance(listing, FolderListing):
            cache = config.cache and can_keep(listing.name, len(listing.labels), resolutions)
            source = read_folder(listing, cache, config.max_corrupt, _workers(config))
        elif config.cache:
            source = read_shards(listing, resolutions, config.max_corrupt)
        else:
            source = OnTheFly(listing, workers=_workers(config))
    return (
        select_classes(source, _numbered(source, parse_classes(config.classes))) if config.classes.strip() else source
    )


def open_listing(config: SourceConfig, class_names: Sequence[str] | None = None) -> FolderListing | ShardIndex:
    """The image files that `config` describes, not decoded.

    Raises:
        InputError: the data is missing, or is not in image files.
    """
    if config.kind == "folder":
        root = _path(config)
        names = None if config.classes.strip() else class_names
        return FolderListing(_folder_of_split(root, config.split), config.name or root.resolve().name, names)
    if config.kind == "shards":
        return list_shards(_shards_of_split(_path(config), config.split), config.name or None)
    raise InputError(f"kind: {config.kind!r}, expected one of {', '.join(get_args(Kind))}")


def _path(config: SourceConfig) -> Path:
    return Path(os.path.expanduser(config.path))


def _workers(config: SourceConfig) -> int:
    return usable_cores() if config.workers is None else config.workers


def open_tasks(config: TaskConfig) -> TaskDistribution:
    """Open all sources, at all of the resolutions, and make the distribution over their tasks.

    Raises:
        InputError: see open_source and TaskDistribution.
    """
    if not config.resolutions:
        raise InputError("resolutions: none, expected at least one")
    sources = [open_source(source, config.resolutions) for source in config.sources]
    return TaskDistribution(sources, config.ways, config.resolutions, config.examples_per_class, config.valid_fraction)


def parse_classes(text: str) -> list[int]:
    """Read class numbers such as "0-79" or "0,3,5-7".

    Raises:
        InputError: the text is something else, a range runs backwards, or it is longer than any list of classes.
    """
    classes: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", part)
        if match is None:
            raise InputError(f"classes: {text!r}, expected numbers and ranges such as 0-79 or 0,3,5-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"classes: {part.strip()!r} runs backwards, expected {last}-{first}")
        if last - first >= MOST_CLASSES:
            raise InputError(f"classes: {part.strip()!r} are {last - first + 1:,}, expected at most {MOST_CLASSES:,}")
        classes += range(first, last + 1)
    return classes


def _numbered(source: Source, numbers: list[int]) -> list[int]:
    """The places of the classes that `numbers` mean."""
    if not all(re.fullmatch(r"\d{1,18}", name) for name in source.class_names):
        return numbers
    places = {int(name): place for place, name in enumerate(source.class_names)}
    if len(places) < source.num_classes:  # such as "1" and "01"
        return numbers
    missing = next((number for number in numbers if number not in places), None)
    if missing is not None:
        raise InputError(
            f"classes: {source.name} has no class {missing}, expected some of {min(places)} to {max(places)}"
        )
    return [places[number] for number in numbers]


def _folder_of_split(root: Path, split: str) -> Path:
    """<root>/<split>, or the root itself where it has no splits: then only the default, train, means all of it."""
    if split and (root / split).is_dir():
        return root / split
    splits = [name for name in SPLITS if (root / name).is_dir()]
    if splits or split not in ("", "train"):
        found = f"it has {', '.join(splits)}" if splits else "its folders are classes, all of one split"
        raise InputError(f"split: {split!r}, but {root} has no such folder; {found}")
    return root


def _shards_of_split(path: Path, split: str) -> str | list[Path]:
    if not path.is_dir():
        return str(path)
    tars = [p for p in path.iterdir() if p.name.endswith((".tar", ".tar.gz", ".tgz")) and not p.name.startswith(".")]
    shards = sorted(p for p in tars if split in re.split("[-_.]", p.name))
    if not shards:
        raise InputError(f"path: {path} has no .tar or .tar.gz file with {split!r} in its name; check path and split")
    return shards
