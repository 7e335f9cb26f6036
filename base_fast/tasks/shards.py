"""WebDataset shards: tar files of <index>.jpg and <index>.cls, decoded once into memory."""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import IO, Any
from warnings import warn

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.runs import load_tensors, save_tensors
from base_fast.tasks.decode import BrokenImage, decode, report_corrupt
from base_fast.tasks.optional import require
from base_fast.tasks.parallel import map_in_order
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.source import ArraySource

IMAGE_MEMBERS = ("jpg", "jpeg", "png")
GZIP = b"\x1f\x8b"
BLOCK = 512  # a tar file is made of blocks of this many bytes
# Decoding a thumbnail is mostly Python reading its header, which threads only slow down (by a half, at 32×32).
THUMBNAIL_BYTES = 16_000
BROKEN_SHARD = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError)


def open_shards(
    paths: str | Path | Sequence[str | Path],
    resolution: int,
    name: str | None = None,
    max_corrupt: float = 0.01,
    cache_dir: str | Path | None = None,
) -> ArraySource:
    """Open .tar or .tar.gz shards; every image is decoded now, at `resolution`, into 3·R² bytes of memory.

    A `classes.txt` beside the first shard names the classes, one per line (of `id<TAB>words` the words are used);
    without it they are numbered 0 to the largest label.

    Args:
        paths: a path, a glob (`data/*-train-*.tar.gz`), a brace pattern (`train-{000000..000004}.tar`), or several.
        resolution: R, pixels per side. Other resolutions are resized from this one.
        name: what the data is called; None takes the folder's name.
        max_corrupt: largest share of corrupt images that is left out with a warning.
        cache_dir: folder in which the decoded images are kept, so that the next start reads them back; entries are
            recognized by the shards' names, sizes and modification times and the resolution. None keeps nothing.

    Raises:
        InputError: no shard matches, a shard is damaged, a sample lacks its image or label, or labels are out of range.
    """
    check_resolution(resolution)
    shards = _expand(paths)
    name = name or shards[0].parent.name
    entry = (
        None
        if cache_dir is None
        else Path(cache_dir) / f"{name}-{_fingerprint(shards, resolution, max_corrupt)}.safetensors"
    )
    arrays = _load(entry)
    if arrays is None:
        arrays = _decode(shards, resolution, name, max_corrupt)
        if entry is not None:
            _save(entry, arrays, name)
    return ArraySource(name, arrays["images"], arrays["labels"], _class_names(shards[0].parent / "classes.txt"))


def _expand(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    braceexpand = require("braceexpand", "braceexpand", "the source shards").braceexpand
    patterns = [paths] if isinstance(paths, (str, Path)) else list(paths)
    shards: list[Path] = []
    for pattern in patterns:
        for one in braceexpand(str(pattern)):
            matches = [one] if os.path.isfile(one) else sorted(filter(os.path.isfile, glob.glob(one, recursive=True)))
            if not matches:
                raise InputError(f"path: no shard matches {one!r}, expected .tar or .tar.gz files")
            shards += [Path(match).resolve() for match in matches]
    if not shards:
        raise InputError("path: no shards given, expected .tar or .tar.gz files")
    return list(dict.fromkeys(shards))


def _samples(shards: Sequence[Path]) -> Iterator[tuple[str, bytes, int]]:
    """Yield ("<shard>/<index>.<suffix>", the image's bytes, label)."""
    for shard in shards:
        for sample in _members(shard):
            index = sample["__key__"]
            suffix = next((s for s in IMAGE_MEMBERS if s in sample), None)
            if suffix is None or "cls" not in sample:
                missing = "cls" if suffix else f"image ({', '.join(IMAGE_MEMBERS)})"
                raise InputError(f"path: {shard}: sample {index} has no {missing}; keep its members next to each other")
            try:
                label = int(sample["cls"])
            except ValueError as error:
                text = sample["cls"][:20]
                raise InputError(f"path: {shard}: {index}.cls is {text!r}, expected a class number") from error
            yield f"{shard.name}/{index}.{suffix}", sample[suffix], label


def _members(shard: Path) -> Iterator[dict[str, Any]]:
    """Yield {"__key__": index, suffix: bytes, ...} for every sample of a shard: files of one name side by side."""
    try:
        with shard.open("rb") as file, gzip.open(file) if file.read(2) == GZIP else file as plain:
            file.seek(0)
            stream = _RemembersItsEnd(plain)
            with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
                for key, files in groupby(_files(archive), key=itemgetter(0)):
                    sample: dict[str, Any] = {"__key__": key}
                    for _, suffix, data in files:
                        if suffix in sample:
                            raise ValueError(f"it holds two files {key}.{suffix}")
                        sample[suffix] = data
                    yield sample
            # Python's reader takes a header that is cut off or damaged for the end, but a tar file ends in zeros.
            rest = iter(lambda: stream.read(BLOCK), b"")
            if any(block.strip(b"\0") for block in rest) or stream.end.strip(b"\0"):
                raise tarfile.ReadError("it is cut off or damaged")
    except BROKEN_SHARD as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise InputError(f"path: {shard} cannot be read as a tar file ({reason}); fetch it again") from error


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    """Yield (key, suffix, content) as WebDataset names them: "a/00001", "seg.jpg" of "a/00001.Seg.jpg"."""
    for member in archive:
        named = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", member.name)
        content = archive.extractfile(member) if member.isfile() and named else None
        if content is not None and named is not None:
            yield named[1], named[2].lower(), content.read()


class _RemembersItsEnd:
    """A stream, and the last block that was read from it."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self._stream = stream
        self.end = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.end = data[-BLOCK:] or self.end
        return data


def _decode(shards: Sequence[Path], resolution: int, name: str, max_corrupt: float) -> dict[str, Tensor]:
    require("PIL.Image", "pillow", "the source shards")  # before a missing package makes every image look corrupt

    def read(sample: tuple[str, bytes, int]) -> tuple[str, Tensor | str, int]:
        member, data, label = sample
        try:
            return member, decode(data, resolution), label
        except BrokenImage as error:
            return member, str(error), label

    images: list[Tensor] = []
    labels: list[int] = []
    corrupt: dict[str, str] = {}
    samples = _samples(shards)
    first = list(islice(samples, 1))
    thumbnails = all(len(data) < THUMBNAIL_BYTES for _, data, _ in first)
    samples = chain(first, samples)
    for member, image, label in map(read, samples) if thumbnails else map_in_order(read, samples):
        if isinstance(image, str):
            corrupt[member] = image
        else:
            images.append(image)
            labels.append(label)
    report_corrupt(name, corrupt, len(images) + len(corrupt), max_corrupt)
    if not images:
        raise InputError(
            f"path: {', '.join(map(str, shards))}: no samples, expected <index>.jpg and <index>.cls members"
        )
    return {"images": torch.stack(images), "labels": torch.tensor(labels)}


def _class_names(file: Path) -> list[str] | None:
    if not file.is_file():
        return None
    return [line.split("\t", 1)[-1].strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _fingerprint(shards: Sequence[Path], resolution: int, max_corrupt: float) -> str:
    # max_corrupt belongs to it: an entry written under a laxer limit must not hide the error of a stricter one.
    facts = [[str(s), s.stat().st_size, s.stat().st_mtime_ns] for s in shards]
    return hashlib.sha256(json.dumps([facts, resolution, max_corrupt]).encode()).hexdigest()[:16]


def _load(entry: Path | None) -> dict[str, Tensor] | None:
    if entry is None or not entry.is_file():
        return None
    try:
        return load_tensors(entry)[0]
    except InputError as error:
        warn(f"{error}; the shards are decoded again", stacklevel=3)
        return None


def _save(entry: Path, arrays: dict[str, Tensor], name: str) -> None:
    try:
        save_tensors(entry, arrays, {"source": name})
    except OSError as error:
        raise InputError(f"cache_dir: {entry.parent} cannot be written ({error})") from error
