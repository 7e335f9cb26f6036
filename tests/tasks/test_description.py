"""Meta-features of tasks whose images are simple enough to compute them by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks import FEATURES, Split, Task, TaskDescription, describe


def task(images: Tensor, labels: list[int], classes: int) -> Task:
    ones = torch.ones(3)
    split = Split(images, torch.tensor(labels), classes, ones, ones)
    return Task("some", split, split, classes, images.shape[-1], tuple(map(str, range(classes))))


def features(described: TaskDescription) -> dict[str, float]:
    return dict(zip(FEATURES, described.features.tolist(), strict=True))


def test_flat_images_of_two_levels() -> None:
    images = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
    images[::2] = 255
    found = features(describe(task(images, [1, 0] * 4, 2)))
    assert found["log classes"] == math.log(2)
    assert found["log images"] == math.log(8)
    assert found["log images per class"] == math.log(4)
    assert found["log resolution"] == math.log(8)
    assert found["label entropy"] == pytest.approx(math.log(2))
    assert found["brightness"] == pytest.approx(0.5)
    assert found["contrast"] == pytest.approx(0.5)
    assert found["colour"] == 0.0
    assert found["flat pixels"] == 1.0
    assert found["edges"] == 0.0
    assert found["coarse variance"] == pytest.approx(1.0)
    assert found["variance between classes"] == pytest.approx(1.0)
    assert found["centroid accuracy"] == 1.0


def test_a_chessboard_has_edges_and_nothing_coarse() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    images = (255 * board).to(torch.uint8).expand(6, 3, 8, 8).clone()
    found = features(describe(task(images, [0, 1, 2, 0, 0, 0], 3)))
    assert found["flat pixels"] == 0.0
    assert found["edges"] == pytest.approx(2.0)  # every neighbour differs by 1, twice the contrast
    assert found["coarse variance"] == pytest.approx(0.0, abs=1e-12)
    assert found["label entropy"] == pytest.approx(-(4 / 6 * math.log(4 / 6) + 2 / 6 * math.log(1 / 6)))


def test_a_few_images_of_each_class_are_kept() -> None:
    images = torch.randint(256, (300, 3, 20, 20), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    described = describe(task(images, [0] * 250 + [1] * 45 + [2] * 5, 3))
    assert described.images.shape == (16 + 16 + 5, 3, 16, 16)
    assert described.labels.bincount().tolist() == [16, 16, 5]
    again = describe(task(images, [0] * 250 + [1] * 45 + [2] * 5, 3))
    assert torch.equal(again.images, described.images) and torch.equal(again.features, described.features)


def test_validation_images_say_nothing() -> None:
    images = torch.randint(256, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    one = task(images, [0, 1] * 10, 2)
    other = Task("some", one.train, task(255 - images, [1, 0] * 10, 2).train, 2, 8, one.class_names)
    assert torch.equal(describe(one).features, describe(other).features)


def test_of_a_column_numbers_are_known_at_most() -> None:
    found = features(TaskDescription.of_numbers("cifar10", classes=10, images=25_000, resolution=32))
    assert found["log images per class"] == pytest.approx(math.log(2500))
    assert math.isnan(found["brightness"])
    assert all(math.isnan(value) for value in features(TaskDescription.of_numbers("unknown")).values())


def test_refusals() -> None:
    with pytest.raises(InputError, match="features: got"):
        TaskDescription("a", torch.zeros(2), torch.zeros(0, 3, 16, 16, dtype=torch.uint8), torch.zeros(0).long())
    good = TaskDescription.of_numbers("a")
    with pytest.raises(InputError, match="images: got"):
        TaskDescription("a", good.features, torch.zeros(0, 3, 8, 8, dtype=torch.uint8), good.labels)
