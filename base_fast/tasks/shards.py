"""WebDataset shards: tar files of <index>.jpg and <index>.cls, decoded once into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from warnings import warn

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.runs import load_tensors, save_tensors
from base_fast.tasks.decode import BrokenImage, decode, report_corrupt
from base_fast.tasks.memory import check_fits
from base_fast.tasks.optional import require
from base_fast.tasks.parallel import map_in_order
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.shard_paths import shard_paths
from base_fast.tasks.shard_samples import Sample, ShardSamples
from base_fast.tasks.source import ArraySource

# Decoding a thumbnail is mostly Python reading its header, which threads only slow down (by a half, at 32×32).
THUMBNAIL_BYTES = 16_000
IMAGES_BETWEEN_CHECKS = 1000


def open_shards(
    paths: str | Path | Sequence[str | Path],
    resolution: int,
    name: str | None = None,
    max_corrupt: float = 0.01,
    cache_dir: str | Path | None = None,
) -> ArraySource:
    """Open .tar or .tar.gz shards; every image is decoded now, at `resolution`, into 3·R² bytes of memory.

    A sample is an image in any format that Pillow reads and its class number in `<key>.cls`, side by side. A
    `classes.txt` beside the first shard names the classes, one per line (of `id<TAB>words` the words are used); without
    it they are the numbers that occur.

    Args:
        paths: a path, a glob (`data/*-train-*.tar.gz`), a brace pattern (`train-{000000..000004}.tar`), or several; see
            `shard_paths`.
        resolution: R, pixels per side. Other resolutions are resized from this one.
        name: what the data is called; None takes the folder's name.
        max_corrupt: largest share of corrupt images that is left out with a warning.
        cache_dir: folder in which the decoded images are kept, so that the next start reads them back; entries are
            recognized by the shards' names, sizes and modification times and the resolution. None keeps nothing.

    Raises:
        InputError: no shard matches, a shard is damaged, a sample lacks its image or label, labels are out of range, or
            the images do not fit into memory.
    """
    check_resolution(resolution)
    shards = shard_paths(paths)
    name = name or shards[0].parent.name
    entry = None
    if cache_dir is not None:
        file = f"{name}-{_fingerprint(shards, resolution, max_corrupt)}.safetensors".replace("/", "_")
        entry = Path(os.path.expanduser(cache_dir)) / file
    arrays = _load(entry, resolution)
    if arrays is None:
        arrays = _decode(shards, resolution, name, max_corrupt)
        if entry is not None:
            _save(entry, arrays, name)
    return ArraySource(name, arrays["images"], arrays["labels"], _class_names(shards[0].parent / "classes.txt"))


def _decode(shards: Sequence[Path], resolution: int, name: str, max_corrupt: float) -> dict[str, Tensor]:
    require("PIL.Image", "pillow", "the source shards")  # before a missing package makes every image look corrupt

    def read(sample: Sample) -> tuple[str, Tensor | str, int]:
        try:
            return sample.name, decode(sample.image, resolution), sample.label
        except BrokenImage as error:
            return sample.name, str(error), sample.label

    # Grows in place: of a list of images there would be a copy at the end, of all of them.
    pixels = bytearray()
    labels: list[int] = []
    corrupt: dict[str, str] = {}
    samples = ShardSamples(shards)
    stream = iter(samples)
    first = list(islice(stream, 1))
    thumbnails = all(len(sample.image) < THUMBNAIL_BYTES for sample in first)
    stream = chain(first, stream)
    for member, image, label in map(read, stream) if thumbnails else map_in_order(read, stream):
        if isinstance(image, str):
            corrupt[member] = image
            continue
        pixels += image.numpy().tobytes()
        labels.append(label)
        if len(labels) % IMAGES_BETWEEN_CHECKS == 0:
            expected = round(len(labels) / samples.share)
            check_fits(name, expected, resolution, held=len(labels))
    report_corrupt(name, corrupt, len(labels) + len(corrupt), max_corrupt)
    if not labels:
        raise InputError(
            f"path: {', '.join(map(str, shards))}: no samples, expected <index>.jpg and <index>.cls members"
        )
    images = torch.frombuffer(pixels, dtype=torch.uint8).view(-1, 3, resolution, resolution)
    return {"images": images, "labels": torch.tensor(labels, device="cpu")}


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


def _fingerprint(shards: Sequence[Path], resolution: int, max_corrupt: float) -> str:
    # max_corrupt belongs to it: an entry written under a laxer limit must not hide the error of a stricter one.
    facts = [[str(s), s.stat().st_size, s.stat().st_mtime_ns] for s in shards]
    return hashlib.sha256(json.dumps([facts, resolution, max_corrupt]).encode()).hexdigest()[:16]


def _load(entry: Path | None, resolution: int) -> dict[str, Tensor] | None:
    if entry is None or not entry.is_file():
        return None
    try:
        tensors, _ = load_tensors(entry)
    except InputError as error:
        warn(f"{error}; the shards are decoded again", stacklevel=3)
        return None
    images, labels = (tensors.get(name, torch.empty(0, device="cpu")) for name in ("images", "labels"))
    if images.shape[1:] != (3, resolution, resolution) or images.shape[:1] != labels.shape:
        warn(f"{entry} holds something else than images and labels; the shards are decoded again", stacklevel=3)
        return None
    return {"images": images, "labels": labels}


def _save(entry: Path, arrays: dict[str, Tensor], name: str) -> None:
    try:
        save_tensors(entry, arrays, {"source": name})
    except OSError as error:
        raise InputError(f"cache_dir: {entry.parent} cannot be written ({error})") from error
