"""Images that are decoded when they are asked for: the same with any number of processes, announced or not."""

from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.random import key
from base_fast.tasks import SourceConfig, TaskConfig, memory, open_source, open_tasks
from base_fast.tasks.on_the_fly import OnTheFly


@pytest.fixture
def shard(tmp_path, encode, write_tar):
    members = [m for i in range(40) for m in ((f"{i}.jpg", encode(colour=5 * i)), (f"{i}.cls", b"%d" % (i % 4)))]
    return write_tar(tmp_path / "x-train.tar", members)


def config(path, **options) -> SourceConfig:
    return SourceConfig("shards", str(path), **options)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_have_the_same_bits_with_any_number_of_processes(shard, workers, monkeypatch):
    held = open_tasks(TaskConfig((config(shard),), 3, (12,))).sample(key(0))
    monkeypatch.setattr(memory, "available", lambda: 1000)  # what is not kept need not fit
    task = open_tasks(TaskConfig((config(shard, cache=False, workers=workers),), 3, (12,))).sample(key(0))
    for step in (0, 1, 2, 7, 8, 3):
        assert all(map(torch.equal, task.train.batch(key(1), step, 5), held.train.batch(key(1), step, 5)))
    for ours, theirs in zip(task.valid.batches(4), held.valid.batches(4), strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_batches_are_begun_before_they_are_asked_for(shard):
    source = open_source(config(shard, cache=False, workers=1), 8)
    batches = [torch.arange(4 * i, 4 * i + 4) for i in range(3)]
    source.expect(batches, 8)
    source.expect(batches, 8)
    assert len(source._ahead) == 3
    for batch in reversed(batches):
        source.images(batch, 8)
    assert len(source._ahead) == 0
    source.expect([torch.tensor([i]) for i in range(40)], 8)
    assert len(source._ahead) == 16


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_named_when_the_image_is_used(tmp_path, encode, write_tar, workers):
    members = [("0.jpg", encode()), ("0.cls", b"0"), ("1.jpg", encode()[:400]), ("1.cls", b"1")]
    source = open_source(config(write_tar(tmp_path / "x.tar", members), cache=False, workers=workers), 8)
    source.images(torch.tensor([0]), 8)
    with pytest.raises(InputError, match=r"x.tar/1.jpg: cannot be decoded"):
        source.images(torch.tensor([0, 1]), 8)


def test_zipped_shards_are_refused(tmp_path, encode, write_tar):
    path = write_tar(tmp_path / "x.tar.gz", [("0.jpg", encode()), ("0.cls", b"0")])
    with pytest.raises(InputError, match="compressed shards cannot be read one by one; unpack"):
        open_source(config(path, cache=False), 8)


def test_a_shard_that_shrank(shard):
    source = open_source(config(shard, cache=False, workers=0), 8)
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="x-train.tar has changed: x-train.tar/39.jpg is cut off"):
        source.images(torch.tensor([39]), 8)


def test_folders_that_do_not_fit_are_decoded_on_the_fly(tmp_path, encode, monkeypatch):
    for i in range(6):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.jpg").write_bytes(encode(colour=20 * i))
    folder = SourceConfig("folder", str(tmp_path), workers=1)
    kept = open_source(folder, 8)
    monkeypatch.setattr(memory, "available", lambda: 6 * 192 - 1)
    with pytest.warns(UserWarning, match=r"to keep 6 images of 8 pixels takes .* store of them \(base-fast prepare\)"):
        source = open_source(folder, 8)
    assert isinstance(source, OnTheFly)
    order = torch.tensor([5, 0, 3, 3])
    assert torch.equal(source.images(order, 8), kept.images(order, 8))
