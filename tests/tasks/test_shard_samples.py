"""Tar files as writers leave them, and as damage leaves them."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest

from base_fast.errors import InputError
from base_fast.tasks.shard_samples import ShardSamples


@pytest.fixture
def shard(tmp_path, encode, write_tar) -> Path:
    """Twelve samples, label i mod 2."""
    members = [m for i in range(12) for m in ((f"{i:03}.jpg", encode()), (f"{i:03}.cls", b"%d" % (i % 2)))]
    return write_tar(tmp_path / "a.tar", members)


def labels(path: Path) -> list[int]:
    return [sample.label for sample in ShardSamples([path])]


def test_folders_and_other_members(tmp_path, encode, write_tar):
    """Names up to the first dot of the last part are the sample's; what has none belongs to no sample."""
    members = [("x.y/a.seg.png", b""), ("x.y/a.jpg", encode()), ("x.y/a.cls", b"0"), ("x.y/._a.jpg", b"no image")]
    members += [("README", b""), ("__index__.json", b""), ("x.y/b.jpg", encode()), ("x.y/b.cls", b"1")]
    found = list(ShardSamples([write_tar(tmp_path / "a.tar", members)]))
    assert [(name, label) for name, _, label in found] == [("a.tar/x.y/a.jpg", 0), ("a.tar/x.y/b.jpg", 1)]


@pytest.mark.parametrize("suffix", ["webp", "bmp", "GIF", "tif", "ppm"])
def test_images_of_any_format(tmp_path, encode, write_tar, suffix):
    kind = {"tif": "TIFF", "ppm": "PPM"}.get(suffix, suffix.upper())
    path = write_tar(tmp_path / "a.tar", [(f"0.{suffix}", encode(format=kind)), ("0.cls", b"1")])
    assert [sample.name for sample in ShardSamples([path])] == [f"a.tar/0.{suffix.lower()}"]


def test_of_several_images_the_jpeg_is_taken(tmp_path, encode, write_tar):
    members = [("0.png", encode()), ("0.bmp", encode()), ("0.jpg", b"jpeg"), ("0.cls", b" 7\n")]
    (sample,) = ShardSamples([write_tar(tmp_path / "a.tar", members)])
    assert (sample.image, sample.label) == (b"jpeg", 7)


UNCLEAR = {
    "a dot in the key": ([("img.v1.0.jpg", b""), ("img.v1.0.cls", b"0")], "only img.v1.0.jpg, .* the first dot"),
    "twice": ([("0.jpg", b""), ("0.cls", b"0")] * 2, "sample 0 has two members 0.jpg"),
    "labels in text": ([("0.jpg", b""), ("0.txt", b"0")], "sample 0 has no cls, only 0.jpg, 0.txt; .*<key>.cls"),
    "apart": ([("0.jpg", b""), ("1.jpg", b""), ("0.cls", b"0")], "only 0.jpg; keep its members next to each other"),
    "20 digits": ([("0.jpg", b""), ("0.cls", b"9" * 20)], "0.cls is b'9+', expected a class number"),
    "5000 digits": ([("0.jpg", b""), ("0.cls", b"9" * 5000)], "0.cls is b'9+', expected a class number"),
    "underscores": ([("0.jpg", b""), ("0.cls", b"1_0")], "expected a class number"),
    "one key for all": ([(f"a.{i}.jpg", b"") for i in range(100)], "sample a has no end after 64 members"),
}


@pytest.mark.parametrize(("members", "message"), UNCLEAR.values(), ids=UNCLEAR)
def test_samples_that_are_unclear(tmp_path, write_tar, members, message):
    with pytest.raises(InputError, match=message) as error:
        labels(write_tar(tmp_path / "a.tar", members))
    assert "fetch" not in str(error.value)


def joined(data: bytes) -> bytes:
    return data + data


def without_end(data: bytes) -> bytes:
    stripped = data.rstrip(b"\0")
    return stripped + bytes(-len(stripped) % 512)


def sparse(data: bytes) -> bytes:
    kept = data.index(b"004.jpg")
    return data[:kept] + bytes(len(data) - kept)


def claims_a_terabyte(data: bytes) -> bytes:
    info = tarfile.TarInfo("0.jpg")
    info.size = 2**40
    return info.tobuf(tarfile.GNU_FORMAT) + data


DAMAGES = {
    joined: "another tar file begins after its end",
    without_end: "ends without closing blocks",
    sparse: r"it ends in [\d,]+ bytes of zeros",
    claims_a_terabyte: "0.jpg is said to have 1,099,511,627,776 bytes",
    lambda data: data + b"x" * 512: "cut off or damaged",
    lambda data: data[:5000] + b"\xff" * 2000 + data[7000:]: "cut off or damaged|has no",
    lambda data: b"": "empty file",
    lambda data: b"no tar file at all" * 100: "cannot be read as a tar file",
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("change", "message"), DAMAGES.items(), ids=range(len(DAMAGES)))
def test_damage_is_told(shard, zipped, change, message):
    data = change(shard.read_bytes())
    shard.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(InputError, match=message) as error:
        labels(shard)
    assert "\n" not in str(error.value) and " at 0x" not in str(error.value)


def test_random_damage_gives_one_line_or_whole_samples(shard):
    """Bytes of headers and contents, in plain and zipped shards: never another error, never fewer samples."""
    draw = random.Random(0)
    whole = shard.read_bytes()
    for i in range(150):
        data = bytearray(gzip.compress(whole) if i % 3 == 0 else whole)
        for _ in range(draw.randint(1, 8)):
            block = 512 * draw.randrange(len(data) // 512) if len(data) > 512 else 0
            data[min(block + draw.randrange(512), len(data) - 1)] = draw.randrange(256)
        shard.write_bytes(data)
        said, samples = "", []
        try:
            samples = list(ShardSamples([shard]))
        except InputError as error:
            said = str(error)
        assert len(samples) == 12 or (said and "\n" not in said and " at 0x" not in said)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_beyond_ascii(tmp_path, encode, form):
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for suffix, data in (("jpg", encode()), ("cls", b"1")):
            info = tarfile.TarInfo("bäume" * 40 + f".{suffix}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert labels(tmp_path / "a.tar") == [1]


def test_the_share_that_was_read(shard):
    samples = ShardSamples([shard, shard])
    shares = [samples.share for _ in samples]
    assert shares == sorted(shares) and 0 < shares[0] < 0.2 and 0.8 < shares[-1] <= 1
