from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.tasks import ArraySource, Source, select_classes
from base_fast.tasks.digits import open_digits
from base_fast.tasks.optional import require
from base_fast.tasks.resize import square


def test_array_source_gives_its_pixels(toy):
    assert isinstance(toy, Source)
    assert (toy.num_classes, len(toy.class_names), toy.labels.dtype) == (12, 12, torch.int64)
    assert toy.images(torch.tensor([7, 3]), 8)[:, 0, 0, 0].tolist() == [7, 3]
    assert toy.images(torch.tensor([], dtype=torch.int64), 16).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 1, 6, 6)])
def test_grey_arrays_become_three_equal_channels(shape):
    source = ArraySource("grey", torch.randint(256, shape, dtype=torch.uint8), [0, 1, 0, 1])
    x = source.images(torch.arange(4), 6)
    assert x.shape == (4, 3, 6, 6)
    assert torch.equal(x[:, 0], x[:, 2])


def test_square_crops_the_centre_and_resizes():
    images = torch.zeros(1, 3, 4, 8, dtype=torch.uint8)
    images[..., 2:6] = 200
    assert (square(images, 4) == 200).all()
    assert (square(images, 8) == 200).all()


@pytest.mark.parametrize("resolution", [0, 3, 2000, 8.0, True])
def test_resolution_out_of_range(toy, resolution):
    with pytest.raises(InputError, match="resolution"):
        toy.images(torch.arange(2), resolution)


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (torch.zeros(2, 3, 4, 4), [0, 1], None, "expected uint8"),
        (torch.zeros(2, 2, 4, 4, dtype=torch.uint8), [0, 1], None, "expected \\(N, 3, H, W\\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 1, 1], None, "2 images but 3 labels"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 5], ["a", "b"], "label 5 is out of range for 2 classes"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [-1, 1], None, "label -1 is out of range"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 0], None, "only one class"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0.0, 1.0], None, "expected whole numbers"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), None, "no images"),
        (torch.zeros(2, 3, 0, 0, dtype=torch.uint8), [0, 1], None, "expected \\(N, 3, H, W\\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.eye(2, dtype=torch.int64), None, "expected whole numbers"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), ["cat", "dog"], None, "labels are no class numbers"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 10**30], None, "labels are no class numbers"),
    ],
)
def test_array_source_errors(images, labels, names, message):
    with pytest.raises(InputError, match=message):
        ArraySource("bad", images, labels, names)


@pytest.mark.parametrize("labels", [[[3], [7]], torch.tensor([[3], [7]]), torch.tensor([3, 7], dtype=torch.uint16)])
def test_labels_of_any_form(labels):
    source = ArraySource("two", torch.zeros(2, 3, 4, 4, dtype=torch.uint8), labels)
    assert (source.labels.tolist(), source.class_names) == ([0, 1], ("3", "7"))


def test_select_classes_relabels_in_the_given_order(toy):
    view = select_classes(toy, [5, 2])
    assert isinstance(view, Source)
    assert view.class_names == ("class 5", "class 2")
    assert view.num_classes == 2
    first = view.images(torch.arange(len(view.labels)), 8)[:, 0, 0, 0].long()
    assert torch.equal(first % 12, torch.tensor([5, 2])[view.labels])
    assert len(first) == 40


def test_select_classes_of_a_selection(toy):
    view = select_classes(select_classes(toy, [5, 2, 9]), [2, 0])
    assert view.class_names == ("class 9", "class 5")


@pytest.mark.parametrize(
    ("classes", "message"),
    [([0, 12], "12 is not a class"), ([1, 1], "twice"), ([3], "at least two"), ([], "at least two")],
)
def test_select_classes_errors(toy, classes, message):
    with pytest.raises(InputError, match=message):
        select_classes(toy, classes)


def test_digits():
    digits = open_digits()
    assert (digits.name, digits.num_classes, len(digits.labels)) == ("digits", 10, 1797)
    native = digits.images(torch.arange(1797), 8)
    assert native.shape == (1797, 3, 8, 8)
    assert (int(native.min()), int(native.max())) == (0, 255)
    assert digits.images(torch.arange(5), 16).shape == (5, 3, 16, 16)


def test_a_missing_package_is_named():
    with pytest.raises(InputError, match=r"the source x needs the package nowhere: pip install 'base-fast\[data\]'"):
        require("nowhere_to_be_found", "nowhere", "the source x")
