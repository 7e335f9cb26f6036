from __future__ import annotations

import dataclasses

import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from base_fast.errors import InputError
from base_fast.random import key
from base_fast.tasks import Augmentation, Split
from base_fast.tasks.augmentation import crop_flip, random_cutout
from base_fast.tasks.split import channel_statistics

HALF = torch.full((3,), 0.5)


def numbered(count: int, size: int = 8) -> Split:
    """Image i is flat, of value i, and so is its label."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, size, size).contiguous()
    return Split(images, torch.arange(count), count, HALF, HALF)


def noise(count: int = 50, size: int = 8) -> Split:
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Split(images, torch.arange(count) % 2, 2, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6]))


def test_an_epoch_visits_every_image_once_and_epochs_differ():
    split = numbered(20)
    epochs = [torch.cat([split.batch(key(3), e * 4 + i, 5)[1] for i in range(4)]) for e in range(2)]
    assert all(epoch.sort().values.tolist() == list(range(20)) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_images_and_labels_stay_together():
    x, y = numbered(20).batch(key(0), 7, 6)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert torch.allclose((x * 0.5 + 0.5)[:, 0, 0, 0] * 255, y.float(), atol=1e-3)


def test_the_incomplete_batch_is_dropped():
    split = numbered(11)
    labels = torch.cat([split.batch(key(0), step, 4)[1] for step in range(2)])
    assert len(labels.unique()) == 8
    third = split.batch(key(0), 2, 4)[1]  # already the next epoch
    assert len(third) == 4


def test_a_batch_larger_than_the_split_is_all_of_it():
    x, y = numbered(7).batch(key(0), 3, 64)
    assert len(x) == 7
    assert sorted(y.tolist()) == list(range(7))


@pytest.mark.parametrize("augmentation", [None, Augmentation(), Augmentation(2, True, 4)])
def test_batch_is_a_pure_function(augmentation):
    split = noise()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    x, y = split.batch(key(5), 9, 8, augmentation)
    assert torch.equal(torch.get_rng_state(), state)
    split.batch(key(6), 2, 8, augmentation)
    again, labels = split.batch(key(5), 9, 8, augmentation)
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    assert not torch.equal(split.batch(key(6), 9, 8, augmentation)[0], x)
    assert not torch.equal(split.batch(key(5), 10, 8, augmentation)[0], x)


def test_normalization_is_torchvisions():
    split = noise()
    x, _ = next(split.batches(50))
    expected = v2.normalize(split.images.float() / 255, split.mean.tolist(), split.std.tolist())
    assert torch.allclose(x, expected, atol=1e-5)


def test_batches_go_through_everything_in_order():
    parts = list(numbered(11).batches(4))
    assert [len(y) for _, y in parts] == [4, 4, 3]
    assert torch.cat([y for _, y in parts]).tolist() == list(range(11))


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_crop_and_flip_are_torchvisions(padding):
    images = noise(16).images
    draws = torch.Generator().manual_seed(2)
    top, left = torch.randint(2 * padding + 1, (2, 16), generator=draws)
    flipped = torch.rand(16, generator=draws) < 0.5
    assert flipped.any()
    assert not flipped.all()
    for i, image in enumerate(crop_flip(images, top, left, flipped, padding)):
        expected = v2.crop(v2.pad(images[i], [padding]), int(top[i]), int(left[i]), 8, 8)
        assert torch.equal(image, v2.horizontal_flip(expected) if flipped[i] else expected)


def test_crops_and_flips_take_all_values_and_differ_per_image():
    images = torch.zeros(400, 3, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 1] = 255  # off the middle column, so that a flip shows
    split = Split(images, torch.arange(400) % 2, 2, HALF, HALF)
    x, _ = split.batch(key(0), 0, 400, Augmentation(crop_padding=1))
    places = torch.nonzero(x[:, 0] > 0)[:, 1:]
    counts = places.unique(dim=0, return_counts=True)
    # row 1..3; column 0..2 as it is, 2..4 mirrored
    assert {tuple(p) for p in counts[0].tolist()} == {(r, c) for r in (1, 2, 3) for c in range(5)}
    # each has probability 1/18, the shared middle column 2/18: expected 22 and 44, standard deviation at most 6.3
    assert counts[1].min() > 5
    assert counts[1].max() < 75


def test_without_augmentation_options_nothing_changes():
    split = noise()
    off = Augmentation(crop_padding=0, flip=False, cutout=0)
    assert torch.equal(split.batch(key(1), 0, 9, off)[0], split.batch(key(1), 0, 9)[0])


def test_cutout_erases_what_torchvision_would():
    x = torch.ones(64, 3, 9, 9)
    cut = random_cutout(x, Augmentation(cutout=4), torch.Generator().manual_seed(0))
    sizes = set()
    for image in cut:
        rows, columns = torch.nonzero(image[0] == 0, as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        height, width = int(rows.max()) - top + 1, int(columns.max()) - left + 1
        expected = v2.erase(torch.ones(3, 9, 9), top, left, height, width, torch.zeros(3, 1, 1))
        assert torch.equal(image, expected)
        sizes.add((height, width))
    assert (4, 4) in sizes
    assert max(max(size) for size in sizes) == 4
    assert min(min(size) for size in sizes) < 4  # clipped at the border


def test_cutout_sets_the_mean():
    split = noise()
    x, _ = split.batch(key(0), 0, 20, Augmentation(0, False, 4))
    assert ((x == 0).all(1).flatten(1).sum(1) >= 4).all()


@pytest.mark.parametrize("options", [{"crop_padding": -1}, {"cutout": -2}])
def test_augmentation_errors(options):
    with pytest.raises(InputError, match="expected 0 or more"):
        Augmentation(**options)


@pytest.mark.parametrize(("step", "size", "message"), [(-1, 4, "step"), (0, 0, "batch_size")])
def test_batch_errors(step, size, message):
    with pytest.raises(InputError, match=message):
        numbered(8).batch(key(0), step, size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(8, 3, 8, 8)}, "images"),
        ({"images": torch.zeros(8, 3, 8, 4, dtype=torch.uint8)}, "images"),
        ({"labels": torch.zeros(7, dtype=torch.int64)}, "labels"),
        ({"labels": torch.zeros(8)}, "labels"),
        ({"num_classes": 3}, "labels: 7 is out of range"),
        ({"labels": torch.arange(8) - 1}, "labels: -1 is out of range"),
        ({"mean": torch.zeros(1)}, "mean"),
        ({"std": torch.zeros(3)}, "std"),
        (
            {"images": torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "labels": torch.zeros(0, dtype=torch.int64)},
            "images: none",
        ),
    ],
)
def test_split_errors(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(numbered(8), **change)


def test_statistics(toy):
    mean, std = channel_statistics(toy, 8)
    pixels = toy.images(torch.arange(240), 8).double() / 255
    assert torch.allclose(mean.double(), pixels.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(std.double(), pixels.std((0, 2, 3), correction=0), atol=1e-6)
