"""Stores: the same images as their source gives, whatever happens while they are made."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import base_fast.tasks.draft as draft_module
import base_fast.tasks.listing as listing_module
import base_fast.tasks.prepare as prepare_module
from base_fast.errors import InputError, Interrupted
from base_fast.random import key
from base_fast.tasks import SourceConfig, TargetConfig, TaskConfig, memory, open_source, open_target, open_tasks
from base_fast.tasks.config import open_listing
from base_fast.tasks.image_folder import FolderListing
from base_fast.tasks.prepare import begun, prepare
from base_fast.tasks.store import Store, open_stores

EVERY = torch.arange(40)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(prepare_module, "CHUNK", 4)
    monkeypatch.setattr(draft_module, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(draft_module, "HASHED_BYTES", 1000)


@pytest.fixture
def folder(tmp_path, encode) -> Path:
    """Forty images, ten each of four classes, all different."""
    for i in range(40):
        place = tmp_path / "pets" / "train" / "abcd"[i // 10]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.jpg").write_bytes(encode((24, 18), colour=5 * i))
    return tmp_path / "pets"


@pytest.fixture
def shards(tmp_path, encode, write_tar) -> Path:
    """The same number of images in two shards, one of them zipped; classes in turns, with names."""
    members = [m for i in range(40) for m in ((f"{i}.jpg", encode(colour=5 * i)), (f"{i}.cls", b"%d" % (i % 4)))]
    write_tar(tmp_path / "x-train-0.tar", members[:50])
    write_tar(tmp_path / "x-train-1.tar.gz", members[50:])
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\n")
    return tmp_path


def config_of(path: Path, **options: object) -> SourceConfig:
    return SourceConfig("folder" if path.name == "pets" else "shards", str(path), **options)


def prepared(path: Path, out: Path, **options: object) -> SourceConfig:
    prepare(open_listing(config_of(path)), (8, 12), out / "train", **options)
    return SourceConfig("store", str(out))


@pytest.mark.parametrize("source", ["folder", "shards"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_gives_what_its_source_gives(source, workers, request, tmp_path):
    path = request.getfixturevalue(source)
    store = prepared(path, tmp_path / "store", workers=workers)
    for classes in ("", "1-3"):
        of_store = TaskConfig((SourceConfig("store", store.path, classes=classes),), 3, (8, 12))
        of_source = TaskConfig((config_of(path, classes=classes),), 3, (8, 12))
        for i in range(4):
            ours, theirs = (open_tasks(one).sample(key(i)) for one in (of_store, of_source))
            assert (ours.class_names, ours.resolution) == (theirs.class_names, theirs.resolution)
            for split in ("train", "valid"):
                mine, yours = getattr(ours, split), getattr(theirs, split)
                assert torch.equal(mine.mean, yours.mean) and torch.equal(mine.std, yours.std)
                assert all(map(torch.equal, mine.batch(key(1), 3, 4), yours.batch(key(1), 3, 4)))
                for batch, other in zip(mine.batches(5), yours.batches(5), strict=True):
                    assert all(map(torch.equal, batch, other))
    ours, theirs = (open_target(TargetConfig(one, resolution=12)) for one in (store, config_of(path)))
    assert ours.digest == theirs.digest
    assert (
        open_tasks(TaskConfig((store,), 3, (8,))).digest == open_tasks(TaskConfig((config_of(path),), 3, (8,))).digest
    )


def test_a_class_lies_in_one_stretch(shards, tmp_path):
    prepared(shards, tmp_path / "store")
    store = Store(tmp_path / "store" / "train" / "8px")
    of_class = [store._rows[store.labels.numpy() == c] for c in range(4)]
    assert [rows.tolist() for rows in of_class] == [list(range(10 * c, 10 * c + 10)) for c in range(4)]


def test_opening_and_reading_take_no_memory_for_images(folder, tmp_path, monkeypatch):
    store = prepared(folder, tmp_path / "store")
    monkeypatch.setattr(memory, "available", lambda: 100)
    source = open_source(store, 8)
    task = open_target(TargetConfig(store, resolution=8))
    open_tasks(TaskConfig((store,), 4, (8,))).sample(key(0))
    assert isinstance(Store(tmp_path / "store" / "train" / "8px")._pixels, np.memmap)
    assert len(task.train) + len(task.valid) == len(source.labels) == 40


def test_other_resolutions(folder, tmp_path):
    store = prepared(folder, tmp_path / "store")
    assert torch.equal(open_source(store, 10).images(EVERY, 12), open_source(store, 12).images(EVERY, 12))
    assert open_source(store, 10).images(EVERY, 10).shape == (40, 3, 10, 10)
    with pytest.raises(InputError, match="has stores of 8, 12 pixels, expected one of 16: base-fast prepare"):
        open_source(store, 16)
    prepare(open_listing(config_of(folder)), (16,), tmp_path / "store" / "train")
    assert torch.equal(open_source(store, 16).images(EVERY, 16), open_source(config_of(folder), 16).images(EVERY, 16))


def _killed_while_decoding(listing, resolutions, out, after):
    decode, count = listing_module.decode, []

    def deadly(file, resolution):
        count.append(file)
        if len(count) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(file, resolution)

    listing_module.decode = deadly
    prepare(listing, resolutions, out)


@pytest.mark.parametrize("source", ["folder", "shards"])
def test_what_was_killed_goes_on_to_the_same_bits(source, request, tmp_path):
    path = request.getfixturevalue(source)
    listing = open_listing(config_of(path))
    prepare(listing, (8, 12), tmp_path / "whole")
    for after in (1, 37, 20):
        child = multiprocessing.get_context("fork").Process(
            target=_killed_while_decoding, args=(listing, (8, 12), tmp_path / "killed", after)
        )
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL and begun(tmp_path / "killed")
    journal = tmp_path / "killed" / ".8px.unfinished" / "journal.jsonl"
    assert 1 < len(journal.read_text().splitlines()) < 11
    with journal.open("a") as file:
        file.write('{"chunk": 9, "corr')  # the machine stopped while it was written
    prepare(listing, (8, 12), tmp_path / "killed")
    for one in sorted((tmp_path / "whole").rglob("*.*")):
        assert (
            one.is_dir() or (tmp_path / "killed" / one.relative_to(tmp_path / "whole")).read_bytes() == one.read_bytes()
        )
    assert not begun(tmp_path / "killed")


def test_interruption_is_kept_and_told(folder, tmp_path, monkeypatch):
    class Stopped:
        requested = True

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    listing = open_listing(config_of(folder))
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "interruptible", Stopped)
        with pytest.raises(Interrupted, match="prepare: stopped after 4 of 40 images"):
            prepare(listing, (8,), tmp_path / "store")
    decoded = []
    monkeypatch.setattr(listing_module, "decode", lambda file, r: decoded.append(file) or torch.zeros(3, r, r).byte())
    prepare(listing, (8,), tmp_path / "store")
    assert len(decoded) == 36


def test_corrupt_images_are_named_and_left_out(folder, tmp_path):
    cut = folder / "train" / "b" / "12.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    with pytest.raises(InputError, match=r"1 of 40 images are corrupt: .*12.jpg; more than max_corrupt"):
        prepared(folder, tmp_path / "store")
    with pytest.warns(UserWarning, match=r"1 of 40 images are corrupt: .*12.jpg; left out"):
        store = prepared(folder, tmp_path / "store", max_corrupt=0.1)
    with pytest.warns(UserWarning, match="left out"):
        source = open_source(config_of(folder, max_corrupt=0.1), 8)
    ours = open_source(store, 8)
    assert torch.equal(ours.labels, source.labels) and len(ours.labels) == 39
    assert torch.equal(ours.images(EVERY[:39], 8), source.images(EVERY[:39], 8))
    assert list(Store(tmp_path / "store" / "train" / "8px").info.corrupt) == [str(cut)]


def test_files_that_changed(folder, tmp_path, encode):
    prepared(folder, tmp_path / "store")
    (folder / "train" / "a" / "0.jpg").write_bytes(encode((30, 30)))
    with pytest.raises(InputError, match="8px was prepared from other files than those of pets"):
        prepared(folder, tmp_path / "store")


def test_damage_is_told(folder, tmp_path):
    store = prepared(folder, tmp_path / "store")
    place = tmp_path / "store" / "train" / "8px"

    def damaged(name: str, change) -> None:
        whole = (place / name).read_bytes()
        (place / name).write_bytes(change(whole))
        try:
            open_source(SourceConfig("store", store.path, verify=True), 8)
        finally:
            (place / name).write_bytes(whole)

    def flipped(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1])

    with pytest.raises(InputError, match="images.npy: rows 35 to 39 have changed"):
        damaged("images.npy", flipped)
    for name in ("labels.npy", "rows.npy"):
        with pytest.raises(InputError, match=f"{name} has changed: its hash"):
            damaged(name, flipped)
    for name in ("labels.npy", "images.npy"):
        with pytest.raises(InputError, match=f"{name} cannot be"):
            damaged(name, lambda data: data[:-9])
    with pytest.raises(InputError, match="format: .* 99|got format 99, expected 1"):
        damaged("store.json", lambda data: json.dumps({**json.loads(data), "format": 99}).encode())
    with pytest.raises(InputError, match="holds no store; make one with: base-fast prepare"):
        open_stores(tmp_path, (8,))


def test_too_little_space(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(draft_module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 40 * 192 - 1}))
    with pytest.raises(InputError, match="pets: 40 images of 8 pixels take 0.0 GB, but 0.0 GB are free in"):
        prepared(folder, tmp_path / "store")


def test_one_process_at_a_time(folder, tmp_path):
    listing = FolderListing(folder / "train")
    with (
        prepare_module._alone(tmp_path, wait=False),
        pytest.raises(InputError, match="is being prepared by process"),
    ):
        prepare(listing, (8,), tmp_path)


@pytest.mark.parametrize("source", ["folder", "shards"])
def test_a_cache_is_a_store(source, request, tmp_path, monkeypatch):
    path, cache = request.getfixturevalue(source), tmp_path / "cache"
    config = config_of(path, cache_dir=str(cache))
    first = open_source(config, 8)
    with monkeypatch.context() as patch:
        patch.setattr(listing_module, "decode", None)  # nothing may be decoded
        again = open_source(config, 8)
    for one in (again, open_source(config_of(path), 8)):
        assert torch.equal(one.images(EVERY, 8), first.images(EVERY, 8)) and torch.equal(one.labels, first.labels)
    (entry,) = cache.iterdir()
    images = entry / "8px" / "images.npy"
    images.write_bytes(images.read_bytes()[:100])
    with pytest.warns(UserWarning, match="the images are decoded again"):
        open_source(config, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_source(config, 8)
    with pytest.raises(InputError, match="cache_dir: .* cannot be written"):
        open_source(config_of(path, cache_dir=str(images)), 8)
