"""WebDataset shards: tar files of <index>.jpg and <index>.cls, decoded once into memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.by_resolution import ByResolution
from base_fast.tasks.decode import BrokenImage, decode, report_corrupt
from base_fast.tasks.memory import check_fits
from base_fast.tasks.optional import require
from base_fast.tasks.parallel import map_in_order
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.shard_index import ShardIndex
from base_fast.tasks.shard_paths import shard_paths
from base_fast.tasks.shard_samples import Sample, ShardSamples
from base_fast.tasks.source import ArraySource

# Decoding a thumbnail is mostly Python reading its header, which threads only slow down (by a half, at 32×32).
THUMBNAIL_BYTES = 16_000


def list_shards(paths: str | Path | Sequence[str | Path], name: str | None = None) -> ShardIndex:
    """The samples of .tar or .tar.gz shards.

    A sample is an image in any format that Pillow reads and its class number in `<key>.cls`, side by side. A
    `classes.txt` beside the first shard names the classes, one per line (of `id<TAB>words` the words are used); without
    it they are the numbers that occur.

    Args:
        paths: a path, a glob (`data/*-train-*.tar.gz`), a brace pattern (`train-{000000..000004}.tar`), or several; see
            `shard_paths`.
        name: what the data is called; None takes the folder's name.

    Raises:
        InputError: no shard matches, or the class names cannot be read; `ShardIndex` has more.
    """
    require("PIL.Image", "pillow", "the source shards")  # before a missing package makes every image look corrupt
    shards = shard_paths(paths)
    return ShardIndex(shards, name or shards[0].parent.name, _class_names(shards[0].parent / "classes.txt"))


def open_shards(
    paths: str | Path | Sequence[str | Path],
    resolution: int | Sequence[int],
    name: str | None = None,
    max_corrupt: float = 0.01,
) -> ByResolution:
    """Open shards; every image is decoded now, into 3·R² bytes of memory for each resolution.

    Args:
        paths, name: as of `list_shards`.
        resolution: R, pixels per side, or several. Others are resized from these.
        max_corrupt: largest share of corrupt images that is left out with a warning.

    Raises:
        InputError: see `list_shards`; a shard is damaged, labels are out of range, or images do not fit into memory.
    """
    return read_shards(list_shards(paths, name), resolution, max_corrupt)


def read_shards(index: ShardIndex, resolution: int | Sequence[int], max_corrupt: float = 0.01) -> ByResolution:
    """As `open_shards`, of shards that are listed."""
    resolutions = [resolution] if isinstance(resolution, int) else list(dict.fromkeys(resolution))
    count = len(index.labels)
    for one in resolutions:
        check_resolution(one)
    # In units of the first: what all of them take together.
    check_fits(index.name, sum(-(-count * one**2 // resolutions[0] ** 2) for one in resolutions), resolutions[0])
    images = {one: torch.empty((count, 3, one, one), dtype=torch.uint8, device="cpu") for one in resolutions}
    labels: list[int] = []
    corrupt: dict[str, str] = {}

    def read(sample: Sample) -> tuple[str, list[Tensor] | str, int]:
        try:
            return sample.name, [decode(sample.image, one) for one in resolutions], sample.label
        except BrokenImage as error:
            return sample.name, str(error), sample.label

    stream = iter(ShardSamples(index.shards))
    first = list(islice(stream, 1))
    thumbnails = all(len(sample.image) < THUMBNAIL_BYTES for sample in first)
    stream = chain(first, stream)
    for member, found, label in map(read, stream) if thumbnails else map_in_order(read, stream):
        if isinstance(found, str):
            corrupt[member] = found
            continue
        for one, image in zip(resolutions, found, strict=True):
            images[one][len(labels)] = image
        labels.append(label)
    report_corrupt(index.name, corrupt, count, max_corrupt)
    kept = torch.tensor(labels, dtype=torch.int64, device="cpu")
    return ByResolution(
        {
            one: ArraySource(index.name, x[: len(labels)], kept, index.class_names, on_demand=True)
            for one, x in images.items()
        }
    )


def _class_names(file: Path) -> list[str] | None:
    if not file.is_file():
        return None
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"path: {file} cannot be read ({error}), expected one class name per line, in UTF-8") from None
    names = [line.split("\t", 1)[-1].strip() for line in lines]
    if "" in names:
        raise InputError(f"path: {file} has no name in line {names.index('') + 1}, expected one class name per line")
    return names
