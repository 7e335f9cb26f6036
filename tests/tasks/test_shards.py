from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

import base_fast.tasks.shards as shards_module
from base_fast.errors import InputError
from base_fast.tasks import memory
from base_fast.tasks.shard_samples import ShardSamples
from base_fast.tasks.shards import open_shards


@pytest.fixture
def members(encode):
    """Ten samples; image i has colour 20·i and label i mod 2."""
    return [
        member
        for i in range(10)
        for member in ((f"{i:05d}.jpg", encode(colour=20 * i)), (f"{i:05d}.cls", str(i % 2).encode()))
    ]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_shards_are_read_in_order(tmp_path, members, write_tar, suffix):
    for number, part in enumerate((members[:8], members[8:])):
        write_tar(tmp_path / f"set-train-{number}.{suffix}", part)
    source = open_shards(tmp_path / f"set-train-*.{suffix}", 8)
    assert source.name == tmp_path.name
    assert source.labels.tolist() == [0, 1] * 5
    levels = source.images(torch.arange(10), 8).float().mean((1, 2, 3))
    assert torch.allclose(levels, 30 + 20.0 * torch.arange(10), atol=6)
    brace = open_shards(str(tmp_path / f"set-train-{{0..1}}.{suffix}"), 8)
    listed = open_shards([tmp_path / f"set-train-{i}.{suffix}" for i in (1, 0)], 8)
    assert torch.equal(brace.labels, source.labels)
    assert not torch.equal(listed.images(torch.arange(10), 8), source.images(torch.arange(10), 8))


def test_threads_give_the_same(tmp_path, members, write_tar, monkeypatch):
    path = write_tar(tmp_path / "a.tar", members)
    inline = open_shards(path, 8).images(torch.arange(10), 8)
    monkeypatch.setattr(shards_module, "THUMBNAIL_BYTES", 0)
    assert torch.equal(open_shards(path, 8).images(torch.arange(10), 8), inline)


def test_png_members_and_other_resolutions(tmp_path, encode, write_tar):
    members = [("a.png", encode(format="PNG")), ("a.cls", b"0"), ("b.JPEG", encode()), ("b.cls", b"1\n")]
    source = open_shards(write_tar(tmp_path / "a.tar", members), 8)
    assert source.images(torch.arange(2), 12).shape == (2, 3, 12, 12)


def test_class_names_lie_beside_the_shards(tmp_path, members, write_tar):
    (tmp_path / "classes.txt").write_text("n01\tgoldfish, Carassius\nfrog\nunused\n")
    path = write_tar(tmp_path / "a.tar", members)
    assert open_shards(path, 8).class_names == ("goldfish, Carassius", "frog", "unused")
    (tmp_path / "classes.txt").write_text("goldfish\n")
    with pytest.raises(InputError, match="label 1 is out of range for 1 classes"):
        open_shards(path, 8)


def test_corrupt_images_are_left_out_and_named(tmp_path, members, write_tar):
    members[4] = ("00002.jpg", members[4][1][:300])
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.warns(UserWarning, match=r"1 of 10 images are corrupt: a.tar/00002.jpg; left out"):
        source = open_shards(path, 8, max_corrupt=0.1)
    assert source.labels.tolist() == [0, 1, 1, 0, 1, 0, 1, 0, 1]
    with pytest.raises(InputError, match=r"00002.jpg; more than max_corrupt = 0.01 allows"):
        open_shards(path, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: ("00000.txt", b"")}, "sample 00000 has no cls"),
        ({0: ("00000.txt", b"")}, "sample 00000 has no image"),
        ({1: ("00000.cls", b"cat")}, "00000.cls is b'cat', expected a class number"),
        ({1: ("00000.cls", b"-1")}, "label -1 is out of range"),
        ({0: ("00001.jpg", b"")}, "no cls|cannot be read"),
        ({1: ("00000.JPG", b"")}, "sample 00000 has two members 00000.jpg; give"),
    ],
)
def test_sample_errors(tmp_path, members, write_tar, change, message):
    for place, member in change.items():
        members[place] = member
    with pytest.raises(InputError, match=message):
        open_shards(write_tar(tmp_path / "a.tar", members), 8)


def test_shard_errors(tmp_path, members, write_tar):
    with pytest.raises(InputError, match="no shard matches"):
        open_shards(tmp_path / "*.tar", 8)
    with pytest.raises(InputError, match="no shards given"):
        open_shards([], 8)
    with pytest.raises(InputError, match="no samples"):
        open_shards(write_tar(tmp_path / "empty.tar", []), 8)
    with pytest.raises(InputError, match="only one class"):
        open_shards(write_tar(tmp_path / "one.tar", members[:2]), 8)
    (tmp_path / "text.tar").write_text("this is not a tar file")
    with pytest.raises(InputError, match="text.tar cannot be read as a tar file"):
        open_shards(tmp_path / "text.tar", 8)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_shard_cut_off_anywhere_is_an_error(tmp_path, members, write_tar, suffix):
    path = write_tar(tmp_path / f"cut.{suffix}", members)
    whole = path.read_bytes()
    # in a member, between two members, in a header
    content = 512 * sum(1 + -(-len(data) // 512) for _, data in members)
    cuts = (len(whole) // 2, len(whole) // 3) if suffix == "tar.gz" else (content // 2 + 7, content, content - 900)
    for cut in cuts:
        path.write_bytes(whole[:cut])
        # between an image and its label, the incomplete sample is noticed first
        with pytest.raises(
            InputError, match=f"{path.name} cannot be read as a tar file|{path.name}: sample .* has no cls"
        ):
            open_shards(path, 8)


def test_a_damaged_header_is_an_error(tmp_path, members, write_tar):
    path = write_tar(tmp_path / "bad.tar", members * 4)
    data = bytearray(path.read_bytes())
    place = data.index(b"00001.jpg")
    data[place : place + 4] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(InputError, match="cut off or damaged"):
        open_shards(path, 8)


def test_a_stray_label_makes_one_class(tmp_path, members, write_tar):
    members[1] = ("00000.cls", b"1000000000")
    assert open_shards(write_tar(tmp_path / "a.tar", members), 8).class_names == ("0", "1", "1000000000")


@pytest.mark.parametrize("text", [b"\xff\xfe", b"frog\n\ngoldfish\n"])
def test_unclear_class_names_are_an_error(tmp_path, members, write_tar, text):
    (tmp_path / "classes.txt").write_bytes(text)
    with pytest.raises(InputError, match=r"classes.txt (cannot be read|has no name in line 2)"):
        open_shards(write_tar(tmp_path / "a.tar", members), 8)


def test_images_that_will_not_fit_are_an_error_before_any_is_decoded(tmp_path, members, write_tar, monkeypatch):
    paths = [write_tar(tmp_path / f"{i}.tar", members) for i in range(4)]
    monkeypatch.setattr(memory, "available", lambda: 40 * 192)
    assert len(open_shards(paths, 8).labels) == 40
    monkeypatch.setattr(memory, "available", lambda: 40 * 192 - 1)
    monkeypatch.setattr(shards_module, "decode", None)
    with pytest.raises(InputError, match=r"40 images of 8 pixels take 0.0 GB of memory, but 0.0 GB are free"):
        open_shards(paths, 8)


def test_several_resolutions_are_decoded_each_for_itself(tmp_path, members, write_tar):
    path, every = write_tar(tmp_path / "a.tar", members), torch.arange(10)
    both = open_shards(path, (8, 12))
    for resolution in (8, 12):
        assert torch.equal(both.images(every, resolution), open_shards(path, resolution).images(every, resolution))


@pytest.mark.parametrize(
    ("folder", "shard", "size", "classes"),
    [("cifar10", "cifar10-train-000000.tar.gz", 32, 10), ("tiny_imagenet", "tiny_imagenet-val-000000.tar.gz", 64, 100)],
)
def test_real_shards(tmp_path, shared_data: Path, write_tar, folder, shard, size, classes):
    """The first hundred samples, in a shard of their own: opening a whole one takes seconds."""
    names = (shared_data / folder / "classes.txt").read_text()
    (tmp_path / "classes.txt").write_text(names)
    samples = list(islice(ShardSamples([shared_data / folder / shard]), 100))
    members = [
        m
        for name, data, y in samples
        for m in ((name.split("/")[1], data), (name.split("/")[1][:5] + ".cls", b"%d" % y))
    ]
    source = open_shards(write_tar(tmp_path / "few.tar.gz", members), 32)
    assert source.num_classes == classes
    assert source.images(torch.arange(100), 32).shape == (100, 3, 32, 32)
    native = open_shards(tmp_path / "few.tar.gz", size)
    # decoding at half size agrees with decoding and then resizing, up to the filters' difference
    gap = (native.images(torch.arange(100), 32).float() - source.images(torch.arange(100), 32).float()).abs().mean()
    assert gap < 6
    assert 0.3 < native.images(torch.arange(100), size).float().mean() / 255 < 0.6
