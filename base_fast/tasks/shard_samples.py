"""The samples of WebDataset shards: the members of tar files, put together by name."""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple

from base_fast.errors import InputError
from base_fast.tasks.decode import image_suffixes

# The first that a sample has is its image; where it has none of these, the first of Pillow's others.
PREFERRED = ("jpg", "jpeg", "png")
GZIP = b"\x1f\x8b"
BLOCK = 512  # a tar file is made of blocks of this many bytes
# Two blocks of zeros close a tar file, which is then filled up to a whole record of 20 blocks.
LONGEST_END = 21 * BLOCK
LARGEST_MEMBER = 2**28
MOST_MEMBERS = 64


class Sample(NamedTuple):
    """One labelled image."""

    name: str
    """<shard>/<key>.<suffix>."""
    image: bytes
    """The image file."""
    label: int


class Place(NamedTuple):
    """Where the image of a sample lies: what it takes to read that one alone."""

    name: str
    """<shard>/<key>.<suffix>."""
    label: int
    """Its class number."""
    offset: int
    """Bytes of the tar file before the image; of a zipped one, once it is unzipped."""
    size: int
    """Bytes of the image file."""


class _Member(NamedTuple):
    content: bytes
    offset: int
    size: int
    sparse: bool


class ShardSamples:
    """Samples of shards, read one after another.

    share   how much of the shards' bytes has been read, 0 to 1
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = shards
        self._total = sum(shard.stat().st_size for shard in shards)
        self._done = 0

    @property
    def share(self) -> float:
        return self._done / max(self._total, 1)

    def __iter__(self) -> Iterator[Sample]:
        """Raises InputError that names the shard, and the sample, when one is damaged or lacks its image or label."""
        before = 0
        for shard in self._shards:
            for place, image, position in _samples(shard, images=True):
                self._done = before + position
                yield Sample(place.name, image, place.label)
            before += shard.stat().st_size


def sample_places(shard: Path) -> Iterator[Place]:
    """Where a shard's samples are; of a plain tar file, the images are passed over without reading them.

    Raises InputError as `ShardSamples` does.
    """
    return (place for place, _, _ in _samples(shard, images=False))


def is_zipped(shard: Path) -> bool:
    """Whether a shard is compressed, so that to read from its middle takes all that is before."""
    with shard.open("rb") as file:
        return file.read(2) == GZIP


def _samples(shard: Path, images: bool) -> Iterator[tuple[Place, bytes, int]]:
    """Yield each sample's place, its image (empty without `images`), and how many bytes of the shard were read."""
    for key, members, position in _members(shard, images):
        suffix = _image_suffix(members)
        if suffix is None or "cls" not in members:
            raise _incomplete(shard, key, members, "cls" if suffix else "image (.jpg, .png, ...)")
        label, image = members["cls"].content, members[suffix]
        if re.fullmatch(rb"\s*[+-]?[0-9]{1,18}\s*", label) is None:
            raise InputError(f"path: {shard}: {key}.cls is {label[:20]!r}, expected a class number")
        if image.sparse and not images:
            raise InputError(f"path: {shard}: {key}.{suffix} is stored with holes; repack the shard without --sparse")
        yield Place(f"{shard.name}/{key}.{suffix}", int(label), image.offset, image.size), image.content, position


def _image_suffix(members: dict[str, _Member]) -> str | None:
    others = sorted(suffix for suffix in members if f".{suffix}" in image_suffixes())
    return next((suffix for suffix in (*PREFERRED, *others) if suffix in members), None)


def _incomplete(shard: Path, key: str, members: dict[str, _Member], lacks: str) -> InputError:
    found = ", ".join(f"{key}.{suffix}" for suffix in list(members)[:4]) + (", ..." if len(members) > 4 else "")
    dotted = any("." in suffix for suffix in members)
    hint = "keep its members next to each other, its class number in <key>.cls"
    if dotted:
        hint = "a sample's name ends at the first dot"
    return InputError(f"path: {shard}: sample {key} has no {lacks}, only {found}; {hint}")


def _members(shard: Path, images: bool) -> Iterator[tuple[str, dict[str, _Member], int]]:
    """Yield (key, {suffix: member}, bytes of the shard read) for every sample: files of one name side by side."""
    try:
        with shard.open("rb") as file, gzip.open(file) if file.read(2) == GZIP else file as plain:
            file.seek(0)
            stream = _Stream(plain)
            # Without its own buffer, so that it is known where the reader stopped.
            with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
                for key, files in groupby(_files(archive, images), key=itemgetter(0)):
                    members: dict[str, _Member] = {}
                    for _, suffix, member in files:
                        if suffix in members:
                            raise InputError(
                                f"path: {shard}: sample {key} has two members {key}.{suffix}; give each sample a name "
                                "of its own"
                            )
                        members[suffix] = member
                        if len(members) > MOST_MEMBERS:
                            raise _incomplete(shard, key, members, f"end after {MOST_MEMBERS} members")
                    yield key, members, file.tell()
            _check_end(stream)
    except InputError:
        raise
    except Exception as error:  # damaged headers make Python's reader raise errors of many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"path: {shard} cannot be read as a tar file ({reason}); fetch it again, or repack it"
        ) from error


def _files(archive: tarfile.TarFile, images: bool) -> Iterator[tuple[str, str, _Member]]:
    """Yield (key, suffix, member) as WebDataset names them: "a/00001", "seg.jpg" of "a/00001.Seg.jpg".

    Names in double underscores are no samples'. Only labels are read, and images if they are wanted.
    """
    for member in archive:
        named = re.fullmatch(r"((?:.*/)?([^./]+))\.([^/]*)", member.name, re.DOTALL)
        if named is None or not member.isfile() or re.fullmatch(r"__.*__", named[2], re.DOTALL):
            continue
        suffix = named[3].lower()
        wanted = suffix == "cls" or f".{suffix}" in image_suffixes()
        if wanted and member.size > LARGEST_MEMBER:
            raise ValueError(f"{member.name} is said to have {member.size:,} bytes")
        read = archive.extractfile(member) if wanted and (images or suffix == "cls") else None
        content = read.read() if read is not None else b""
        yield named[1], suffix, _Member(content, member.offset_data, member.size, member.issparse())


class _Stream:
    """A stream, the last block that was read from it, and whether its end has been met."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self._stream = stream
        self.last = b""
        self.ended = False

    def __repr__(self) -> str:
        return "its data"  # tarfile puts it into messages

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.ended = self.ended or len(data) < size
        self.last = data[-BLOCK:] or self.last
        return data

    def seek(self, place: int) -> int:
        return self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()


def _check_end(stream: _Stream) -> None:
    """Raise ReadError unless the archive was read to its end: Python's reader takes all sorts of damage for it."""
    if stream.ended:
        raise tarfile.ReadError("it ends without closing blocks: it is cut off, or its writer left them out")
    if stream.last.strip(b"\0"):
        raise tarfile.ReadError("it is cut off or damaged")
    zeros = len(stream.last)
    for block in iter(lambda: stream.read(BLOCK), b""):
        if block.strip(b"\0"):
            try:
                tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.TarError:
                raise tarfile.ReadError("it is cut off or damaged") from None
            raise tarfile.ReadError("another tar file begins after its end: they were joined")
        zeros += len(block)
    if zeros > LONGEST_END:
        raise tarfile.ReadError(f"it ends in {zeros:,} bytes of zeros, more than close a tar file: copied in part")
